//! Walls between tenants: what is on the other side can't be seen, counted, named or touched.

use serde_json::{Value, json};

use crate::support::client::{Client, PASSWORD};
use crate::support::fleet::{host_by_secret, named_host, secret};
use crate::support::http::Answer;
use crate::support::identity::Identity;
use crate::support::server::{Server, text};

const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";

/// Two tenants with an administrator each, and one who sees both.
struct Neighbours {
    server: Server,
    global: Client,
    ours: Client,
    our_tenant: String,
    their_tenant: String,
}

/// One of everything, on the other side of the wall.
struct Theirs {
    host: Identity,
    token: String,
    secret: String,
    user: String,
    api_token: String,
}

impl Neighbours {
    async fn new() -> Self {
        let server = Server::quickstart();
        let [our_tenant, their_tenant] = [server.tenant("ours"), server.tenant("theirs")];
        server.add_user("ours", "admin", Some(&our_tenant));
        let global = Client::admin(&server).await;
        let ours = Client::sign_in(&server, "ours@ours", PASSWORD).await;
        Self { server, global, ours, our_tenant, their_tenant }
    }

    async fn theirs(&self) -> Theirs {
        let query = format!("?tenant={}", self.their_tenant);
        let global = &self.global;
        let minted = global.post(&format!("/v1/agents/enroll-tokens{query}"), &json!({})).await.expect(201);
        let body = json!({"name": "theirs", "permissions": ["agent.read"]});
        let api_token = global.post(&format!("/v1/api-tokens{query}"), &body).await.expect(201);
        Theirs {
            host: named_host(global, &query, "web-1").await,
            token: text(&minted, "id"),
            secret: secret(global, &query, &json!({"name": "theirs"})).await.0,
            user: self.server.add_user("theirs", "admin", Some(&self.their_tenant)),
            api_token: text(&api_token, "id"),
        }
    }
}

/// An id of the same form that nothing has.
fn unlike(id: &str) -> String {
    let (head, tail) = id.split_at(id.len() - 4);
    let other = if tail.starts_with('2') { "3" } else { "2" };
    format!("{head}{other}{}", &tail[1..])
}

#[track_caller]
fn assert_alike(one: &Answer, other: &Answer, case: &str) {
    let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((one.status, other.status), (404, 404), "{case}: {one}");
    assert_eq!((one.said(), names(one)), (other.said(), names(other)), "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn their_ids_are_answered_like_ids_of_nothing() {
    let world = Neighbours::new().await;
    let theirs = world.theirs().await;
    let host = theirs.host.host_id();
    let permissions =
        ["agent.read", "agent.write", "host.write", "secret.write", "user.write", "token.write"];
    let body = json!({"name": "ours", "permissions": permissions});
    let token = text(&world.ours.post("/v1/api-tokens", &body).await.expect(201), "token");
    let program = Client::bearer(&world.server, &token);
    let requests = [
        ("GET", "/v1/hosts/{}", &host),
        ("GET", "/v1/hosts/{}/enrollments", &host),
        ("GET", "/v1/hosts/{}/events", &host),
        ("POST", "/v1/hosts/{}/decommission", &host),
        ("POST", "/v1/hosts/{}/re-enable", &host),
        ("DELETE", "/v1/hosts/{}", &host),
        ("DELETE", "/v1/agents/enroll-tokens/{}", &theirs.token),
        ("POST", "/v1/enrollment-secrets/{}/revoke", &theirs.secret),
        ("PATCH", "/v1/users/{}", &theirs.user),
        ("DELETE", "/v1/api-tokens/{}", &theirs.api_token),
    ];
    for caller in [&world.ours, &program] {
        for (method, template, id) in requests {
            let body = (method == "PATCH").then(|| json!({"disabled": true}));
            let asked = caller.send(method, &template.replace("{}", id), body.as_ref()).await;
            let unknown = caller.send(method, &template.replace("{}", &unlike(id)), body.as_ref()).await;
            assert_alike(&asked, &unknown, &format!("{method} {template}"));
        }
        let revoked = caller.act("/v1/agents/web-1/revoke").await;
        assert_eq!(revoked.status, 404, "{revoked}");
    }

    theirs.host.peer(&world.server).reports().await.unwrap();
    let query = format!("?tenant={}", world.their_tenant);
    let secrets = world.global.items(&format!("/v1/enrollment-secrets{query}&state=active")).await;
    assert_eq!(secrets.len(), 1);
    let tokens = world.global.items(&format!("/v1/agents/enroll-tokens{query}")).await;
    assert!(tokens.iter().any(|t| t["id"] == theirs.token && t["state"] == "open"), "{tokens:?}");
    Client::sign_in(&world.server, "theirs@theirs", PASSWORD).await;
    assert_eq!(world.global.items(&format!("/v1/api-tokens{query}")).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_counts_and_records_stop_at_the_wall() {
    let world = Neighbours::new().await;
    let lists = [
        "/v1/hosts",
        "/v1/hosts?q=web",
        "/v1/hosts?decommissioned=true",
        "/v1/agents/enroll-tokens",
        "/v1/enrollment-secrets",
        "/v1/users",
        "/v1/api-tokens",
        "/v1/tenants",
        "/v1/overview",
    ];
    let mut before = Vec::new();
    for list in lists {
        before.push(world.ours.get(list).await.expect(200));
    }
    let theirs = world.theirs().await;
    theirs.host.peer(&world.server).reports().await.unwrap();
    let gone = named_host(&world.global, &format!("?tenant={}", world.their_tenant), "web-2").await;
    let path = format!("/v1/hosts/{}/decommission?tenant={}", gone.host_id(), world.their_tenant);
    world.global.act(&path).await.expect(200);
    for (list, before) in lists.into_iter().zip(before) {
        let mut after = world.ours.get(list).await.expect(200);
        if list == "/v1/overview" {
            assert_eq!(after["hosts_total"], 0, "{after}");
            after["server_certificate"] = before["server_certificate"].clone();
        }
        assert_eq!(after, before, "{list}");
    }
    // A place in their list is no way into ours.
    let cursor = format!("/v1/hosts?cursor={}", theirs.host.host_id());
    assert!(world.ours.items(&cursor).await.is_empty());

    world.ours.post("/v1/enrollment-secrets", &json!({"name": "ours"})).await.expect(201);
    let records = world.ours.items("/v1/audit?limit=500").await;
    assert!(!records.is_empty());
    for record in &records {
        assert_eq!(record["tenant_id"], json!(world.our_tenant), "{record}");
    }
    let chain = world.ours.get("/v1/audit/verify").await.expect(200);
    assert_eq!((&chain["intact"], &chain["records"]), (&json!(true), &json!(records.len())));
    assert!(world.ours.items(&format!("/v1/audit?q={}", theirs.host.host_id())).await.is_empty());
    let theirs_seen = world.global.items(&format!("/v1/audit?tenant={}&limit=500", world.their_tenant)).await;
    assert!(theirs_seen.iter().all(|record| record["tenant_id"] == json!(world.their_tenant)));
    assert!(theirs_seen.iter().any(|record| record["action"] == "agent.enroll"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_steps_over_the_wall_by_asking_for_a_tenant() {
    let world = Neighbours::new().await;
    let theirs = world.theirs().await;
    let reads = [
        "hosts",
        "agents/enroll-tokens",
        "enrollment-secrets",
        "users",
        "api-tokens",
        "overview",
        "audit",
        "events",
    ];
    for read in reads {
        let asked = world.ours.get(&format!("/v1/{read}?tenant={}", world.their_tenant)).await;
        let unknown = world.ours.get(&format!("/v1/{read}?tenant={UNKNOWN}")).await;
        assert_alike(&asked, &unknown, read);
        let by_name = world.ours.get(&format!("/v1/{read}?tenant=theirs")).await;
        assert_alike(&by_name, &unknown, read);
        world.ours.get(&format!("/v1/{read}?tenant=garbage")).await.refused(404, "not_found");
        for own in [world.our_tenant.as_str(), "ours"] {
            assert_eq!(world.ours.get(&format!("/v1/{read}?tenant={own}")).await.status, 200);
        }
    }
    let query = format!("?tenant={}", world.their_tenant);
    let host = theirs.host.host_id();
    let name = json!({"name": "x"});
    world.ours.post(&format!("/v1/agents/enroll-tokens{query}"), &name).await.refused(404, "not_found");
    world.ours.post(&format!("/v1/enrollment-secrets{query}"), &name).await.refused(404, "not_found");
    let wish = json!({"name": "x", "permissions": ["agent.read"]});
    world.ours.post(&format!("/v1/api-tokens{query}"), &wish).await.refused(404, "not_found");
    world.ours.act(&format!("/v1/hosts/{host}/decommission{query}")).await.refused(404, "not_found");
    world.ours.delete(&format!("/v1/hosts/{host}{query}")).await.refused(404, "not_found");
    world.ours.act(&format!("/v1/agents/web-1/revoke{query}")).await.refused(404, "not_found");
    let person =
        json!({"username": "spy", "password": PASSWORD, "role": "admin", "tenant_id": world.their_tenant});
    world.ours.post("/v1/users", &person).await.refused(404, "not_found");
    let by_name = json!({"username": "spy", "password": PASSWORD, "role": "admin", "tenant_id": "theirs"});
    world.ours.post("/v1/users", &by_name).await.refused(404, "not_found");
    theirs.host.peer(&world.server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_s_administrator_stays_within_it() {
    let world = Neighbours::new().await;
    world.ours.post("/v1/tenants", &json!({"name": "more"})).await.refused(403, "permission_denied");
    let more = json!({"name": "more", "permissions": ["tenant.write"]});
    world.ours.post("/v1/api-tokens", &more).await.refused(403, "permission_denied");
    let query = format!("?tenant={}", world.our_tenant);
    let confined = json!({"name": "more", "permissions": ["tenant.write"]});
    world.global.post(&format!("/v1/api-tokens{query}"), &confined).await.refused(403, "permission_denied");

    let tenants = world.ours.items("/v1/tenants").await;
    assert_eq!(tenants.iter().map(|t| text(t, "id")).collect::<Vec<_>>(), [world.our_tenant.as_str()]);
    let person = json!({"username": "helper", "password": PASSWORD, "role": "admin"});
    let made = world.ours.post("/v1/users", &person).await.expect(201);
    assert_eq!(made["tenant_id"], json!(world.our_tenant), "never all tenants");
    let helper = Client::sign_in(&world.server, "helper@ours", PASSWORD).await;
    helper.post("/v1/tenants", &json!({"name": "more"})).await.refused(403, "permission_denied");
    let session = helper.get("/v1/session").await.expect(200);
    assert!(!session["permissions"].as_array().unwrap().contains(&json!("tenant.write")), "{session}");
    let users: Vec<_> = world.ours.items("/v1/users").await.iter().map(|u| text(u, "username")).collect();
    assert_eq!(users, ["ours@ours", "helper@ours"]);
    assert_eq!(world.global.items("/v1/tenants").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_all_tenants_chooses_one() {
    let world = Neighbours::new().await;
    let query = format!("?tenant={}", world.our_tenant);
    let here = named_host(&world.global, "", "web-1").await;
    let there = named_host(&world.global, &query, "web-1").await;
    assert_ne!(here.host_id(), there.host_id(), "a name belongs to its tenant");
    assert_eq!(there.field("tenant_id"), world.our_tenant);
    assert!(there.field("spiffe_id").contains(&world.our_tenant));
    let listed = |hosts: Vec<Value>| hosts.iter().map(|host| text(host, "id")).collect::<Vec<_>>();
    assert_eq!(listed(world.global.items("/v1/hosts").await), [here.host_id()]);
    assert_eq!(listed(world.global.items(&format!("/v1/hosts{query}")).await), [there.host_id()]);
    assert_eq!(listed(world.ours.items("/v1/hosts").await), [there.host_id()]);
    let path = format!("/v1/hosts/{}", there.host_id());
    world.global.get(&path).await.refused(404, "not_found");
    world.global.get(&format!("{path}{query}")).await.expect(200);
    world.global.get(&format!("/v1/hosts?tenant={UNKNOWN}")).await.refused(404, "not_found");

    // A revocation of one name leaves its namesake alone.
    world.ours.act("/v1/agents/web-1/revoke").await.expect(200);
    there.peer(&world.server).assert_refused().await;
    here.peer(&world.server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_admits_into_its_own_tenant() {
    let world = Neighbours::new().await;
    let (_, ours) = secret(&world.ours, "", &json!({"name": "fleet"})).await;
    let host = host_by_secret(&world.global, &ours).await;
    assert_eq!(host.field("tenant_id"), world.our_tenant);
    assert_eq!(world.ours.items("/v1/hosts").await.len(), 1);
    assert!(world.global.items("/v1/hosts").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_names_of_their_own() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let tenants = admin.items("/v1/tenants").await;
    assert_eq!(tenants.len(), 1);
    assert_eq!((&tenants[0]["id"], &tenants[0]["name"]), (&json!(server.hello.tenant_id), &json!("default")));
    admin.post("/v1/tenants", &json!({"name": "other"})).await.expect(201);
    for taken in ["default", "other"] {
        admin.post("/v1/tenants", &json!({"name": taken})).await.refused(409, "tenant_taken");
    }
    for bad in ["", "  ", "a\u{7}b", "a\r\nb", &"n".repeat(129), &"n".repeat(10_240)] {
        admin.post("/v1/tenants", &json!({"name": bad})).await.refused(422, "invalid_name");
    }
    for bad in [json!({}), json!({"name": 1}), json!({"name": null}), json!({"name": "x", "id": UNKNOWN})] {
        admin.post("/v1/tenants", &bad).await.refused(400, "bad_request");
    }
    assert_eq!(admin.items("/v1/tenants").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_one_tenant_say_nothing_of_another_s() {
    let world = Neighbours::new().await;
    world.server.add_user("theirs", "admin", Some("theirs"));
    let theirs = Client::sign_in(&world.server, "theirs@theirs", PASSWORD).await;
    let named = |name: &str| json!({"username": name, "password": PASSWORD, "role": "viewer"});
    for (admin, tenant) in [(&world.ours, "ours"), (&theirs, "theirs")] {
        for name in ["olga", "otto@example.org"] {
            let made = admin.post("/v1/users", &named(name)).await.expect(201);
            assert_eq!(made["username"], format!("{name}@{tenant}"));
            admin.post("/v1/users", &named(name)).await.refused(409, "username_taken");
            admin.post("/v1/users", &named(&format!("{name}@{tenant}"))).await.refused(409, "username_taken");
            Client::sign_in(&world.server, &format!("{name}@{tenant}"), PASSWORD).await;
        }
    }
    // Somebody of no tenant may have such a name, from before or by choice.
    world.global.post("/v1/users", &named("anna@ours")).await.expect(201);
    let made = text(&world.ours.post("/v1/users", &named("anna")).await.expect(201), "username");
    assert!(made.starts_with("anna@ours@"), "{made}");
    Client::sign_in(&world.server, &made, PASSWORD).await;
    // Names that differ in case alone, and names that can't stand in a user name, are kept apart.
    for tenant in ["Ours", "Our friends & co"] {
        let id = world.server.tenant(tenant);
        let body = json!({"username": "olga", "password": PASSWORD, "role": "viewer", "tenant_id": tenant});
        let made = world.global.post("/v1/users", &body).await.expect(201);
        let name = text(&made, "username");
        assert!(name.ends_with(&id[id.len() - 8..]), "{name}");
        assert_eq!(made["tenant_id"], json!(id));
        Client::sign_in(&world.server, &name, PASSWORD).await;
    }
    // The default tenant's people have names as they are, unless they look like another tenant's.
    for (name, expected) in
        [("olga", "olga"), ("otto@example.com", "otto@example.com"), ("olga@ours", "olga@ours@default")]
    {
        let mut body = named(name);
        body["tenant_id"] = json!("default");
        let made = world.global.post("/v1/users", &body).await.expect(201);
        assert_eq!(made["username"], expected);
    }
    let said = world
        .server
        .cli(&["user", "add", "emil", "--role", "viewer", "--tenant", "ours"])
        .stdin(PASSWORD)
        .run()
        .ok();
    assert!(said.stdout.contains("emil@ours") && said.stderr.contains("'@ours'"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_take_a_tenant_by_its_name() {
    let server = Server::quickstart();
    let id = server.tenant("Some name");
    let named = ["--tenant", "Some name", "--json"];
    let done = |args: &[&str]| server.cli(&[args, &named].concat()).run().json();
    assert_eq!(done(&["enroll-token"])["tenant_id"], json!(id));
    let secret = done(&["secret", "create", "--name", "fleet"]);
    done(&["secret", "revoke", &text(&secret, "id")]);
    let token = done(&["api-token", "create", "--name", "t", "--permission", "agent.read"]);
    assert_eq!(token["tenant_id"], json!(id));
    for list in [["host", "list"], ["secret", "list"], ["enroll-token", "list"], ["audit", "list"]] {
        assert!(done(&list)["items"].is_array());
    }
    for unknown in ["some name", "Some other", ""] {
        server.cli(&["host", "list", "--tenant", unknown]).run().failed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_tenants_has_pages() {
    let world = Neighbours::new().await;
    let first = world.global.get("/v1/tenants?limit=2").await.expect(200);
    let cursor = text(&first, "next_cursor");
    let second = world.global.get(&format!("/v1/tenants?limit=500&cursor={cursor}")).await.expect(200);
    assert_eq!(second["next_cursor"], Value::Null);
    let names =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|t| text(t, "name")).collect::<Vec<_>>();
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["default".to_owned(), "ours".to_owned()], vec!["theirs".to_owned()])
    );
    world.global.get("/v1/tenants?limit=501").await.refused(400, "bad_request");
    assert_eq!(world.server.cli(&["tenant", "list", "--json"]).run().items().len(), 3);
}
