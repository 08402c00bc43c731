//! The web UI's files, which are part of the binary: compressed beforehand, cached by browsers for as long as
//! their names last, and served only under names that the build gave them. No path reaches the disk.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};

use super::document::{self, list};

/// One file of the UI in the forms it is served in.
struct Asset {
    path: &'static str,
    /// Names the content; part of the entity tag.
    tag: &'static str,
    identity: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// What the pages may load: files of this server, and nothing that was written into a page.
const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                        connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; \
                        frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'";

/// Names under here contain a hash of the content, so what they name never changes.
const HASHED: &str = "/assets/";

/// Longer than any address of a page.
const PAGE_PATH_MAX: usize = 200;

/// What the UI has at an address.
pub(crate) enum UiAnswer {
    File(Response<Body>),
    /// A file, but not for this method.
    OtherMethod,
    Nothing,
}

/// Answers requests for the UI: its files, and its one page at every address that looks like a page's.
pub(crate) fn serve(request: &Request) -> UiAnswer {
    let path = request.uri().path();
    let wanted = if is_page(path) { "/index.html" } else { path };
    match ASSETS.iter().find(|asset| asset.path == wanted) {
        None => UiAnswer::Nothing,
        Some(asset) if matches!(*request.method(), Method::GET | Method::HEAD) => {
            UiAnswer::File(answer(asset, request.headers()))
        }
        Some(_) => UiAnswer::OtherMethod,
    }
}

/// Pages have plain addresses. Anything with a dot, an escape or an empty segment is no page of ours, so a
/// mistyped file name or a traversal gets an error and never the page under a misleading name.
fn is_page(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    if rest.is_empty() {
        return true;
    }
    let segments: Vec<&str> = rest.strip_suffix('/').unwrap_or(rest).split('/').collect();
    match segments.as_slice() {
        // These belong to programs: what is unknown there is an error. `/enroll` alone is a page.
        ["enroll" | "install", _, ..] => false,
        [first, ..] if ["v1", "api", "assets"].iter().any(|name| first.eq_ignore_ascii_case(name)) => false,
        segments => path.len() <= PAGE_PATH_MAX && segments.iter().all(|segment| is_plain(segment)),
    }
}

fn is_plain(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn answer(asset: &Asset, asked: &HeaderMap) -> Response<Body> {
    let (content, encoding) = pick(asset, asked);
    let etag = format!("\"{}{}\"", asset.tag, encoding.map(|name| format!("-{name}")).unwrap_or_default());
    let mut response = document::answer(Bytes::from_static(content), &etag, cache_control(asset.path), asked);
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_TYPE, content_type(asset.path));
    set(header::VARY, "accept-encoding");
    if asset.path.ends_with(".html") {
        set(header::CONTENT_SECURITY_POLICY, PAGE_CSP);
    }
    if let Some(encoding) = encoding {
        set(header::CONTENT_ENCODING, encoding);
    }
    response
}

fn cache_control(path: &str) -> &'static str {
    if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// The smallest form that the client takes.
fn pick(asset: &Asset, asked: &HeaderMap) -> (&'static [u8], Option<&'static str>) {
    [("br", asset.brotli), ("gzip", asset.gzip)]
        .into_iter()
        .find(|(name, content)| content.len() < asset.identity.len() && accepts(asked, name))
        .map_or((asset.identity, None), |(name, content)| (content, Some(name)))
}

/// RFC 9110, section 12.5.3: a coding is acceptable when it is listed with a weight above zero.
fn accepts(asked: &HeaderMap, coding: &str) -> bool {
    list(asked, header::ACCEPT_ENCODING).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
        named && parts.all(|weight| weight.trim_start_matches("q=").parse::<f32>() != Ok(0.0))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    const ASSET: Asset = Asset {
        path: "/assets/app-1234.js",
        tag: "abc",
        identity: b"long content",
        gzip: b"shorter",
        brotli: b"short",
    };

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_plain_addresses_are_pages() {
        for page in [
            "/",
            "/hosts",
            "/hosts/",
            "/hosts/0193a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b",
            "/settings/users",
            "/enroll",
            "/enroll/",
            "/nope",
        ] {
            assert!(is_page(page), "{page}");
        }
        let long = format!("/{}", "a".repeat(PAGE_PATH_MAX));
        for other in [
            "",
            "hosts",
            "//etc",
            "/../etc/passwd",
            "/%2e%2e/etc",
            "/a//b",
            "/.git/config",
            "/favicon.ico",
            "/x.map",
            "/v1",
            "/v1/",
            "/v1/nothing",
            "/enroll/nothing",
            "/api/v1/nothing",
            "/assets",
            "/assets/nothing",
            "/a\\b",
            &long,
        ] {
            assert!(!is_page(other), "{other}");
        }
    }

    #[test]
    fn the_smallest_acceptable_form_is_chosen() {
        let check = |accept: Option<&'static str>, expected: Option<&str>| {
            let asked = accept.map(|value| headers(&[(header::ACCEPT_ENCODING, value)])).unwrap_or_default();
            assert_eq!(pick(&ASSET, &asked).1, expected, "{accept:?}");
        };
        check(None, None);
        check(Some("gzip, deflate, br, zstd"), Some("br"));
        check(Some("gzip"), Some("gzip"));
        check(Some("br;q=0, gzip;q=0.5"), Some("gzip"));
        check(Some("br; q=0.0"), None);
        check(Some("identity"), None);
        check(Some("brotli"), None);
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let asked = [(header::ACCEPT_ENCODING, "br"), (header::IF_NONE_MATCH, "\"old\", W/\"abc-br\"")];
        let response = answer(&ASSET, &headers(&asked));
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(response.headers()[header::ETAG], "\"abc-br\"");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");

        // Another form of the same content is another entity.
        let asked = [(header::IF_NONE_MATCH, "\"abc-br\"")];
        assert_eq!(answer(&ASSET, &headers(&asked)).status(), StatusCode::OK);
    }

    #[test]
    fn the_page_is_never_used_unasked_and_allows_nothing_inline() {
        let page = Request::get("/settings/users").body(Body::empty()).unwrap();
        let UiAnswer::File(response) = serve(&page) else { panic!("the page is missing") };
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn only_reading_is_answered() {
        let post = Request::post("/hosts").body(Body::empty()).unwrap();
        assert!(matches!(serve(&post), UiAnswer::OtherMethod));
    }
}
