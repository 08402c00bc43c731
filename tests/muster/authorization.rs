//! Who may do what: one table with a row for every operation that the server documents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::client::{Client, PASSWORD};
use crate::support::fleet::{host_by_secret, secret};
use crate::support::http::Answer;
use crate::support::server::{Server, text};

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    SignedIn,
    Person,
    Permission(&'static str),
}

use Need::{Nothing, Permission, Person, SignedIn};

const PERMISSIONS: [&str; 10] = [
    "agent.read",
    "agent.vouch",
    "agent.write",
    "audit.read",
    "host.write",
    "secret.write",
    "user.write",
    "token.write",
    "webhook.write",
    "tenant.write",
];

/// A new password comes late, because it takes the caller's other sessions away; signing out comes last, because it
/// takes this one.
const TABLE: &[(&str, &str, Need)] = &[
    ("POST", "/enroll/agent", Nothing),
    ("POST", "/enroll/agent/rotate", Nothing),
    ("GET", "/agent-ca.crt", Nothing),
    ("GET", "/agent-ca-root.crt", Nothing),
    ("GET", "/agent-ca.crl", Nothing),
    ("GET", "/agent-ca.crl.pem", Nothing),
    ("GET", "/agent-ca/crl/{file}", Nothing),
    ("GET", "/.well-known/spiffe-bundle", Nothing),
    ("GET", "/.well-known/openid-configuration", Nothing),
    ("GET", "/.well-known/jwks.json", Nothing),
    ("GET", "/install/{platform}/muster", Nothing),
    ("GET", "/healthz", Nothing),
    ("GET", "/readyz", Nothing),
    // Loopback may measure, and that is where these callers are.
    ("GET", "/metrics", Nothing),
    ("POST", "/v1/session", Nothing),
    ("GET", "/v1/session", SignedIn),
    ("GET", "/v1/session/if-any", Nothing),
    ("PUT", "/v1/session/preferences", SignedIn),
    ("GET", "/v1/account", Person),
    ("GET", "/v1/account/sessions", Person),
    ("DELETE", "/v1/account/sessions/{id}", Person),
    ("GET", "/v1/overview", Permission("agent.read")),
    ("GET", "/v1/overview/online", Permission("agent.read")),
    ("GET", "/v1/events", Permission("agent.read")),
    ("GET", "/v1/agent-ca", Permission("agent.read")),
    ("GET", "/v1/tenants", Permission("agent.read")),
    ("GET", "/v1/hosts", Permission("agent.read")),
    ("GET", "/v1/hosts/{id}", Permission("agent.read")),
    ("GET", "/v1/hosts/{id}/enrollments", Permission("agent.read")),
    ("GET", "/v1/hosts/{id}/events", Permission("agent.read")),
    ("PATCH", "/v1/hosts/{id}", Permission("host.write")),
    ("POST", "/v1/hosts/batch", Permission("host.write")),
    ("POST", "/v1/hosts/{id}/decommission", Permission("host.write")),
    ("POST", "/v1/hosts/{id}/re-enable", Permission("host.write")),
    ("DELETE", "/v1/hosts/{id}", Permission("host.write")),
    ("GET", "/v1/agents/enroll-tokens", Permission("agent.write")),
    ("POST", "/v1/agents/enroll-tokens", Permission("agent.write")),
    ("DELETE", "/v1/agents/enroll-tokens/{id}", Permission("agent.write")),
    ("POST", "/v1/agents/{agent_id}/revoke", Permission("agent.write")),
    ("GET", "/v1/enrollment-secrets", Permission("secret.write")),
    ("POST", "/v1/enrollment-secrets", Permission("secret.write")),
    ("POST", "/v1/enrollment-secrets/{id}/revoke", Permission("secret.write")),
    ("GET", "/v1/users", Permission("user.write")),
    ("POST", "/v1/users", Permission("user.write")),
    ("PATCH", "/v1/users/{id}", Permission("user.write")),
    ("GET", "/v1/api-tokens", Permission("token.write")),
    ("POST", "/v1/api-tokens", Permission("token.write")),
    ("DELETE", "/v1/api-tokens/{id}", Permission("token.write")),
    ("GET", "/v1/webhooks", Permission("webhook.write")),
    ("POST", "/v1/webhooks", Permission("webhook.write")),
    ("DELETE", "/v1/webhooks/{id}", Permission("webhook.write")),
    ("POST", "/v1/webhooks/{id}/test", Permission("webhook.write")),
    ("POST", "/v1/tenants", Permission("tenant.write")),
    ("GET", "/v1/audit", Permission("audit.read")),
    ("GET", "/v1/audit/verify", Permission("audit.read")),
    ("POST", "/v1/vouch", Permission("agent.vouch")),
    ("GET", "/v1/forward-auth", Permission("agent.vouch")),
    ("PUT", "/v1/account/password", Person),
    ("DELETE", "/v1/session", SignedIn),
];

/// The columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Nobody,
    Viewer,
    Operator,
    /// A program with everything but what it needs.
    TokenWithout,
    /// The administrator of a tenant that owns nothing in the path.
    ForeignAdmin,
    Admin,
    /// A program with nothing but what it needs.
    TokenWith,
}

/// Those who are mostly refused come first: what they did not change is still there for those who may.
const CALLERS: [Who; 7] = [
    Who::Nobody,
    Who::Viewer,
    Who::Operator,
    Who::TokenWithout,
    Who::ForeignAdmin,
    Who::Admin,
    Who::TokenWith,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// `401 unauthenticated`
    Unauthenticated,
    /// `403 permission_denied`
    Denied,
    /// `404 not_found`
    Invisible,
    /// Neither of the first two.
    Admitted,
    /// The same, of an operation that answers 403 about whom it is asked about.
    Heard,
}

fn expected(who: Who, need: Need, path: &str) -> Cell {
    let permission = match need {
        Nothing => return Cell::Admitted,
        SignedIn if who == Who::Nobody => return Cell::Unauthenticated,
        SignedIn => return Cell::Admitted,
        Person if who == Who::Nobody => return Cell::Unauthenticated,
        Person if [Who::TokenWith, Who::TokenWithout].contains(&who) => return Cell::Denied,
        // What is in the path is somebody else's.
        Person if path.contains('{') => return Cell::Invisible,
        Person => return Cell::Admitted,
        Permission(permission) => permission,
    };
    let may = match who {
        Who::Nobody => return Cell::Unauthenticated,
        Who::Viewer => permission == "agent.read",
        Who::Operator => ["agent.read", "agent.vouch", "agent.write", "audit.read"].contains(&permission),
        Who::TokenWithout => false,
        Who::ForeignAdmin => permission != "tenant.write",
        Who::Admin | Who::TokenWith => true,
    };
    match may {
        false => Cell::Denied,
        true if permission == "agent.vouch" => Cell::Heard,
        true if who == Who::ForeignAdmin && path.contains('{') => Cell::Invisible,
        true => Cell::Admitted,
    }
}

/// The server, its callers, and things for them to reach for.
struct World {
    server: Server,
    admin: Client,
    secret: String,
    user: String,
    with: BTreeMap<&'static str, Client>,
    without: BTreeMap<&'static str, Client>,
    made: u32,
}

impl World {
    async fn new() -> Self {
        let server = Server::quickstart();
        let other = server.tenant("other");
        server.add_user("viewer", "viewer", None);
        server.add_user("operator", "operator", None);
        server.add_user("foreign", "admin", Some(&other));
        let user = server.add_user("victim", "viewer", None);
        let admin = Client::admin(&server).await;
        let (_, secret) = secret(&admin, "", &json!({"name": "fleet"})).await;
        let (mut with, mut without) = (BTreeMap::new(), BTreeMap::new());
        for permission in PERMISSIONS {
            // Nobody makes or changes a person who may do more than they may.
            let beside = if permission == "user.write" { ["agent.read"].as_slice() } else { &[] };
            with.insert(permission, token(&server, &admin, &[&[permission], beside].concat()).await);
            let others: Vec<&str> = PERMISSIONS.into_iter().filter(|other| *other != permission).collect();
            without.insert(permission, token(&server, &admin, &others).await);
        }
        Self { server, admin, secret, user, with, without, made: 0 }
    }

    /// Everybody with a session of their own.
    async fn people(&self) -> BTreeMap<Who, Client> {
        let sign_in = async |name| Client::sign_in(&self.server, name, PASSWORD).await;
        BTreeMap::from([
            (Who::Nobody, Client::nobody(&self.server)),
            (Who::Viewer, sign_in("viewer").await),
            (Who::Operator, sign_in("operator").await),
            (Who::ForeignAdmin, sign_in("foreign@other").await),
            (Who::Admin, Client::admin(&self.server).await),
        ])
    }

    /// Who asks, in one cell of the table.
    fn caller<'a>(&'a self, people: &'a BTreeMap<Who, Client>, who: Who, need: Need) -> &'a Client {
        let permission = match need {
            Permission(permission) => permission,
            Nothing | SignedIn | Person => "agent.read",
        };
        match who {
            Who::TokenWith => &self.with[permission],
            Who::TokenWithout => &self.without[permission],
            person => &people[&person],
        }
    }

    /// The path with the id of something fresh in the default tenant.
    async fn path(&self, template: &str) -> String {
        let Some((kind, _)) = template.split_once('{') else { return template.to_owned() };
        let id = match kind {
            "/v1/hosts/" => host_by_secret(&self.admin, &self.secret).await.host_id(),
            "/v1/agents/" => host_by_secret(&self.admin, &self.secret).await.agent_id(),
            "/v1/agents/enroll-tokens/" => {
                text(&self.admin.post("/v1/agents/enroll-tokens", &json!({})).await.expect(201), "id")
            }
            "/v1/enrollment-secrets/" => secret(&self.admin, "", &json!({"name": "victim"})).await.0,
            "/v1/users/" => self.user.clone(),
            "/install/" => {
                let place = self.server.file("install/plan9-mips");
                std::fs::create_dir_all(&place).unwrap();
                std::fs::write(place.join("muster"), "a program").unwrap();
                "plan9-mips".to_owned()
            }
            "/v1/account/sessions/" => {
                let victim = Client::sign_in(&self.server, "victim", PASSWORD).await;
                text(&victim.items("/v1/account/sessions").await[0], "id")
            }
            "/v1/api-tokens/" => {
                let body = json!({"name": "victim", "permissions": ["agent.read"]});
                text(&self.admin.post("/v1/api-tokens", &body).await.expect(201), "id")
            }
            "/v1/webhooks/" => {
                let body = json!({"url": "https://127.0.0.1:9/"});
                text(&self.admin.post("/v1/webhooks", &body).await.expect(201), "id")
            }
            "/agent-ca/crl/" => "0000.crl".to_owned(),
            other => panic!("`World::path` makes nothing yet for what stands at {other}"),
        };
        template
            .replace("{id}", &id)
            .replace("{agent_id}", &id)
            .replace("{platform}", &id)
            .replace("{file}", &id)
    }

    /// A body that the operation takes.
    fn body(&mut self, who: Who, method: &str, path: &str) -> Option<Value> {
        self.made += 1;
        let name = format!("made-{}", self.made);
        Some(match (method, path) {
            // What these make of an empty body is enough to see that anybody is heard.
            ("POST", "/enroll/agent" | "/enroll/agent/rotate" | "/v1/session") => json!({}),
            ("PUT", "/v1/account/password") => {
                let current = self.server.hello.admin_password.as_deref().filter(|_| who == Who::Admin);
                json!({"current": current.unwrap_or(PASSWORD), "new": "another fine long password"})
            }
            ("PUT", "/v1/session/preferences") => json!({"time_zone": "utc", "clock": "24h"}),
            ("POST", "/v1/agents/enroll-tokens") => json!({"name": name}),
            ("POST", "/v1/enrollment-secrets" | "/v1/tenants") => json!({"name": name}),
            ("POST", "/v1/webhooks") => json!({"url": "https://192.0.2.1/"}),
            ("POST", "/v1/vouch") => json!({"certificate": "none"}),
            ("POST", "/v1/users") => json!({"username": name, "password": PASSWORD, "role": "viewer"}),
            ("PATCH", "/v1/hosts/{id}") => json!({"note": name}),
            ("POST", "/v1/hosts/batch") => json!({"action": "re_enable", "ids": []}),
            ("PATCH", "/v1/users/{id}") => json!({"disabled": false}),
            // Nobody's token may do more than its maker.
            ("POST", "/v1/api-tokens") => json!({"name": name, "permissions": ["token.write"]}),
            _ => return None,
        })
    }
}

async fn token(server: &Server, admin: &Client, permissions: &[&str]) -> Client {
    let body = json!({"name": "table", "permissions": permissions});
    Client::bearer(server, &text(&admin.post("/v1/api-tokens", &body).await.expect(201), "token"))
}

async fn document(client: &Client) -> Value {
    client.get("/openapi.json").await.expect(200)
}

/// The statuses of success that the document names.
fn successes(document: &Value, method: &str, path: &str) -> Vec<String> {
    let responses = &document["paths"][path][method.to_lowercase()]["responses"];
    let statuses = responses.as_object().unwrap_or_else(|| panic!("{method} {path}")).keys();
    statuses.filter(|status| status.starts_with('2')).cloned().collect()
}

#[track_caller]
fn check(cell: Cell, answer: &Answer, case: &str) {
    match cell {
        Cell::Unauthenticated => drop(answer.refused(401, "unauthenticated")),
        Cell::Denied => drop(answer.refused(403, "permission_denied")),
        Cell::Invisible => drop(answer.refused(404, "not_found")),
        Cell::Admitted => assert!(![401, 403].contains(&answer.status), "{case}: {answer}"),
        Cell::Heard => {
            let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
            assert!(["bad_request", "bad_chain"].contains(&&*code), "{case}: {answer}");
        }
    }
}

/// Every cell of the table, with what the API lives under put in the place of `/v1`.
async fn try_everything(prefix: &str) {
    let mut world = World::new().await;
    let people = world.people().await;
    let document = document(&world.admin).await;
    for &(method, template, need) in TABLE {
        let mut path = world.path(template).await;
        for who in CALLERS {
            let body = world.body(who, method, template);
            let caller = world.caller(&people, who, need);
            let address = path.replacen("/v1", prefix, 1);
            let answer = caller.send(method, &address, body.as_ref()).await;
            let (cell, case) = (expected(who, need, template), format!("{who:?}: {method} {template}"));
            check(cell, &answer, &case);
            if cell == Cell::Admitted && need != Nothing {
                let successes = successes(&document, method, template);
                assert!(successes.contains(&answer.status.to_string()), "{case}: {answer}");
                path = world.path(template).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_admits_whom_the_table_names_and_nobody_else() {
    try_everything("/v1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_prefix_admits_the_same() {
    try_everything("/api/v1").await;
}

/// Who may use an operation, as the document says, which says what the handler's signature does.
fn documented(operation: &Value) -> Need {
    match operation["security"].as_array().map(Vec::as_slice) {
        Some([]) => return Nothing,
        Some(_) => return Person,
        None => {}
    }
    let Some(text) = operation["description"].as_str() else { return SignedIn };
    let named =
        PERMISSIONS.into_iter().find(|permission| text.contains(&format!("permission `{permission}`")));
    Permission(named.unwrap_or_else(|| panic!("no permission is named: {text}")))
}

/// The table is a second statement on purpose: read from the document, it would follow a handler that lost its
/// permission.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_the_table_s_operations_and_names_the_same_needs() {
    let server = Server::quickstart();
    let document = document(&Client::nobody(&server)).await;
    let mut documented_needs = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            documented_needs.insert((method.to_uppercase(), path.clone()), documented(operation));
        }
    }
    let mut table: BTreeMap<_, _> =
        TABLE.iter().map(|&(method, path, need)| ((method.to_owned(), path.to_owned()), need)).collect();
    documented_needs.retain(|operation, need| match table.get(operation) == Some(need) {
        true => table.remove(operation).is_none(),
        false => true,
    });
    assert!(
        documented_needs.is_empty() && table.is_empty(),
        "the document has {documented_needs:?}, where TABLE of tests/muster/authorization.rs has {table:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_s_malformed_body_is_looked_at() {
    let server = Server::quickstart();
    server.add_user("viewer", "viewer", None);
    let viewer = Client::sign_in(&server, "viewer", PASSWORD).await;
    let nobody = Client::nobody(&server);
    let large = "[".repeat(100_000);
    let bodies = [("application/json", "{"), ("text/plain", "a=b"), ("application/json", &large)];
    for &(method, template, need) in TABLE {
        if method == "GET" || need == Nothing {
            continue;
        }
        let path = template.replace("{id}", "x").replace("{agent_id}", "x");
        for prefix in ["/v1", "/api/v1"] {
            let path = path.replacen("/v1", prefix, 1) + "?unknown=parameter";
            for (kind, body) in bodies {
                nobody.send_text(method, &path, kind, body).await.refused(401, "unauthenticated");
                if matches!(need, Permission(_)) {
                    viewer.send_text(method, &path, kind, body).await.refused(403, "permission_denied");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_address_is_a_way_around() {
    let world = World::new().await;
    let nobody = Client::nobody(&world.server);
    for &(method, template, need) in TABLE {
        let Permission(permission) = need else { continue };
        let path = world.path(template).await;
        let spellings = [
            format!("{path}/"),
            format!("/{path}"),
            path.replace("/v1/", "/v1//"),
            path.replace("/v1", "/V1"),
            path.replace("/v1", "/API/V1"),
            path.replacen("/v1/", "/v1%2f", 1),
            path.replacen("/v1/", "/%76%31/", 1),
            format!("{path};x"),
            format!("{path}%00"),
            path.replace("/v1/", "/v1/./"),
            path.replace("/v1/", "/healthz/../v1/"),
        ];
        for spelling in spellings {
            for caller in [&nobody, &world.without[permission]] {
                let answer = caller.send(method, &spelling, None).await;
                assert!([401, 403, 404, 405].contains(&answer.status), "{spelling}: {answer}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_of_an_address_are_refused() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mut paths: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for &(method, path, _) in TABLE {
        paths.entry(path).or_default().insert(method);
    }
    for (template, methods) in paths {
        let path = template.replace("{id}", "x").replace("{agent_id}", "x");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"] {
            if !methods.contains(method) {
                admin.send(method, &path, None).await.refused(405, "method_not_allowed");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_for_this_machine_and_for_programs() {
    let server = Server::quickstart();
    let program = Client::bearer(&server, &server.api_token(&["agent.read"], None));
    let person = Client::admin(&server).await;
    let nobody = Client::nobody(&server);
    for (caller, through_a_proxy) in [(nobody, 403), (person, 403), (program, 200)] {
        assert_eq!(caller.get("/metrics").await.status, 200);
        let passed_on = caller.with("x-forwarded-for", "127.0.0.1").get("/metrics").await;
        assert_eq!(passed_on.status, through_a_proxy, "{passed_on}");
    }
}
