//! Documents that are the same for everybody who asks: made when what they say changes, never for a request, and
//! shared by all answers. A client that has the newest one is told so (RFC 9110, section 13).

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use data_encoding::HEXLOWER;

use crate::tls::listener::accept::SharedBody;

/// Caches may keep a document, and ask each time whether it is still the newest: a revocation must not wait for a
/// cache.
const ASK_EACH_TIME: &str = "no-cache";

/// A document as it is served. Clones share its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    bytes: Bytes,
    media_type: &'static str,
    /// Names the content.
    etag: String,
}

impl Document {
    pub(crate) fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let etag = format!("\"{}\"", HEXLOWER.encode(&digest.as_ref()[..16]));
        Self { bytes, media_type, etag }
    }

    /// The answer to a request with these headers.
    pub(crate) fn answer(&self, asked: &HeaderMap) -> Response<Body> {
        let mut response = answer(self.bytes.clone(), &self.etag, ASK_EACH_TIME, asked);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        response
    }
}

/// Bytes that are shared by everybody who asks for them, unless the client has them.
pub(crate) fn answer(
    bytes: Bytes,
    etag: &str,
    cache_control: &'static str,
    asked: &HeaderMap,
) -> Response<Body> {
    let known = matches_any(asked, etag);
    let mut response = Response::new(if known { Body::empty() } else { Body::from(bytes) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response.extensions_mut().insert(SharedBody);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

/// RFC 9110, section 13.1.2: compared weakly, because caches on the way may have weakened a tag.
fn matches_any(asked: &HeaderMap, etag: &str) -> bool {
    list(asked, header::IF_NONE_MATCH)
        .any(|item| item == "*" || item.strip_prefix("W/").unwrap_or(item) == etag)
}

/// The members of a header that is a comma-separated list.
pub(crate) fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}
