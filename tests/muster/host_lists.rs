//! Lists of hosts: every filter finds what it names and nothing else, and every order keeps its pages together.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::fleet::{host_by_secret, host_with_facts, named_host, secret};
use crate::support::identity::Identity;
use crate::support::server::{Server, text};

fn ids(hosts: &[Value]) -> Vec<String> {
    hosts.iter().map(|host| text(host, "id")).collect()
}

/// The ids of all pages, in their order.
async fn listed(client: &Client, query: &str, limit: usize) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/hosts?limit={limit}&{query}{cursor}")).await.expect(200);
        seen.extend(ids(page["items"].as_array().unwrap()));
        let Some(next) = page["next_cursor"].as_str() else { return seen };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_the_first_that_fits() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mut hosts = Vec::new();
    for name in ["decommissioned", "revoked", "never_reported", "in_service"] {
        hosts.push(named_host(&admin, "", name).await);
    }
    for index in [0, 1, 3] {
        hosts[index].peer(&server).reports().await.unwrap();
    }
    admin.act("/v1/agents/decommissioned/revoke").await.expect(200);
    admin.act("/v1/agents/revoked/revoke").await.expect(200);
    let answer = admin.act(&format!("/v1/hosts/{}/decommission", hosts[0].host_id())).await.expect(200);
    assert_eq!((&answer["state"], answer["revoked_at"].is_string()), (&json!("decommissioned"), true));
    for identity in &hosts {
        let state = identity.agent_id();
        let host = admin.get(&format!("/v1/hosts/{}", identity.host_id())).await.expect(200);
        assert_eq!(text(&host, "state"), state);
        let out = state == "decommissioned" || state == "revoked";
        assert_eq!(host["revoked_at"].is_string(), out, "{host}");
        assert_eq!(host["decommissioned_at"].is_string(), state == "decommissioned", "{host}");
        let found = admin.items(&format!("/v1/hosts?state={state}")).await;
        assert_eq!(ids(&found), [identity.host_id()], "{state}");
    }
    let in_service: Vec<_> = hosts[1..].iter().rev().map(|identity| identity.host_id()).collect();
    assert_eq!(ids(&admin.items("/v1/hosts").await), in_service);
    assert_eq!(ids(&admin.items("/v1/hosts?decommissioned=true").await), [hosts[0].host_id()]);
    assert!(admin.items("/v1/hosts?decommissioned=true&state=revoked").await.is_empty());

    let list = server.cli(&["host", "list", "--state", "revoked"]).run().ok().stdout;
    assert!(list.contains("revoked") && !list.contains("offline"), "{list}");
    let shown = server.cli(&["host", "show", &hosts[1].host_id()]).run().ok().stdout;
    let (agent, tenant) = (hosts[1].agent_id(), hosts[1].field("tenant_id"));
    for name in [
        format!("CN={agent}, OU={tenant}, O=muster"),
        format!("O=muster,OU={tenant},CN={agent}"),
        format!("/CN={agent}/OU={tenant}/O=muster"),
    ] {
        assert!(shown.contains(&name), "{shown}");
    }
    assert!(shown.contains("Revoked"), "{shown}");
    let list = server.cli(&["host", "list"]).run().ok().stdout;
    assert!(list.contains("not reporting yet"), "{list}");
    // Lists of names are for doors: nobody who is out is on them.
    let let_in: Vec<_> = hosts[2..].iter().rev().collect();
    let names: String = let_in.iter().map(|host| host.field("spiffe_id") + "\n").collect();
    assert_eq!(server.cli(&["host", "list", "-o", "spiffe"]).run().ok().stdout, names);
    let dn = |host: &&Identity| format!("O=muster,OU={tenant},CN={}\n", host.agent_id());
    let names: String = let_in.iter().map(dn).collect();
    assert_eq!(server.cli(&["host", "list", "-o", "dn"]).run().ok().stdout, names);
    let both = server.cli(&["host", "list", "-o", "dn", "--json"]).run();
    assert_eq!(both.code, Some(2), "{both}");

    admin.act(&format!("/v1/hosts/{}/re-enable", hosts[1].host_id())).await.expect(200);
    let host = admin.get(&format!("/v1/hosts/{}", hosts[1].host_id())).await.expect(200);
    assert_eq!((&host["state"], &host["revoked_at"]), (&json!("in_service"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_name_finds_a_decommissioned_host() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let gone = host_with_facts(&admin, &json!({"hostname": "Web-1", "os": "Debian 12"})).await;
    let named = named_host(&admin, "", "agent.7").await;
    let stays = host_with_facts(&admin, &json!({"hostname": "web-10", "os": "Debian 12"})).await;
    for identity in [&gone, &named] {
        admin.act(&format!("/v1/hosts/{}/decommission", identity.host_id())).await.expect(200);
    }
    let cases = [
        ("web-1".to_owned(), vec![&stays, &gone]),
        (gone.host_id(), vec![&gone]),
        (gone.host_id().to_uppercase(), vec![&gone]),
        ("agent.7".to_owned(), vec![&named]),
        ("web-".to_owned(), vec![&stays]),
        ("debian".to_owned(), vec![&stays]),
        ("agent.".to_owned(), vec![]),
    ];
    for (q, expected) in cases {
        let found = ids(&admin.items(&format!("/v1/hosts?q={q}")).await);
        let expected: Vec<_> = expected.into_iter().map(|identity| identity.host_id()).collect();
        assert_eq!(found, expected, "{q}");
    }
    assert!(admin.items("/v1/hosts?q=web-1&state=in_service").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_found_by_what_let_them_in_and_by_what_they_are() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (secret_id, secret) = secret(&admin, "", &json!({"name": "rack 7"})).await;
    let by_secret = host_by_secret(&admin, &secret).await;
    let facts = |version: &str, os: &str, machine: &str| json!({"hostname": "web", "os": os, "agent_version": version, "machine_id": machine.repeat(32)});
    let old = host_with_facts(&admin, &facts("0.1.0", "Debian 12", "a")).await;
    let new = host_with_facts(&admin, &facts("0.2.0-dev", "Fedora 42", "b")).await;
    let twin = host_with_facts(&admin, &facts("0.10.0", "Debian 13", "a")).await;
    let found = async |query: &str| ids(&admin.items(&format!("/v1/hosts?{query}")).await);
    assert_eq!(found(&format!("secret={secret_id}")).await, [by_secret.host_id()]);
    assert_eq!(found("os=DEBIAN").await, [twin.host_id(), old.host_id()]);
    assert_eq!(found("version=0.2.0").await, [new.host_id()]);
    assert_eq!(found("version=%3C0.2.0").await, [old.host_id(), by_secret.host_id()], "no version is older");
    assert_eq!(found("flag=possible_duplicate").await, [twin.host_id(), old.host_id()]);
    assert!(found("flag=possible_clone").await.is_empty());
    assert_eq!(found("silent_for=24h").await, Vec::<String>::new());
    assert_eq!(found("silent_for=0s").await.len(), 4);

    let host = admin.get(&format!("/v1/hosts/{}", by_secret.host_id())).await.expect(200);
    let credential = json!({"kind": "secret", "id": secret_id, "name": "rack 7", "state": "active"});
    assert_eq!(host["credential"], credential);
    admin.act(&format!("/v1/enrollment-secrets/{secret_id}/revoke")).await.expect(200);
    let answer = admin.act(&format!("/v1/hosts/{}/decommission", by_secret.host_id())).await.expect(200);
    assert_eq!(answer["credential"]["state"], "revoked");
    let host = admin.get(&format!("/v1/hosts/{}", old.host_id())).await.expect(200);
    assert_eq!(
        (&host["credential"]["kind"], &host["credential"]["state"]),
        (&json!("token"), &json!("used"))
    );
    // What it came back with is what let it in.
    let rotated = old.rotate(&admin.http).await;
    let host = admin.get(&format!("/v1/hosts/{}", rotated.host_id())).await.expect(200);
    assert_eq!(host["credential"]["kind"], "token");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_holds_every_host_once_whatever_the_page() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mut hosts = Vec::new();
    for name in ["b", "A", "c", "a"] {
        hosts.push(host_with_facts(&admin, &json!({ "hostname": name })).await);
    }
    let assert_order = async |sort: &str, order: [usize; 4]| {
        let order = order.map(|index| hosts[index].host_id());
        let backwards: Vec<_> = order.iter().rev().cloned().collect();
        for limit in [1, 2, 3, 500] {
            assert_eq!(listed(&admin, &format!("sort={sort}"), limit).await, order, "{sort}");
            assert_eq!(listed(&admin, &format!("sort=-{sort}"), limit).await, backwards, "-{sort}");
        }
    };
    assert_order("enrolled", [3, 2, 1, 0]).await;
    assert_order("expires", [0, 1, 2, 3]).await;
    assert_order("hostname", [1, 3, 0, 2]).await;
    // A cursor stays good when its host has gone.
    let page = admin.get("/v1/hosts?sort=hostname&limit=2").await.expect(200);
    let cursor = text(&page, "next_cursor");
    assert_eq!(admin.delete(&format!("/v1/hosts/{}", hosts[3].host_id())).await.status, 204);
    let rest = admin.items(&format!("/v1/hosts?sort=hostname&cursor={cursor}")).await;
    assert_eq!(ids(&rest), [hosts[0].host_id(), hosts[2].host_id()]);
    admin.get(&format!("/v1/hosts?sort=expires&cursor={cursor}")).await.refused(400, "bad_request");
    let table = server.cli(&["host", "list", "--sort", "-hostname", "--json"]).run().items();
    assert_eq!(ids(&table), [2, 0, 1].map(|index| hosts[index].host_id()));
    // Reports bring facts of their own. Host 1 has never reported.
    for index in [2, 0] {
        hosts[index].peer(&server).reports().await.unwrap();
    }
    let order = [0, 2, 1].map(|index| hosts[index].host_id());
    assert_eq!(listed(&admin, "sort=last_seen", 1).await, order);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_a_revoked_identity_comes_with_a_warning() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    named_host(&admin, "", "web-1").await;
    let mint =
        async || admin.post("/v1/agents/enroll-tokens", &json!({"agent_id": "web-1"})).await.expect(201);
    assert_eq!(mint().await["warning"], Value::Null);
    admin.act("/v1/agents/web-1/revoke").await.expect(200);
    let minted = mint().await;
    assert_eq!(minted["warning"]["code"], "identity_revoked");
    assert!(text(&minted["warning"], "message").contains("web-1"), "{minted}");
    for args in [&["enroll-token", "--agent", "web-1"][..], &["enroll-token", "--agent", "web-1", "--json"]] {
        let run = server.cli(args).run().ok();
        assert!(run.stderr.contains("revoked"), "{run}");
    }
    let run = server.cli(&["enroll-token"]).run().ok();
    assert!(!run.stderr.contains("revoked"), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_take_hosts_by_the_names_that_people_know() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let named = |name: &str| json!({"hostname": name, "os": "Debian 12", "ips": ["10.0.0.1"]});
    let web = host_with_facts(&admin, &named("Web-1.example.org")).await;
    let (one, other) =
        (host_with_facts(&admin, &named("db-1")).await, host_with_facts(&admin, &named("db-1")).await);
    let agent = named_host(&admin, "", "mail-1").await;
    for (name, host) in [
        (web.host_id(), &web),
        ("web-1.EXAMPLE.org".to_owned(), &web),
        ("mail-1".to_owned(), &agent),
        (one.agent_id(), &one),
    ] {
        let shown = server.cli(&["host", "show", &name, "--json"]).run().json();
        assert_eq!(shown["id"], host.host_id(), "{name}");
        let enrollments = server.cli(&["enrollment", "list", &name, "--json"]).run().items();
        assert_eq!(enrollments[0]["serial"], host.serial(), "{name}");
    }
    let unclear = server.cli(&["host", "decommission", "db-1"]).run().failed();
    for id in [one.host_id(), other.host_id()] {
        assert!(unclear.stderr.contains(&id), "{unclear}");
    }
    // A part of a name is none.
    for nobody in ["web-1", "db", "nobody"] {
        let refused = server.cli(&["host", "show", nobody]).run().failed();
        assert!(refused.stderr.contains(&format!("there is no host '{nobody}'")), "{refused}");
    }
    // Several at once: each is said, and one that fails keeps the others from nothing.
    let done = server.cli(&["host", "decommission", "web-1.example.org", "nobody", "mail-1"]).run();
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.stdout.contains("Web-1.example.org decommissioned"), "{done}");
    assert!(
        done.stderr.contains("nobody: there is no host") && done.stderr.contains("1 of 3 hosts"),
        "{done}"
    );
    for host in [&web, &agent] {
        assert_eq!(server.host(&host.host_id())["state"], "decommissioned");
    }
    let again = server.cli(&["host", "re-enable", "Web-1.example.org", "mail-1", "--json"]).run().json();
    assert_eq!(again["items"].as_array().unwrap().len(), 2, "{again}");
    server.cli(&["host", "delete", "mail-1", &one.host_id(), "--yes"]).run().ok();
    assert_eq!(server.hosts().len(), 2);
}
