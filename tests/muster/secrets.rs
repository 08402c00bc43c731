//! Enrollment secrets: made, counted, capped, revoked.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::fleet::{host_by_secret, secret};
use crate::support::identity::present_secret;
use crate::support::keys::Key;
use crate::support::server::{Server, text};

const SECRETS: &str = "/v1/enrollment-secrets";

async fn find(admin: &Client, state: &str, id: &str) -> Value {
    let secrets = admin.items(&format!("{SECRETS}?state={state}")).await;
    secrets
        .iter()
        .find(|secret| secret["id"] == id)
        .unwrap_or_else(|| panic!("no {id} in {secrets:?}"))
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn eighty_racers_for_twenty_places_leave_twenty_hosts() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (id, text_of) = secret(&admin, "", &json!({"name": "fleet", "max_uses": 20})).await;
    let racers: Vec<_> = (0..80)
        .map(|_| {
            let (http, secret) = (server.http(), text_of.clone());
            tokio::spawn(async move {
                let key = Key::p256();
                let answer = present_secret(&http, &secret, &key.csr()).await;
                (key, answer)
            })
        })
        .collect();
    let mut admitted = Vec::new();
    for racer in racers {
        let (key, answer) = racer.await.unwrap();
        match answer.status {
            201 => admitted.push(crate::support::identity::Identity { key, answer: answer.json() }),
            401 => drop(answer.refused(401, "unauthorized")),
            _ => drop(answer.refused(403, "secret_exhausted")),
        }
    }
    assert_eq!(admitted.len(), 20);
    let row = find(&admin, "active", &id).await;
    assert_eq!((&row["uses"], &row["max_uses"]), (&json!(20), &json!(20)), "exhausted, and still active");
    assert!(row["last_used_at"].is_string(), "{row}");
    assert_eq!(admin.items("/v1/hosts").await.len(), 20);
    present_secret(&admin.http, &text_of, &Key::p256().csr()).await.refused(401, "unauthorized");

    // An answer that was lost can be asked for again, even now; and no place is taken twice.
    let one = &admitted[0];
    let again = present_secret(&admin.http, &text_of, &one.key.csr()).await.expect(201);
    assert_eq!(text(&again, "serial"), one.serial());
    assert_eq!(find(&admin, "active", &id).await["uses"], 20);

    admin.act(&format!("{SECRETS}/{id}/revoke")).await.expect(200);
    for agent in &admitted {
        agent.peer(&server).reports().await.unwrap();
    }
    let rotated = one.rotate(&admin.http).await;
    rotated.peer(&server).reports().await.unwrap();
    present_secret(&admin.http, &text_of, &one.key.csr()).await.refused(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_is_shown_once() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let body = json!({"name": "fleet", "max_uses": 5, "ttl_seconds": 3_600});
    let made = admin.post(SECRETS, &body).await.expect(201);
    let (id, plain) = (text(&made, "id"), text(&made, "secret"));
    assert!(plain.starts_with("mes_"), "{made}");
    assert_eq!((&made["name"], &made["uses"], &made["max_uses"]), (&json!("fleet"), &json!(0), &json!(5)));
    assert!(made["created_at"].is_string() && made["expires_at"].is_string(), "{made}");
    assert_eq!(made["last_used_at"], Value::Null);
    host_by_secret(&admin, &plain).await;
    let part = plain.rsplit_once('_').unwrap().1;
    for path in [SECRETS.to_owned(), "/v1/audit?limit=500".to_owned(), format!("/v1/audit?q={id}")] {
        let answer = admin.get(&path).await;
        answer.expect(200);
        assert!(!String::from_utf8_lossy(&answer.body).contains(part), "{path}");
    }
    let fields: Vec<_> = find(&admin, "active", &id).await.as_object().unwrap().keys().cloned().collect();
    assert!(!fields.iter().any(|field| field.contains("hash") || field == "secret"), "{fields:?}");
    assert!(!server.log().contains(part));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_is_for_good_and_moves_a_secret_to_the_other_list() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (id, plain) = secret(&admin, "", &json!({"name": "fleet", "max_uses": 5})).await;
    let (other, _) = secret(&admin, "", &json!({"name": "fleet"})).await;
    let host = host_by_secret(&admin, &plain).await;
    let path = format!("{SECRETS}/{id}/revoke");
    let revoked = admin.act(&path).await.expect(200);
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(admin.act(&path).await.expect(200), revoked, "repeating is harmless");
    assert_eq!(server.audit("enrollment_secret.revoke").len(), 1);

    present_secret(&admin.http, &plain, &Key::p256().csr()).await.refused(401, "unauthorized");
    let ids = |secrets: Vec<Value>| secrets.iter().map(|secret| text(secret, "id")).collect::<Vec<_>>();
    assert_eq!(ids(admin.items(&format!("{SECRETS}?state=active")).await), [other.as_str()]);
    assert_eq!(ids(admin.items(&format!("{SECRETS}?state=revoked")).await), [id.as_str()]);
    assert_eq!(ids(admin.items(SECRETS).await), [other.as_str(), id.as_str()], "newest first");
    assert_eq!(find(&admin, "revoked", &id).await["uses"], 1, "the final count");
    host.peer(&server).reports().await.unwrap();
    for state in ["expired", "all", "", "Active"] {
        admin.get(&format!("{SECRETS}?state={state}")).await.refused(400, "bad_request");
    }
    let unknown = "00000000-0000-7000-8000-000000000000";
    for id in [unknown, "x", &host.host_id(), &plain] {
        admin.act(&format!("{SECRETS}/{id}/revoke")).await.refused(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_use_follows_the_answer_to_a_revocation() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (id, plain) = secret(&admin, "", &json!({"name": "fleet"})).await;
    let racers: Vec<_> = (0..60)
        .map(|_| {
            let (http, secret) = (server.http(), plain.clone());
            tokio::spawn(async move { present_secret(&http, &secret, &Key::p256().csr()).await.status })
        })
        .collect();
    let revoked = admin.act(&format!("{SECRETS}/{id}/revoke")).await.expect(200);
    present_secret(&admin.http, &plain, &Key::p256().csr()).await.refused(401, "unauthorized");
    let mut admitted = 0;
    for racer in racers {
        admitted += usize::from(racer.await.unwrap() == 201);
    }
    assert_eq!(revoked["uses"], admitted, "what was admitted was counted before");
    assert_eq!(find(&admin, "revoked", &id).await["uses"], admitted);
    assert_eq!(admin.items("/v1/hosts").await.len(), admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_take_no_place() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (id, plain) = secret(&admin, "", &json!({"name": "fleet", "max_uses": 2})).await;
    for csr in
        ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
    {
        let body = json!({"secret": plain, "csr": csr});
        admin.http.post("/enroll/agent", &body).await.refused(400, "bad_csr");
    }
    host_by_secret(&admin, &plain).await;
    host_by_secret(&admin, &plain).await;
    assert_eq!(find(&admin, "active", &id).await["uses"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_are_whole_numbers_from_one_to_a_million() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let make = async |max: &str| {
        let body = format!("{{\"name\":\"fleet\",\"max_uses\":{max}}}");
        admin.send_text("POST", SECRETS, "application/json", &body).await
    };
    for max in [
        "0",
        "-1",
        "-9223372036854775808",
        "1000001",
        "4294967297",
        "9223372036854775807",
        "18446744073709551616",
    ] {
        make(max).await.refused(422, "invalid_max_uses");
    }
    for max in ["1.5", "\"5\"", "true", "[1]", "{}", "1e999", "NaN"] {
        make(max).await.refused(400, "bad_request");
    }
    assert!(admin.items(SECRETS).await.is_empty());
    assert_eq!(make("null").await.expect(201)["max_uses"], Value::Null);
    assert_eq!(make("1").await.expect(201)["max_uses"], 1);
    // JSON Schema calls a number without a fraction an integer, however it is written.
    assert_eq!(make("1.0").await.expect(201)["max_uses"], 1);
    assert_eq!(make("1000000").await.expect(201)["max_uses"], 1_000_000);
    let absent = admin.post(SECRETS, &json!({"name": "fleet"})).await.expect(201);
    assert_eq!((&absent["max_uses"], &absent["expires_at"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_lives_have_limits() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "fleet"});
        body[field] = value;
        body
    };
    let long = "n".repeat(129);
    let huge = "n".repeat(10_240);
    for name in ["", " ", "\n", "a\nb", "a\0b", "a\u{1b}[31mb", "a\u{7f}", "a\u{85}b", &long, &huge] {
        admin.post(SECRETS, &with("name", json!(name))).await.refused(422, "invalid_name");
    }
    for ttl in [0, -1, 1, 59, 157_680_001, i64::MAX] {
        admin.post(SECRETS, &with("ttl_seconds", json!(ttl))).await.refused(422, "invalid_ttl");
    }
    admin.post(SECRETS, &with("ttl_seconds", json!(1e30))).await.refused(422, "invalid_ttl");
    for ttl in [json!(60.5), json!("1h"), json!([])] {
        admin.post(SECRETS, &with("ttl_seconds", ttl)).await.refused(400, "bad_request");
    }
    for (field, value) in
        [("uses", json!(0)), ("revoked", json!(false)), ("id", json!("x")), ("tenant_id", json!("x"))]
    {
        admin.post(SECRETS, &with(field, value)).await.refused(400, "bad_request");
    }
    for body in [json!({}), json!({"name": null}), json!({"name": 7}), json!([]), json!(null), json!("fleet")]
    {
        admin.post(SECRETS, &body).await.refused(400, "bad_request");
    }
    let twice = r#"{"name":"a","name":"b"}"#;
    admin.send_text("POST", SECRETS, "application/json", twice).await.refused(400, "bad_request");
    assert!(admin.items(SECRETS).await.is_empty());

    let widest = "ä".repeat(128);
    for name in
        ["'; $(reboot) `x` \\", "<script>alert(1)</script>", "=1+1", "rollout ✓", &widest, "rollout ✓"]
    {
        let made = admin.post(SECRETS, &with("name", json!(name))).await.expect(201);
        assert_eq!(made["name"], name, "kept as it was written, and may repeat");
    }
    for ttl in [60, 157_680_000] {
        admin.post(SECRETS, &with("ttl_seconds", json!(ttl))).await.expect(201);
    }
    assert_eq!(admin.items(SECRETS).await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_lists_and_revokes() {
    let server = Server::quickstart();
    let make = ["secret", "create", "--name", "rollout", "--max-uses", "50", "--ttl", "1h"];
    let made = server.cli(&make).run().ok();
    assert!(made.stdout.trim().starts_with("mes_"), "{made}");
    let rows = server.cli(&["secret", "list", "--json"]).run().items();
    let id = text(&rows[0], "id");
    let table = server.cli(&["secret", "list"]).run().ok().stdout;
    for part in ["rollout", "50", &id] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    assert!(!table.contains("mes_"), "{table}");
    server.cli(&["secret", "revoke", &id]).run().ok();
    server.cli(&["secret", "revoke", "nothing"]).run().failed();
    let zero = server.cli(&["secret", "create", "--name", "rollout", "--max-uses", "0"]).run();
    assert!(matches!(zero.code, Some(1 | 2)) && zero.stdout.is_empty(), "{zero}");
    assert_eq!(server.cli(&["secret", "list", "--json"]).run().items().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_whom_a_secret_let_in_and_whom_not() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (id, text_of) = secret(&admin, "", &json!({"name": "rack-7", "max_uses": 1})).await;
    secret(&admin, "", &json!({"name": "twice"})).await;
    secret(&admin, "", &json!({"name": "twice"})).await;
    let let_in = host_by_secret(&admin, &text_of).await;
    let refused = present_secret(&server.http(), &text_of, &Key::p256().csr()).await;
    refused.refused(401, "unauthorized");
    let shown = server.cli(&["secret", "show", "rack-7", "--json"]).run().json();
    assert_eq!((&shown["secret"]["id"], &shown["secret"]["uses"]), (&json!(id), &json!(1)));
    assert_eq!(shown["hosts"][0]["id"], let_in.host_id());
    assert_eq!((&shown["refusals"][0]["target"], shown["refusals"][1].is_null()), (&json!(id), true));
    let shown = server.cli(&["secret", "show", &id]).run().ok().stdout;
    for part in ["rack-7", "1 / 1", &let_in.host_id(), "exhausted"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert!(!shown.contains("mes_"), "{shown}");
    let two = server.cli(&["secret", "show", "twice"]).run().failed();
    assert!(two.stderr.contains("2 secrets have the name"), "{two}");
    server.cli(&["secret", "show", "nothing"]).run().failed();
}
