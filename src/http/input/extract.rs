//! Proofs that handlers ask for: who calls, from where, and that it may.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;

use axum::extract::{FromRequestParts, MatchedPath, Query};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::app::access::account;
use crate::app::access::caller::{Caller, LocalVia};
use crate::app::access::tenants::NO_TENANT;
use crate::app::issue::refusals::ProofLevel;
use crate::domain::code::Code;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::network::host_port::HostPort;
use crate::domain::network::public_url::HTTPS_PORT;
use crate::domain::people::permission::Permission;
use crate::domain::people::session::SessionToken;
use crate::http::Shared;
use crate::http::openapi::describe::Input;
use crate::http::openapi::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::transport::origin::Transport;
use crate::http::transport::proxies::client_address;
use crate::tls::listener::accept::Unproven;

/// The session cookie. The prefix makes browsers insist on `Secure`, `Path=/` and no `Domain` (RFC 6265bis).
pub(crate) const COOKIE: &str = "__Host-muster";

/// A permission as a type, so that a handler's signature says what it needs.
pub(crate) trait Needed {
    const PERMISSION: Permission;
    /// Whether a request that is neither GET nor HEAD changes something, and counts towards the pace of changes.
    const CHANGES: bool = true;
}

macro_rules! needed {
    ($($name:ident)*) => {
        $(
            #[derive(Debug)]
            pub(crate) struct $name;

            impl Needed for $name {
                const PERMISSION: Permission = Permission::$name;
            }
        )*
    };
}

/// Asking whether a certificate is a live agent's: as often as agents come, and nothing is changed by it.
#[derive(Debug)]
pub(crate) struct AgentVouch;

impl Needed for AgentVouch {
    const PERMISSION: Permission = Permission::AgentVouch;
    const CHANGES: bool = false;
}

needed!(AgentRead AgentWrite AuditRead HostWrite SecretWrite UserWrite TokenWrite WebhookWrite TenantWrite);

/// Proof that the caller holds permission `P`. A handler that takes it can't run without.
#[derive(Debug)]
pub(crate) struct Allowed<P> {
    pub(crate) caller: Caller,
    permission: PhantomData<P>,
}

impl<P: Needed + Send> FromRequestParts<Shared> for Allowed<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let caller = if P::CHANGES {
            Known::from_request_parts(parts, shared).await?.0
        } else {
            proved_caller(parts, shared).await?
        };
        if caller.may(P::PERMISSION) {
            return Ok(Self { caller, permission: PhantomData });
        }
        let mut event = caller.event(AuditAction::RequestDenied, caller.tenant(), route_of(parts));
        event.detail.insert("permission", P::PERMISSION.to_string());
        event.detail.insert("method", parts.method.to_string());
        if let Some(id) = parsed_id(parts) {
            event.detail.insert("id", id);
        }
        shared.app.record_refusal(event, ProofLevel::Somebody, AuditReason::PermissionDenied).await?;
        Err(Problem::permission_denied())
    }
}

impl<P: Needed> Input for Allowed<P> {
    fn describe(operation: &mut Operation) {
        operation.access = Access::Needs(P::PERMISSION);
        operation.only_asks = !P::CHANGES;
    }
}

/// The route that a request has met, as the route table has it: what is recorded of a request is never its raw
/// address, which may be as long as its sender likes.
fn route_of(parts: &Parts) -> &str {
    parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

/// The id in a request's address, if it is one; as short as ids are.
fn parsed_id(parts: &Parts) -> Option<String> {
    // Counted from the end, because the router has taken what stands before the API's own paths.
    let place = route_of(parts).rsplit('/').position(|segment| segment.starts_with('{'))?;
    let text = parts.uri.path().rsplit('/').nth(place)?;
    let uuid = text.parse().map(|id: HostId| id.to_string());
    let credential = || text.parse().map(|id: CredentialId| id.to_string());
    let agent = || text.parse().map(|id: AgentId| id.to_string());
    uuid.or_else(|_| credential()).or_else(|_| agent()).ok()
}

/// Proof that the caller is somebody, whatever they may do, and keeps to the pace of changes. Every handler that
/// changes something for somebody gets its caller from here, directly or by way of [`Allowed`], so none can forget it.
#[derive(Debug)]
pub(crate) struct Known(pub(crate) Caller);

impl FromRequestParts<Shared> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let caller = proved_caller(parts, shared).await?;
        if changes_something(&parts.method)
            && let Some(wait) = shared.app.count_write(&caller)
        {
            return Err(Problem::too_many_changes(wait));
        }
        Ok(Self(caller))
    }
}

impl Input for Known {
    fn describe(operation: &mut Operation) {
        operation.access = Access::SignedIn;
    }
}

/// Who sends a request; the listener learns that it is somebody.
async fn proved_caller(parts: &Parts, shared: &Shared) -> Result<Caller, Problem> {
    let caller = caller_of(parts, shared).await?;
    if let Some(place) = parts.extensions.get::<Unproven>() {
        place.proved();
    }
    Ok(caller)
}

/// Whether a request with this method may change something (RFC 9110 9.2.1).
fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Who sends a request, by what it carries or comes over.
async fn caller_of(parts: &Parts, shared: &Shared) -> Result<Caller, Problem> {
    let address = match parts.extensions.get::<Transport>() {
        Some(Transport::Socket { uid }) => {
            return Ok(Caller::Local { uid: *uid, via: LocalVia::Socket });
        }
        Some(Transport::Process { uid }) => {
            return Ok(Caller::Local { uid: *uid, via: LocalVia::Process });
        }
        Some(Transport::Tls { .. } | Transport::Plain { .. }) | None => {
            client_of(shared, &parts.extensions, &parts.headers)
        }
    };
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(bearer).ok_or_else(Problem::unauthenticated)?;
        let caller = shared.app.caller_of_token(token, address).await?;
        return caller.ok_or_else(Problem::unauthenticated);
    }
    let Some(value) = cookie(&parts.headers) else { return Err(Problem::unauthenticated()) };
    let token = SessionToken::parse(value);
    let caller = match &token {
        Some(token) => shared.app.caller_of_session(token, address).await?,
        None => None,
    };
    let Some(caller) = caller else {
        // A session that has run out is no cause for alarm; one that was never there, or was ended, may be.
        let known = token.map(|token| shared.app.knows_session(&token)).transpose()?;
        if known != Some(true) {
            shared.app.refuse_session(address).await?;
        }
        return Err(Problem::unauthenticated());
    };
    if changes_something(&parts.method) {
        own_page(shared, parts)?;
    }
    Ok(caller)
}

/// Proof that the caller is a person, signed in.
#[derive(Debug)]
pub(crate) struct SignedInPerson(pub(crate) account::Oneself);

impl FromRequestParts<Shared> for SignedInPerson {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let Known(caller) = Known::from_request_parts(parts, shared).await?;
        let detail = "This is about the account of a person who has signed in; an API token has none.";
        let nobody = || Problem::new(Code::PermissionDenied, detail);
        account::Oneself::of(caller).map(Self).ok_or_else(nobody)
    }
}

impl Input for SignedInPerson {
    fn describe(operation: &mut Operation) {
        operation.access = Access::Person;
    }
}

/// Proof that the caller is a process of this server's owner on this machine, and passes no parameters.
#[derive(Debug)]
pub(crate) struct Local(pub(crate) Caller);

impl FromRequestParts<Shared> for Local {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        match parts.extensions.get::<Transport>() {
            Some(Transport::Socket { .. } | Transport::Process { .. }) => {
                let Known(caller) = Known::from_request_parts(parts, shared).await?;
                Params::<Nothing>::from_request_parts(parts, shared).await?;
                Ok(Self(caller))
            }
            _ => Err(Problem::permission_denied()),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The session that the browser sent.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<SessionToken> {
    SessionToken::parse(cookie(headers)?)
}

/// What stands in the session's cookie; the first cookie of our name counts.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// A browser sends the cookie for whoever asks it to, so a request that changes something must come from a
/// page of ours.
pub(crate) fn own_page(shared: &Shared, parts: &Parts) -> Result<(), Problem> {
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let Some(page) = text(header::ORIGIN).and_then(origin) else {
        return Err(not_ours(
            "This request must come from a page of this server, and names none as its origin.",
        ));
    };
    let elsewhere = text(header::HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let urls = shared.facts.reach.public_url.as_slice();
    let public = urls.iter().any(|url| *url.address() == page);
    if (public || asked_for(&parts.headers, &parts.uri) == Some(page)) && !elsewhere {
        return Ok(());
    }
    Err(not_ours(
        "This request comes from a page with another address than the one that the server was asked under. Behind a \
         reverse proxy, let it pass the Host header on, or set public_url (MUSTER_PUBLIC_URL) to the address that \
         people use.",
    ))
}

fn not_ours(detail: &str) -> Problem {
    Problem::new(Code::PermissionDenied, detail)
}

/// An https origin (RFC 6454 6.1) as host and port, so that what is the same is equal.
fn origin(text: &str) -> Option<HostPort> {
    let (scheme, address) = text.split_once("://")?;
    scheme.eq_ignore_ascii_case("https").then(|| HostPort::with_default_port(address, HTTPS_PORT).ok())?
}

/// The host and port that a request asks for; `None` where that can't be read.
pub(crate) fn asked_for(headers: &HeaderMap, uri: &axum::http::Uri) -> Option<HostPort> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))?;
    HostPort::with_default_port(host, HTTPS_PORT).ok()
}

/// The address that an agent came by, for what it is told to come by next time. `None` for local callers.
#[derive(Debug)]
pub(crate) struct CameBy(pub(crate) Option<HostPort>);

impl FromRequestParts<Shared> for CameBy {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Self::Rejection> {
        let from_afar = matches!(parts.extensions.get(), Some(Transport::Tls { .. }));
        Ok(Self(from_afar.then(|| asked_for(&parts.headers, &parts.uri)).flatten()))
    }
}

impl Input for CameBy {}

/// The address that a request came from, seen through trusted proxies only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) Option<IpAddr>);

impl FromRequestParts<Shared> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        Ok(Self(client_of(shared, &parts.extensions, &parts.headers)))
    }
}

impl Input for ClientAddress {}

/// The address that a request with these parts came from; `None` for local callers.
pub(crate) fn client_of(shared: &Shared, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    match extensions.get::<Transport>() {
        Some(Transport::Tls { peer } | Transport::Plain { peer }) => {
            shared.unlisted_proxies.look_at(&shared.trusted_proxies, peer.ip(), headers);
            Some(client_address(&shared.trusted_proxies, peer.ip(), headers))
        }
        _ => None,
    }
}

/// The query string, strictly: unknown and malformed parameters are refused.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(_) => Err(Problem::bad_request("The query has a parameter that is unknown or malformed.")),
        }
    }
}

impl<T: JsonSchema> Input for Params<T> {
    fn describe(operation: &mut Operation) {
        operation.query::<T>();
    }
}

/// The query of routes that work in one tenant and take nothing else.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InTenant {
    /// The tenant to work in, for callers who see all of them; `default` when left out.
    pub(crate) tenant: Option<String>,
}

/// The query of routes that take no parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A path segment, parsed. One that can't be an id of the kind asked for names nothing.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<T: FromStr> FromRequestParts<Shared> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let missing = || Problem::not_found("There is nothing with this id.");
        let path = axum::extract::Path::<String>::from_request_parts(parts, shared).await;
        let axum::extract::Path(text) = path.map_err(|_| missing())?;
        text.parse().map(Self).map_err(|_| missing())
    }
}

impl<T> Input for Id<T> {
    fn describe(operation: &mut Operation) {
        operation.names_one = true;
    }
}

/// What routes about one thing of a tenant ask for: proof that the caller holds permission `P`, and which thing.
#[derive(Debug)]
pub(crate) struct One<P, T> {
    pub(crate) caller: Caller,
    pub(crate) tenant: TenantId,
    pub(crate) id: T,
    permission: PhantomData<P>,
}

impl<P: Needed + Send, T: FromStr + Send> FromRequestParts<Shared> for One<P, T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        // Whoever may not is told nothing about the id.
        let Allowed { caller, permission } = Allowed::<P>::from_request_parts(parts, shared).await?;
        let Id(id) = Id::from_request_parts(parts, shared).await?;
        let Params(params) = Params::<InTenant>::from_request_parts(parts, shared).await?;
        let tenant = tenant(shared, &caller, params.tenant.as_deref())?;
        Ok(Self { caller, tenant, id, permission })
    }
}

impl<P: Needed, T> Input for One<P, T> {
    fn describe(operation: &mut Operation) {
        Allowed::<P>::describe(operation);
        Id::<T>::describe(operation);
        Params::<InTenant>::describe(operation);
    }
}

/// The tenant to work in: the caller's own, or the one asked for by those who see all.
pub(crate) fn tenant(shared: &Shared, caller: &Caller, asked: Option<&str>) -> Result<TenantId, Problem> {
    let found = shared.app.tenant_for(caller, asked)?;
    found.ok_or_else(|| Problem::not_found(NO_TENANT))
}

/// The tenant to look at; `None` for callers who see all of them and ask for none.
pub(crate) fn scope(
    shared: &Shared,
    caller: &Caller,
    asked: Option<&str>,
) -> Result<Option<TenantId>, Problem> {
    match asked {
        Some(_) => tenant(shared, caller, asked).map(Some),
        None => Ok(caller.tenant()),
    }
}
