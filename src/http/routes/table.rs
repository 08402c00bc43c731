//! The route table.

use axum::Router;
use axum::http::Method;

use crate::domain::code::Code;
use crate::http::Shared;
use crate::http::openapi::operation::Operation;
use crate::http::openapi::registration::Api;
use crate::http::routes::public::{agent_ca, enroll, health, install, metrics};
use crate::http::routes::{
    account, api_tokens, audit, events, hosts, local, overview, secrets, sessions, tenants, tokens, users,
};

fn get(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::GET, path, id, summary)
}

fn post(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::POST, path, id, summary)
}

fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::DELETE, path, id, summary)
}

/// What the route is about, or a tenant that the body names.
const NO_SUCH: (u16, Code) = (404, Code::NotFound);
const NO_CA: (u16, Code) = (503, Code::CaUnavailable);
const THROTTLED: (u16, Code) = (429, Code::Throttled);
/// Where passwords are hashed.
const BUSY: (u16, Code) = (503, Code::Busy);

/// Routes that need no login.
pub(crate) fn open() -> Api {
    Api::default()
        .route(
            post(
                "/enroll/agent",
                "enrollAgent",
                "Enroll a machine with a join token or an enrollment secret",
            )
            .refuses(&[
                (400, Code::BadCsr),
                (401, Code::Unauthorized),
                (401, Code::TokenUsed),
                (401, Code::TokenExpired),
                (401, Code::TokenVoided),
                (403, Code::SecretExhausted),
                (403, Code::HostDecommissioned),
                (403, Code::IdentityRevoked),
                THROTTLED,
                NO_CA,
            ]),
            enroll::enroll,
        )
        .route(
            post("/enroll/agent/rotate", "rotateAgent", "Replace an SVID by a new one, for a new key")
                .refuses(&[
                    (400, Code::BadCsr),
                    (401, Code::BadChain),
                    (401, Code::BadProof),
                    (401, Code::UnknownSerial),
                    (401, Code::SvidExpired),
                    (403, Code::IdentityRevoked),
                    THROTTLED,
                    NO_CA,
                ]),
            enroll::rotate,
        )
        .route(
            get("/agent-ca.crt", "agentCaBundle", "The agent CA: root and intermediates, PEM")
                .refuses(&[NO_SUCH]),
            agent_ca::bundle,
        )
        .route(
            get("/agent-ca.crl", "agentCaCrl", "Revoked certificates that have not expired, DER")
                .refuses(&[NO_CA]),
            agent_ca::crl,
        )
        .route(
            get("/.well-known/spiffe-bundle", "spiffeBundle", "The trust bundle as a JWK set")
                .refuses(&[NO_SUCH]),
            agent_ca::spiffe_bundle,
        )
        .route(
            get(
                "/install/{platform}/muster",
                "program",
                "The program, for a machine that joins; the platform is OS-ARCH",
            )
            .refuses(&[(503, Code::Busy)]),
            install::program,
        )
        .route(get("/healthz", "live", "Whether the process lives"), health::live)
        .route(get("/readyz", "ready", "Whether enrollments can be taken"), health::ready)
        .route(
            get("/metrics", "metrics", "Figures for Prometheus, for loopback and API tokens only")
                .refuses(&[(403, Code::PermissionDenied)]),
            metrics::show,
        )
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
    use axum::routing::post;
    Router::new()
        .route("/backup", post(local::backup))
        .route("/check", post(local::check))
        .route("/agent-ca", post(local::install_agent_ca).get(local::has_agent_ca))
        .route("/agent-ca/request", post(local::request_intermediate))
        .route("/agent-ca/renew", post(local::renew_agent_ca))
}

fn account(api: Api) -> Api {
    api.route(get("/account", "account", "One's own account"), account::show)
        .route(
            Operation::new(
                Method::PUT,
                "/account/password",
                "setOwnPassword",
                "Set another password for oneself; every other session ends",
            )
            .refuses(&[
                (422, Code::WrongPassword),
                (422, Code::InvalidPassword),
                THROTTLED,
                BUSY,
            ]),
            account::set_password,
        )
        .route(get("/account/sessions", "ownSessions", "Where one is signed in"), account::sessions)
        .route(delete("/account/sessions/{id}", "endOwnSession", "Sign out elsewhere"), account::end_session)
}

fn people(api: Api) -> Api {
    api.route(
        post("/session", "signIn", "Sign in; the session comes back as a cookie").refuses(&[
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            THROTTLED,
            BUSY,
        ]),
        sessions::sign_in,
    )
    .route(get("/session", "session", "Who is signed in"), sessions::show)
    .route(
        get("/session/if-any", "sessionIfAny", "Who is signed in, for pages that must ask first"),
        sessions::show_if_any,
    )
    .route(delete("/session", "signOut", "Sign out"), sessions::sign_out)
    .route(
        Operation::new(
            Method::PUT,
            "/session/preferences",
            "setPreferences",
            "How the caller wants to see times",
        ),
        sessions::set_preferences,
    )
    .route(get("/users", "listUsers", "People, in the order of their creation"), users::list)
    .route(
        post("/users", "createUser", "Create a person").refuses(&[
            NO_SUCH,
            (409, Code::UsernameTaken),
            (422, Code::InvalidUsername),
            (422, Code::InvalidPassword),
            BUSY,
        ]),
        users::create,
    )
    .route(
        Operation::new(
            Method::PATCH,
            "/users/{id}",
            "changeUser",
            "Change a person's role, password or access",
        )
        .refuses(&[(409, Code::LastAdmin), (422, Code::InvalidPassword), BUSY]),
        users::change,
    )
    .route(get("/api-tokens", "listApiTokens", "API tokens, newest first"), api_tokens::list)
    .route(
        post(
            "/api-tokens",
            "createApiToken",
            "Create an API token; its text is in this answer and nowhere else",
        )
        .refuses(&[
            (422, Code::InvalidName),
            (422, Code::InvalidPermissions),
            (422, Code::InvalidTtl),
            (422, Code::TooMany),
        ]),
        api_tokens::create,
    )
    .route(delete("/api-tokens/{id}", "deleteApiToken", "Revoke an API token"), api_tokens::delete)
    .route(get("/tenants", "listTenants", "Tenants that the caller may see"), tenants::list)
    .route(
        post("/tenants", "createTenant", "Create a tenant")
            .refuses(&[(409, Code::TenantTaken), (422, Code::InvalidName)]),
        tenants::create,
    )
}

fn credentials(api: Api) -> Api {
    api.route(get("/agents/enroll-tokens", "listJoinTokens", "Join tokens, newest first"), tokens::list)
        .route(
            post(
                "/agents/enroll-tokens",
                "mintJoinToken",
                "Mint a join token; its text is in this answer and nowhere else",
            )
            .refuses(&[
                (422, Code::InvalidAgentId),
                (422, Code::InvalidName),
                (422, Code::InvalidTtl),
                (422, Code::TooMany),
            ]),
            tokens::mint,
        )
        .route(
            delete("/agents/enroll-tokens/{id}", "voidJoinToken", "Void a join token that has not been used")
                .refuses(&[(409, Code::TokenUsed)]),
            tokens::void,
        )
        .route(post("/agents/{agent_id}/revoke", "revokeAgent", "Revoke an agent's identity"), hosts::revoke)
        .route(
            get("/enrollment-secrets", "listEnrollmentSecrets", "Enrollment secrets, newest first"),
            secrets::list,
        )
        .route(
            post(
                "/enrollment-secrets",
                "createEnrollmentSecret",
                "Create an enrollment secret; its text is in this answer and nowhere else",
            )
            .refuses(&[
                (422, Code::InvalidName),
                (422, Code::InvalidMaxUses),
                (422, Code::InvalidTtl),
            ]),
            secrets::create,
        )
        .route(
            post(
                "/enrollment-secrets/{id}/revoke",
                "revokeEnrollmentSecret",
                "Revoke an enrollment secret for good",
            ),
            secrets::revoke,
        )
}

fn fleet(api: Api) -> Api {
    api.route(get("/overview", "overview", "The state of the fleet on one page"), overview::show)
        .route(get("/hosts", "listHosts", "Hosts, the newest first"), hosts::list)
        .route(get("/hosts/{id}", "host", "One host"), hosts::show)
        .route(
            delete("/hosts/{id}", "deleteHost", "Remove a host with everything that hangs on it"),
            hosts::delete,
        )
        .route(
            get(
                "/hosts/{id}/enrollments",
                "hostEnrollments",
                "Every certificate ever issued to a host, newest first",
            ),
            hosts::enrollments,
        )
        .route(get("/hosts/{id}/events", "hostEvents", "A host's timeline, newest first"), hosts::events)
        .route(
            post("/hosts/{id}/decommission", "decommissionHost", "Take a host out of service"),
            hosts::decommission,
        )
        .route(
            post(
                "/hosts/{id}/re-enable",
                "reEnableHost",
                "Let a decommissioned or revoked host enroll again",
            ),
            hosts::re_enable,
        )
        .route(get("/audit", "listAudit", "The audit trail"), audit::list)
        .route(
            get("/audit/verify", "verifyAudit", "Whether the audit trail's hash chain is whole"),
            audit::verify,
        )
        .route(
            get("/agent-ca", "agentCa", "The agent CA's certificates and expiries")
                .refuses(&[NO_SUCH, (500, Code::Internal)]),
            agent_ca::show,
        )
        .route(
            get("/events", "events", "What happens, as it happens (server-sent events)")
                .refuses(&[(429, Code::TooManyStreams)]),
            events::stream,
        )
}
