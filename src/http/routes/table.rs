//! The route table.

use axum::Router;
use axum::http::Method;

use crate::domain::code::Code;
use crate::http::Shared;
use crate::http::openapi::registration::Api;
use crate::http::routes::local::{keeping, root};
use crate::http::routes::programs::{api_tokens, webhooks};
use crate::http::routes::public::{agent_ca, enroll, health, install, metrics};
use crate::http::routes::{
    account, audit, events, hosts, overview, restored, secrets, sessions, tenants, tokens, users, vouch,
};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// Why a certificate is not vouched for.
const NOT_VOUCHED: &[Code] = &[
    Code::BadChain,
    Code::OtherTenant,
    Code::SvidExpired,
    Code::IdentityRevoked,
    Code::UnknownSerial,
    Code::Unavailable,
];

/// Routes that need no login.
pub(crate) fn open() -> Api {
    Api::default()
        .operation("enrollAgent", "Enroll a machine with a join token or an enrollment secret")
        .at(POST, "/enroll/agent", enroll::enroll)
        .refuses(&[
            Code::BadCsr,
            Code::Unauthorized,
            Code::TokenUsed,
            Code::TokenExpired,
            Code::TokenVoided,
            Code::SecretExhausted,
            Code::HostDecommissioned,
            Code::IdentityRevoked,
            Code::Throttled,
            Code::CaUnavailable,
            Code::ReplicaBehind,
        ])
        .operation("rotateAgent", "Replace an SVID by a new one, for a new key")
        .at(POST, "/enroll/agent/rotate", enroll::rotate)
        .refuses(&[
            Code::BadCsr,
            Code::BadChain,
            Code::BadProof,
            Code::UnknownSerial,
            Code::SvidExpired,
            Code::IdentityRevoked,
            Code::Throttled,
            Code::CaUnavailable,
        ])
        .operation("agentCaBundle", "The agent CA: root and intermediates, PEM")
        .at(GET, "/agent-ca.crt", agent_ca::bundle)
        .refuses(&[Code::NotFound])
        .operation("agentCaRoots", "The roots of the agent CA alone, PEM")
        .at(GET, "/agent-ca-root.crt", agent_ca::roots)
        .refuses(&[Code::NotFound])
        .operation(
            "agentCaCrl",
            "Revoked certificates that have not expired, by the issuing intermediate, DER",
        )
        .at(GET, "/agent-ca.crl", agent_ca::crl)
        .refuses(&[Code::CaUnavailable])
        .operation("agentCaCrls", "The revocation lists of all issuers, PEM")
        .at(GET, "/agent-ca.crl.pem", agent_ca::crls)
        .refuses(&[Code::NotFound, Code::CaUnavailable])
        .operation("agentCaCrlOf", "The revocation list of one issuer, DER; the file is SKI.crl")
        .at(GET, "/agent-ca/crl/{file}", agent_ca::crl_of)
        .refuses(&[Code::CaUnavailable])
        .operation("spiffeBundle", "The trust bundle as a JWK set")
        .at(GET, "/.well-known/spiffe-bundle", agent_ca::spiffe_bundle)
        .refuses(&[Code::NotFound])
        .operation("openidConfiguration", "OpenID Connect discovery for JWT-SVIDs, where jwt_issuer is set")
        .at(GET, "/.well-known/openid-configuration", agent_ca::openid_configuration)
        .refuses(&[Code::NotFound])
        .operation("jwks", "The keys of JWT-SVIDs as a JWK set, where jwt_issuer is set")
        .at(GET, "/.well-known/jwks.json", agent_ca::jwks)
        .refuses(&[Code::NotFound])
        .operation("program", "The program, for a machine that joins; the platform is OS-ARCH")
        .at(GET, "/install/{platform}/muster", install::program)
        .refuses(&[Code::Busy])
        .operation("live", "Whether the process lives")
        .at(GET, "/healthz", health::live)
        .operation("ready", "Whether enrollments can be taken")
        .at(GET, "/readyz", health::ready)
        .operation("metrics", "Figures for Prometheus, for loopback and API tokens only")
        .at(GET, "/metrics", metrics::show)
        .refuses(&[Code::PermissionDenied])
}

/// The admin API, below `/v1` and `/api/v1`.
pub(crate) fn api() -> Api {
    let api = people(account(Api::default()));
    let api = credentials(api);
    fleet(api)
}

/// What only the local operator reaches, over the UNIX socket or in process. None of it is part of the API, so
/// none of it is in the OpenAPI document.
pub(crate) fn local() -> Router<Shared> {
    use axum::routing::{get, post};
    Router::new()
        .route("/backup", post(keeping::backup))
        .route("/check", post(keeping::check))
        .route("/replicas", get(keeping::replicas))
        .route("/restore/declare", post(restored::declare))
        .route("/restore/confirm", post(restored::confirm).get(restored::suspended))
        .route("/agent-ca", post(keeping::install_agent_ca).get(keeping::has_agent_ca))
        .route("/agent-ca/request", post(keeping::request_intermediate))
        .route("/agent-ca/request-revocation", post(keeping::request_revocation))
        .route("/agent-ca/renew", post(keeping::renew_agent_ca))
        .route("/agent-ca/revoke-intermediate", post(keeping::revoke_intermediate))
        .route("/agent-ca/publish-revocation", post(keeping::publish_revocation))
        .route("/agent-ca/issue-now", post(keeping::issue_now))
        .route("/agent-ca/root/request", post(root::request))
        .route("/agent-ca/root/install", post(root::install))
        .route("/agent-ca/root/request-root", post(root::request_root))
        .route("/agent-ca/root/prepare", post(root::prepare))
        .route("/agent-ca/root/activate", post(root::activate))
        .route("/agent-ca/root/retire", post(root::retire))
        .route("/hosts/server-trust", get(keeping::server_trust))
        .route("/envelope/recovery", post(keeping::add_recovery).get(keeping::recovery))
        .route("/envelope/recovery/remove", post(keeping::remove_recovery))
}

fn account(api: Api) -> Api {
    api.operation("account", "One's own account")
        .at(GET, "/account", account::show)
        .operation("setOwnPassword", "Set another password for oneself; every other session ends")
        .at(PUT, "/account/password", account::set_password)
        .refuses(&[Code::WrongPassword, Code::InvalidPassword, Code::Throttled, Code::Busy])
        .operation("ownSessions", "Where one is signed in")
        .at(GET, "/account/sessions", account::sessions)
        .operation("endOwnSession", "Sign out elsewhere")
        .at(DELETE, "/account/sessions/{id}", account::end_session)
}

fn people(api: Api) -> Api {
    api.operation("signIn", "Sign in; the session comes back as a cookie")
        .at(POST, "/session", sessions::sign_in)
        .refuses(&[Code::Unauthenticated, Code::PermissionDenied, Code::Throttled, Code::Busy])
        .operation("session", "Who is signed in")
        .at(GET, "/session", sessions::show)
        .operation("sessionIfAny", "Who is signed in, for pages that must ask first")
        .at(GET, "/session/if-any", sessions::show_if_any)
        .operation("signOut", "Sign out")
        .at(DELETE, "/session", sessions::sign_out)
        .operation("setPreferences", "How the caller wants to see times")
        .at(PUT, "/session/preferences", sessions::set_preferences)
        .operation("listUsers", "People, in the order of their creation")
        .at(GET, "/users", users::list)
        .operation("createUser", "Create a person")
        .at(POST, "/users", users::create)
        .refuses(&[
            Code::NotFound,
            Code::UsernameTaken,
            Code::InvalidUsername,
            Code::InvalidPassword,
            Code::Busy,
        ])
        .operation("changeUser", "Change a person's role, password or access")
        .at(PATCH, "/users/{id}", users::change)
        .refuses(&[Code::LastAdmin, Code::InvalidPassword, Code::Busy])
        .operation("listApiTokens", "API tokens, newest first")
        .at(GET, "/api-tokens", api_tokens::list)
        .operation("createApiToken", "Create an API token; its text is in this answer and nowhere else")
        .at(POST, "/api-tokens", api_tokens::create)
        .refuses(&[Code::InvalidName, Code::InvalidPermissions, Code::InvalidTtl, Code::TooMany])
        .operation("deleteApiToken", "Revoke an API token")
        .at(DELETE, "/api-tokens/{id}", api_tokens::delete)
        .operation("listWebhooks", "Webhooks, the oldest first")
        .at(GET, "/webhooks", webhooks::list)
        .operation(
            "createWebhook",
            "Have somebody told of events; the key is in this answer and nowhere else",
        )
        .at(POST, "/webhooks", webhooks::create)
        .refuses(&[Code::InvalidUrl, Code::InvalidEvents, Code::InvalidCa, Code::TooMany, Code::NoEnvelope])
        .operation("deleteWebhook", "Remove a webhook with all that waits for it")
        .at(DELETE, "/webhooks/{id}", webhooks::delete)
        .operation("testWebhook", "Send a message to a webhook at once")
        .at(POST, "/webhooks/{id}/test", webhooks::test)
        .refuses(&[Code::NoEnvelope])
        .operation("listTenants", "Tenants that the caller may see")
        .at(GET, "/tenants", tenants::list)
        .operation("createTenant", "Create a tenant")
        .at(POST, "/tenants", tenants::create)
        .refuses(&[Code::TenantTaken, Code::InvalidName])
}

fn credentials(api: Api) -> Api {
    api.operation("listJoinTokens", "Join tokens, newest first")
        .at(GET, "/agents/enroll-tokens", tokens::list)
        .operation("mintJoinToken", "Mint a join token; its text is in this answer and nowhere else")
        .at(POST, "/agents/enroll-tokens", tokens::mint)
        .refuses(&[
            Code::InvalidAgentId,
            Code::InvalidName,
            Code::InvalidTtl,
            Code::InvalidTag,
            Code::TooMany,
        ])
        .operation("voidJoinToken", "Void a join token that has not been used")
        .at(DELETE, "/agents/enroll-tokens/{id}", tokens::void)
        .refuses_with(409, Code::TokenUsed)
        .operation("revokeAgent", "Revoke an agent's identity")
        .at(POST, "/agents/{agent_id}/revoke", hosts::revoke)
        .refuses(&[Code::ReplicaBehind])
        .operation("listEnrollmentSecrets", "Enrollment secrets, newest first")
        .at(GET, "/enrollment-secrets", secrets::list)
        .operation(
            "createEnrollmentSecret",
            "Create an enrollment secret; its text is in this answer and nowhere else",
        )
        .at(POST, "/enrollment-secrets", secrets::create)
        .refuses(&[
            Code::InvalidName,
            Code::InvalidMaxUses,
            Code::InvalidTtl,
            Code::InvalidTag,
            Code::InvalidNetwork,
        ])
        .operation("revokeEnrollmentSecret", "Revoke an enrollment secret for good")
        .at(POST, "/enrollment-secrets/{id}/revoke", secrets::revoke)
        .refuses(&[Code::ReplicaBehind])
}

fn fleet(api: Api) -> Api {
    api.operation("overview", "The state of the fleet on one page")
        .at(GET, "/overview", overview::show)
        .operation("onlineHistory", "How many hosts were online over the last week")
        .at(GET, "/overview/online", overview::online)
        .operation("listHosts", "Hosts, the newest first")
        .at(GET, "/hosts", hosts::list)
        .operation("host", "One host")
        .at(GET, "/hosts/{id}", hosts::show)
        .operation("changeHost", "Change what people say of a host: its tags, its note")
        .at(PATCH, "/hosts/{id}", hosts::change)
        .refuses(&[Code::InvalidTag, Code::InvalidNote])
        .operation("changeHosts", "Change many hosts in one transaction, or none")
        .at(POST, "/hosts/batch", hosts::change_many)
        .refuses(&[Code::SetChanged, Code::TooMany, Code::InvalidTag])
        .operation("deleteHost", "Remove a host with everything that hangs on it")
        .at(DELETE, "/hosts/{id}", hosts::delete)
        .refuses(&[Code::ReplicaBehind])
        .operation("hostEnrollments", "Every certificate ever issued to a host, newest first")
        .at(GET, "/hosts/{id}/enrollments", hosts::enrollments)
        .operation("hostEvents", "A host's timeline, newest first")
        .at(GET, "/hosts/{id}/events", hosts::events)
        .operation("decommissionHost", "Take a host out of service")
        .at(POST, "/hosts/{id}/decommission", hosts::decommission)
        .refuses(&[Code::ReplicaBehind])
        .operation("reEnableHost", "Let a decommissioned or revoked host enroll again")
        .at(POST, "/hosts/{id}/re-enable", hosts::re_enable)
        .operation("listAudit", "The audit trail")
        .at(GET, "/audit", audit::list)
        .operation("verifyAudit", "Whether the audit trail's hash chain is whole")
        .at(GET, "/audit/verify", audit::verify)
        .operation("agentCa", "The agent CA's certificates and expiries")
        .at(GET, "/agent-ca", agent_ca::show)
        .refuses(&[Code::NotFound, Code::Internal])
        .operation("events", "What happens, as it happens (server-sent events)")
        .at(GET, "/events", events::stream)
        .refuses(&[Code::TooManyStreams])
        .operation("vouch", "Whether a certificate that was shown to a relying party is a live agent's")
        .at(POST, "/vouch", vouch::vouch)
        .forbids(NOT_VOUCHED)
        .operation("forwardAuth", "The same for proxies, which pass the certificate on in a header")
        .at(GET, "/forward-auth", vouch::forward_auth)
        .forbids(NOT_VOUCHED)
        .forbids(&[Code::MissingTag])
}
