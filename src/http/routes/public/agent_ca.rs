//! The agent CA, for whoever wants to verify agents.

use axum::extract::State;
use axum::http::HeaderMap;

use crate::api::authority::{
    AgentCaAnswer, BundleAnswer, CaCertificateItem, DiscoveryAnswer, JwksAnswer, RootChangeItem,
    RootRequestItem,
};
use crate::app::keep::agent_ca::CertificateSummary;
use crate::http::Shared;
use crate::http::input::extract::{AgentRead, Allowed, Id, Nothing, Params};
use crate::http::problem::Problem;
use crate::http::reply::{Cached, Crl, CrlPem, JsonOf, Media, Pem};

/// A document that is kept, or none to be had.
type Served<M> = Result<Media<Cached<M>>, Problem>;

fn missing() -> Problem {
    Problem::not_found("There is no agent CA yet. Create it with 'muster agent-ca init'.")
}

pub(crate) async fn bundle(State(shared): State<Shared>, headers: HeaderMap) -> Served<Pem> {
    let documents = shared.trust_documents().await;
    Ok(Media::new(documents.bundles.as_ref().ok_or_else(missing)?.whole.answer(&headers)))
}

pub(crate) async fn roots(State(shared): State<Shared>, headers: HeaderMap) -> Served<Pem> {
    let documents = shared.trust_documents().await;
    Ok(Media::new(documents.bundles.as_ref().ok_or_else(missing)?.roots.answer(&headers)))
}

/// The issuing intermediate's CRL, DER (RFC 5280 5).
pub(crate) async fn crl(State(shared): State<Shared>, headers: HeaderMap) -> Served<Crl> {
    let documents = shared.trust_documents().await;
    let issuing = documents.lists.as_ref().and_then(|lists| lists.issuing.as_ref());
    Ok(Media::new(issuing.ok_or_else(Problem::ca_unavailable)?.answer(&headers)))
}

/// The CRLs of all issuers, PEM. It is complete, or there is none.
pub(crate) async fn crls(State(shared): State<Shared>, headers: HeaderMap) -> Served<CrlPem> {
    let documents = shared.trust_documents().await;
    let lists = documents.lists.as_ref().ok_or_else(Problem::ca_unavailable)?;
    let all = lists.all.as_ref().ok_or_else(|| {
        Problem::not_found(
            "The root of this agent CA has no revocation list yet; 'muster agent-ca renew' makes it.",
        )
    })?;
    Ok(Media::new(all.answer(&headers)))
}

/// The CRL of one issuer, DER.
pub(crate) async fn crl_of(
    State(shared): State<Shared>,
    Id(file): Id<String>,
    headers: HeaderMap,
) -> Served<Crl> {
    let documents = shared.trust_documents().await;
    let lists = documents.lists.as_ref().ok_or_else(Problem::ca_unavailable)?;
    let of_issuer = file.strip_suffix(".crl").and_then(|issuer| lists.by_issuer.get(issuer));
    let none = || Problem::not_found("No issuer of this agent CA has this subject key identifier.");
    Ok(Media::new(of_issuer.ok_or_else(none)?.answer(&headers)))
}

/// The trust bundle as SPIFFE implementations fetch it.
pub(crate) async fn spiffe_bundle(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Served<JsonOf<BundleAnswer>> {
    let documents = shared.trust_documents().await;
    Ok(Media::new(documents.bundles.as_ref().ok_or_else(missing)?.spiffe.answer(&headers)))
}

fn no_discovery(shared: &Shared) -> Problem {
    Problem::not_found(if shared.app.policy.jwt.issuer.is_some() {
        "There is no key of JWT-SVIDs yet; the server makes one when it has an agent CA."
    } else {
        "This server names no issuer of JWT-SVIDs: set jwt_issuer (MUSTER_JWT_ISSUER). Their keys are in \
         /.well-known/spiffe-bundle all the same."
    })
}

/// OpenID Connect discovery, for programs that verify JWT-SVIDs and know no more than the issuer.
pub(crate) async fn openid_configuration(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Served<JsonOf<DiscoveryAnswer>> {
    let documents = shared.trust_documents().await;
    Ok(Media::new(
        documents.discovery.as_ref().ok_or_else(|| no_discovery(&shared))?.configuration.answer(&headers),
    ))
}

/// The keys of JWT-SVIDs for such programs.
pub(crate) async fn jwks(State(shared): State<Shared>, headers: HeaderMap) -> Served<JsonOf<JwksAnswer>> {
    let documents = shared.trust_documents().await;
    Ok(Media::new(documents.discovery.as_ref().ok_or_else(|| no_discovery(&shared))?.jwks.answer(&headers)))
}

impl From<CertificateSummary> for CaCertificateItem {
    fn from(summary: CertificateSummary) -> Self {
        Self {
            role: summary.role.as_str().into(),
            subject: summary.subject,
            serial: summary.serial,
            not_before: summary.not_before,
            not_after: summary.not_after,
            sha256: summary.fingerprint,
            issuing_from: summary.issuing_from,
            revoked_at: summary.revocation.map(|revocation| revocation.at),
            revocation_published: summary.revocation.is_some_and(|revocation| revocation.published),
        }
    }
}

pub(crate) async fn show(
    _: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<axum::Json<AgentCaAnswer>, Problem> {
    let (trust_domain, summaries) = shared.app.agent_ca()?.ok_or_else(missing)?;
    Ok(axum::Json(AgentCaAnswer {
        trust_domain: trust_domain.to_string(),
        certificates: summaries.into_iter().map(CaCertificateItem::from).collect(),
        server_pin: shared.facts.server_pin().map(|pin| pin.to_string()),
        root_change: shared.app.root_change()?.map(RootChangeItem::from),
        open_request: shared.app.root_request_is_open()?.map(RootRequestItem::from),
    }))
}
