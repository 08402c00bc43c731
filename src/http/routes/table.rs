//! The route table.

use axum::Router;
use axum::http::Method;

use crate::api::audit::{AuditItem, ChainAnswer};
use crate::api::authority::{AgentCaAnswer, BundleAnswer};
use crate::api::credentials::{CreatedSecret, MintBody, MintedToken, SecretBody, SecretItem, TokenItem};
use crate::api::enroll::{EnrollBody, RotateBody, SvidAnswer};
use crate::api::events::LiveEvent;
use crate::api::health::HealthAnswer;
use crate::api::hosts::{EnrollmentItem, HostEventItem, HostItem, HostList, RevokedAnswer};
use crate::api::overview::OverviewAnswer;
use crate::api::people::{
    AccountAnswer, ApiTokenBody, ApiTokenItem, ChangedUserAnswer, CreatedApiToken, OwnPasswordAnswer,
    OwnPasswordBody, PreferencesBody, SessionAnswer, SessionItem, SignInBody, TenantBody, TenantItem,
    UserBody, UserItem, UserPatch,
};
use crate::domain::people::permission::Permission;
use crate::http::Shared;
use crate::http::input::extract::{InTenant, Nothing};
pub(crate) use crate::http::input::page::{ListParams, Page, PageParams};
use crate::http::openapi::operation::{Access, Api, Operation};
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

/// Cursors of lists, by what they are ordered by.
const BY_UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
/// What the list is sorted by stands in front.
const BY_HOST: &str =
    "^([hse][.][A-Za-z0-9_-]*[.])?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
const BY_CREDENTIAL: &str = "^[a-z2-7]{16}$";
const BY_SERIAL: &str = "^[0-9a-f]{32}$";
const BY_EVENT: &str = "^[0-9a-f]{24}$";
const BY_NUMBER: &str = "^[0-9]{1,18}$";

const NO_CA: (u16, &str) = (503, "ca_unavailable");
const THROTTLED: (u16, &str) = (429, "throttled");
/// Where passwords are hashed.
const BUSY: (u16, &str) = (503, "busy");

/// Routes that need no login.
pub(crate) fn open() -> Api {
    Api::default()
        .route(
            post(
                "/enroll/agent",
                "enrollAgent",
                "Enroll a machine with a join token or an enrollment secret",
            )
            .body::<EnrollBody>()
            .answers::<SvidAnswer>(201, "The machine's first SVID")
            .problems(&[
                (400, "bad_csr"),
                (401, "unauthorized"),
                (401, "token_used"),
                (401, "token_expired"),
                (401, "token_voided"),
                (403, "secret_exhausted"),
                (403, "host_decommissioned"),
                (403, "identity_revoked"),
                THROTTLED,
                NO_CA,
            ]),
            enroll::enroll,
        )
        .route(
            post("/enroll/agent/rotate", "rotateAgent", "Replace an SVID by a new one, for a new key")
                .body::<RotateBody>()
                .answers::<SvidAnswer>(200, "The next SVID")
                .problems(&[
                    (400, "bad_csr"),
                    (401, "bad_chain"),
                    (401, "bad_proof"),
                    (401, "unknown_serial"),
                    (401, "svid_expired"),
                    (403, "identity_revoked"),
                    THROTTLED,
                    NO_CA,
                ]),
            enroll::rotate,
        )
        .route(
            get("/agent-ca.crt", "agentCaBundle", "The agent CA: root and intermediates, PEM")
                .answers_with(200, "Certificates", "application/x-pem-file")
                .answers_with(304, "The client has the newest ones", "")
                .problems(&[(404, "not_found")]),
            agent_ca::bundle,
        )
        .route(
            get("/agent-ca.crl", "agentCaCrl", "Revoked certificates that have not expired, DER")
                .answers_with(200, "A certificate revocation list", "application/pkix-crl")
                .answers_with(304, "The client has the newest one", "")
                .problems(&[NO_CA]),
            agent_ca::crl,
        )
        .route(
            get("/.well-known/spiffe-bundle", "spiffeBundle", "The trust bundle as a JWK set")
                .answers::<BundleAnswer>(200, "The trust bundle")
                .answers_with(304, "The client has the newest one", "")
                .problems(&[(404, "not_found")]),
            agent_ca::spiffe_bundle,
        )
        .route(
            get(
                "/install/{platform}/muster",
                "program",
                "The program, for a machine that joins; the platform is OS-ARCH",
            )
            .answers_with(200, "The program", "application/octet-stream")
            .problems(&[(404, "not_found"), (503, "busy")]),
            install::program,
        )
        .route(
            get("/healthz", "live", "Whether the process lives").answers::<HealthAnswer>(200, "It does"),
            health::live,
        )
        .route(
            get("/readyz", "ready", "Whether enrollments can be taken")
                .answers::<HealthAnswer>(200, "They can"),
            health::ready,
        )
        .route(
            get("/metrics", "metrics", "Figures for Prometheus, for loopback and API tokens only")
                .answers_with(200, "Figures", "application/openmetrics-text")
                .problems(&[(403, "permission_denied")]),
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
    api.route(
        get("/account", "account", "One's own account")
            .access(Access::Person)
            .query::<Nothing>()
            .answers::<AccountAnswer>(200, "Whoever asks"),
        account::show,
    )
    .route(
        Operation::new(
            Method::PUT,
            "/account/password",
            "setOwnPassword",
            "Set another password for oneself; every other session ends",
        )
        .access(Access::Person)
        .query::<Nothing>()
        .body::<OwnPasswordBody>()
        .answers::<OwnPasswordAnswer>(200, "What has ended besides")
        .problems(&[(422, "wrong_password"), (422, "invalid_password"), THROTTLED, BUSY]),
        account::set_password,
    )
    .route(
        get("/account/sessions", "ownSessions", "Where one is signed in")
            .access(Access::Person)
            .query::<PageParams>()
            .cursor(BY_SERIAL)
            .answers::<Page<SessionItem>>(200, "A page of sessions"),
        account::sessions,
    )
    .route(
        delete("/account/sessions/{id}", "endOwnSession", "Sign out elsewhere")
            .access(Access::Person)
            .query::<Nothing>()
            .answers_with(204, "The session has ended", ""),
        account::end_session,
    )
}

fn people(api: Api) -> Api {
    use Permission::{AgentRead, TenantWrite, TokenWrite, UserWrite};
    api.route(
        post("/session", "signIn", "Sign in; the session comes back as a cookie")
            .body::<SignInBody>()
            .answers::<SessionAnswer>(200, "Signed in")
            .problems(&[(401, "unauthenticated"), (403, "permission_denied"), THROTTLED, BUSY]),
        sessions::sign_in,
    )
    .route(
        get("/session", "session", "Who is signed in")
            .access(Access::SignedIn)
            .answers::<SessionAnswer>(200, "The caller"),
        sessions::show,
    )
    .route(
        get("/session/if-any", "sessionIfAny", "Who is signed in, for pages that must ask first")
            .answers::<SessionAnswer>(200, "The caller")
            .answers_with(204, "Nobody is signed in", ""),
        sessions::show_if_any,
    )
    .route(
        delete("/session", "signOut", "Sign out").access(Access::SignedIn).answers_with(
            204,
            "Signed out",
            "",
        ),
        sessions::sign_out,
    )
    .route(
        Operation::new(
            Method::PUT,
            "/session/preferences",
            "setPreferences",
            "How the caller wants to see times",
        )
        .access(Access::SignedIn)
        .body::<PreferencesBody>()
        .answers::<SessionAnswer>(200, "The caller, with the new preferences"),
        sessions::set_preferences,
    )
    .route(
        get("/users", "listUsers", "People, in the order of their creation")
            .needs(UserWrite)
            .query::<ListParams>()
            .cursor(BY_UUID)
            .answers::<Page<UserItem>>(200, "A page of people")
            .problems(&[(404, "not_found")]),
        users::list,
    )
    .route(
        post("/users", "createUser", "Create a person")
            .needs(UserWrite)
            .query::<Nothing>()
            .body::<UserBody>()
            .answers::<UserItem>(201, "The person")
            .problems(&[
                (404, "not_found"),
                (409, "username_taken"),
                (422, "invalid_username"),
                (422, "invalid_password"),
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
        .needs(UserWrite)
        .query::<Nothing>()
        .body::<UserPatch>()
        .answers::<ChangedUserAnswer>(200, "The person as it is now")
        .problems(&[(409, "last_admin"), (422, "invalid_password"), BUSY]),
        users::change,
    )
    .route(
        get("/api-tokens", "listApiTokens", "API tokens, newest first")
            .needs(TokenWrite)
            .query::<ListParams>()
            .cursor(BY_CREDENTIAL)
            .answers::<Page<ApiTokenItem>>(200, "A page of tokens")
            .problems(&[(404, "not_found")]),
        api_tokens::list,
    )
    .route(
        post(
            "/api-tokens",
            "createApiToken",
            "Create an API token; its text is in this answer and nowhere else",
        )
        .needs(TokenWrite)
        .query::<InTenant>()
        .body::<ApiTokenBody>()
        .answers::<CreatedApiToken>(201, "The token")
        .problems(&[
            (404, "not_found"),
            (422, "invalid_name"),
            (422, "invalid_permissions"),
            (422, "invalid_ttl"),
            (422, "too_many"),
        ]),
        api_tokens::create,
    )
    .route(
        delete("/api-tokens/{id}", "deleteApiToken", "Revoke an API token")
            .needs(TokenWrite)
            .query::<Nothing>()
            .answers_with(204, "It grants nothing any more", ""),
        api_tokens::delete,
    )
    .route(
        get("/tenants", "listTenants", "Tenants that the caller may see")
            .needs(AgentRead)
            .query::<PageParams>()
            .cursor(BY_UUID)
            .answers::<Page<TenantItem>>(200, "A page of tenants"),
        tenants::list,
    )
    .route(
        post("/tenants", "createTenant", "Create a tenant")
            .needs(TenantWrite)
            .query::<Nothing>()
            .body::<TenantBody>()
            .answers::<TenantItem>(201, "The tenant")
            .problems(&[(409, "tenant_taken"), (422, "invalid_name")]),
        tenants::create,
    )
}

fn credentials(api: Api) -> Api {
    use Permission::{AgentWrite, SecretWrite};
    api.route(
        get("/agents/enroll-tokens", "listJoinTokens", "Join tokens, newest first")
            .needs(AgentWrite)
            .query::<ListParams>()
            .cursor(BY_CREDENTIAL)
            .answers::<Page<TokenItem>>(200, "A page of tokens")
            .problems(&[(404, "not_found")]),
        tokens::list,
    )
    .route(
        post(
            "/agents/enroll-tokens",
            "mintJoinToken",
            "Mint a join token; its text is in this answer and nowhere else",
        )
        .needs(AgentWrite)
        .query::<InTenant>()
        .optional_body::<MintBody>()
        .answers::<MintedToken>(201, "The token")
        .problems(&[
            (404, "not_found"),
            (422, "invalid_agent_id"),
            (422, "invalid_name"),
            (422, "invalid_ttl"),
            (422, "too_many"),
        ]),
        tokens::mint,
    )
    .route(
        delete("/agents/enroll-tokens/{id}", "voidJoinToken", "Void a join token that has not been used")
            .needs(AgentWrite)
            .query::<InTenant>()
            .answers::<TokenItem>(200, "The token, void")
            .problems(&[(409, "token_used")]),
        tokens::void,
    )
    .route(
        post("/agents/{agent_id}/revoke", "revokeAgent", "Revoke an agent's identity")
            .needs(AgentWrite)
            .query::<InTenant>()
            .answers::<RevokedAnswer>(200, "It is revoked"),
        hosts::revoke,
    )
    .route(
        get("/enrollment-secrets", "listEnrollmentSecrets", "Enrollment secrets, newest first")
            .needs(SecretWrite)
            .query::<secrets::SecretParams>()
            .cursor(BY_CREDENTIAL)
            .answers::<Page<SecretItem>>(200, "A page of secrets")
            .problems(&[(404, "not_found")]),
        secrets::list,
    )
    .route(
        post(
            "/enrollment-secrets",
            "createEnrollmentSecret",
            "Create an enrollment secret; its text is in this answer and nowhere else",
        )
        .needs(SecretWrite)
        .query::<InTenant>()
        .body::<SecretBody>()
        .answers::<CreatedSecret>(201, "The secret")
        .problems(&[
            (404, "not_found"),
            (422, "invalid_name"),
            (422, "invalid_max_uses"),
            (422, "invalid_ttl"),
        ]),
        secrets::create,
    )
    .route(
        post(
            "/enrollment-secrets/{id}/revoke",
            "revokeEnrollmentSecret",
            "Revoke an enrollment secret for good",
        )
        .needs(SecretWrite)
        .query::<InTenant>()
        .answers::<SecretItem>(200, "The secret, revoked"),
        secrets::revoke,
    )
}

fn fleet(api: Api) -> Api {
    use Permission::{AgentRead, AuditRead, HostWrite};
    api.route(
        get("/overview", "overview", "The state of the fleet on one page")
            .needs(AgentRead)
            .query::<InTenant>()
            .answers::<OverviewAnswer>(200, "The overview")
            .problems(&[(404, "not_found")]),
        overview::show,
    )
    .route(
        get("/hosts", "listHosts", "Hosts, the newest first")
            .needs(AgentRead)
            .query::<hosts::HostParams>()
            .cursor(BY_HOST)
            .answers::<HostList>(200, "A page of hosts")
            .problems(&[(404, "not_found")]),
        hosts::list,
    )
    .route(
        get("/hosts/{id}", "host", "One host")
            .needs(AgentRead)
            .query::<InTenant>()
            .answers::<HostItem>(200, "The host"),
        hosts::show,
    )
    .route(
        delete("/hosts/{id}", "deleteHost", "Remove a host with everything that hangs on it")
            .needs(HostWrite)
            .query::<InTenant>()
            .answers_with(204, "It is gone", ""),
        hosts::delete,
    )
    .route(
        get(
            "/hosts/{id}/enrollments",
            "hostEnrollments",
            "Every certificate ever issued to a host, newest first",
        )
        .needs(AgentRead)
        .query::<ListParams>()
        .cursor(BY_SERIAL)
        .answers::<Page<EnrollmentItem>>(200, "A page of certificates"),
        hosts::enrollments,
    )
    .route(
        get("/hosts/{id}/events", "hostEvents", "A host's timeline, newest first")
            .needs(AgentRead)
            .query::<ListParams>()
            .cursor(BY_EVENT)
            .answers::<Page<HostEventItem>>(200, "A page of the timeline"),
        hosts::events,
    )
    .route(
        post("/hosts/{id}/decommission", "decommissionHost", "Take a host out of service")
            .needs(HostWrite)
            .query::<InTenant>()
            .answers::<HostItem>(200, "The host, decommissioned"),
        hosts::decommission,
    )
    .route(
        post("/hosts/{id}/re-enable", "reEnableHost", "Let a decommissioned or revoked host enroll again")
            .needs(HostWrite)
            .query::<InTenant>()
            .answers::<HostItem>(200, "The host, re-enabled"),
        hosts::re_enable,
    )
    .route(
        get("/audit", "listAudit", "The audit trail")
            .needs(AuditRead)
            .query::<audit::AuditParams>()
            .cursor(BY_NUMBER)
            .answers::<Page<AuditItem>>(200, "A page of records")
            .problems(&[(404, "not_found")]),
        audit::list,
    )
    .route(
        get("/audit/verify", "verifyAudit", "Whether the audit trail's hash chain is whole")
            .needs(AuditRead)
            .query::<Nothing>()
            .answers::<ChainAnswer>(200, "The state of the chain"),
        audit::verify,
    )
    .route(
        get("/agent-ca", "agentCa", "The agent CA's certificates and expiries")
            .needs(AgentRead)
            .query::<Nothing>()
            .answers::<AgentCaAnswer>(200, "The agent CA")
            .problems(&[(404, "not_found"), (500, "internal")]),
        agent_ca::show,
    )
    .route(
        get("/events", "events", "What happens, as it happens (server-sent events)")
            .needs(AgentRead)
            .query::<InTenant>()
            .streams::<LiveEvent>("A stream of events")
            .problems(&[(404, "not_found"), (429, "too_many_streams")]),
        events::stream,
    )
}
