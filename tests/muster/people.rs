//! People and programs: signing in and out, passwords, roles, sessions, API tokens.

use serde_json::{Value, json};

use crate::support::client::{COOKIE, Client, PASSWORD, session_cookie};
use crate::support::server::{Server, text};

const OTHER_PASSWORD: &str = "another fine long password";

async fn user_id(admin: &Client, name: &str) -> String {
    let users = admin.items("/v1/users").await;
    text(users.iter().find(|user| user["username"] == name).unwrap(), "id")
}

/// An API token that this person makes.
async fn token_of(server: &Server, maker: &Client, permissions: &[&str]) -> Client {
    let body = json!({"name": "tool", "permissions": permissions});
    Client::bearer(server, &text(&maker.post("/v1/api-tokens", &body).await.expect(201), "token"))
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_sets_a_cookie_that_stays_with_this_site() {
    let server = Server::quickstart();
    let nobody = Client::nobody(&server);
    let password = server.hello.admin_password.clone().unwrap();
    let answer = nobody.try_sign_in("admin", &password).await;
    let body = answer.expect(200);
    assert_eq!((&body["user"]["username"], &body["user"]["role"]), (&json!("admin"), &json!("admin")));
    assert_eq!(body["user"]["tenant_id"], Value::Null);

    let cookie = answer.header("set-cookie").unwrap();
    let mut parts = cookie.split("; ");
    let (name, value) = parts.next().unwrap().split_once('=').unwrap();
    let mut attributes: Vec<_> = parts.filter(|part| !part.starts_with("Max-Age=")).collect();
    attributes.sort_unstable();
    assert_eq!(name, COOKIE);
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"], "{cookie}");
    assert!(value.len() >= 32, "{cookie}");
    assert!(!String::from_utf8_lossy(&answer.body).contains(value), "only the cookie holds it");
    assert!(!server.log().contains(value));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    nobody.with_cookie(value).get("/v1/session").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sign_in_has_a_value_of_its_own_and_ends_what_the_browser_had() {
    let server = Server::quickstart();
    server.add_user("alice", "admin", None);
    let nobody = Client::nobody(&server);
    let planted = "A".repeat(52);
    let answer = nobody.clone().with_cookie(&planted).try_sign_in("alice", PASSWORD).await;
    let first = session_cookie(&answer);
    assert_ne!(first, planted);
    nobody.clone().with_cookie(&planted).get("/v1/session").await.refused(401, "unauthenticated");

    let elsewhere = Client::sign_in(&server, "alice", PASSWORD).await;
    let browser = nobody.clone().with_cookie(&first);
    let second = session_cookie(&browser.try_sign_in("alice", PASSWORD).await);
    assert_ne!(first, second);
    browser.get("/v1/session").await.refused(401, "unauthenticated");
    nobody.with_cookie(&second).get("/v1/session").await.expect(200);
    elsewhere.get("/v1/session").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_worth_nothing_after_signing_out() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let other = Client::admin(&server).await;
    let answer = admin.delete("/v1/session").await;
    assert_eq!(answer.status, 204, "{answer}");
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"), "{answer}");
    assert!(answer.header("clear-site-data").is_some(), "{answer}");
    admin.get("/v1/session").await.refused(401, "unauthenticated");
    admin.delete("/v1/session").await.refused(401, "unauthenticated");
    other.get("/v1/session").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_ask_who_is_signed_in_without_being_refused() {
    let server = Server::quickstart();
    let nobody = Client::nobody(&server);
    let admin = Client::admin(&server).await;
    let known = admin.get("/v1/session/if-any").await.expect(200);
    assert_eq!(known, admin.get("/v1/session").await.expect(200));
    admin.delete("/v1/session").await;
    for gone in [&nobody, &admin] {
        let answer = gone.get("/v1/session/if-any").await;
        assert_eq!((answer.status, answer.body.as_slice()), (204, [].as_slice()), "{answer}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        gone.get("/v1/session").await.refused(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_survive_kill_9() {
    let mut server = Server::quickstart();
    let kept = Client::admin(&server).await;
    let ended = Client::admin(&server).await;
    ended.delete("/v1/session").await;
    server.kill();
    server.start_again_on_the_same_ports();
    kept.get("/v1/session").await.expect(200);
    ended.get("/v1/session").await.refused(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_credentials_are_unauthenticated() {
    let server = Server::quickstart();
    let nobody = Client::nobody(&server);
    let token = server.api_token(&["agent.read"], None);
    Client::bearer(&server, &token).get("/v1/hosts").await.expect(200);
    let last = if token.ends_with('a') { "b" } else { "a" };
    let altered = token[..token.len() - 1].to_owned() + last;
    let headers = [
        format!("Bearer {altered}"),
        format!("Bearer {token}x"),
        format!("Bearer {}", token.to_uppercase()),
        format!("Basic {token}"),
        token.clone(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {}", server.join_token(&[])),
        format!("Bearer {}", "x".repeat(4_000)),
    ];
    for header in headers {
        let refused = nobody.clone().with("authorization", &header).get("/v1/hosts").await;
        refused.refused(401, "unauthenticated");
        assert!(refused.header("www-authenticate").is_some(), "{refused}");
    }
    for cookie in ["", "x", &"A".repeat(52), &token] {
        nobody.clone().with_cookie(cookie).get("/v1/hosts").await.refused(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_and_a_wrong_password_look_the_same() {
    let server = Server::quickstart();
    server.add_user("disabled", "viewer", None);
    server.cli(&["user", "disable", "disabled"]).run().ok();
    let nobody = Client::nobody(&server);
    let wrong = nobody.try_sign_in("admin", "not the password at all").await;
    wrong.refused(401, "unauthenticated");
    let others = [
        ("nobody", PASSWORD),
        ("disabled", PASSWORD),
        ("disabled", "not the password at all"),
        ("not a username", PASSWORD),
        ("", ""),
        ("admin", ""),
    ];
    for (name, password) in others {
        let other = nobody.try_sign_in(name, password).await;
        assert_eq!(other.status, 401, "{name}: {other}");
        assert_eq!(other.said(), wrong.said(), "{name}");
        assert!(other.header("set-cookie").is_none(), "{name}");
        let names = |answer: &crate::support::http::Answer| {
            answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(&other), names(&wrong), "{name}");
    }
    let targets: Vec<_> = server.audit("session.create").iter().map(|r| text(r, "target")).collect();
    let of = |name: &str| targets.iter().filter(|target| *target == name).count();
    assert_eq!(
        (of("admin"), of("disabled"), of("")),
        (1, 1, 3),
        "nobody's names are not on record, and repeats are counted: {targets:?}"
    );
    let reasons: Vec<_> = server.audit("session.create").iter().map(|r| r["reason"].clone()).collect();
    assert_eq!(reasons, vec![json!("wrong_credentials"); 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_session_but_the_one_that_set_it() {
    let server = Server::quickstart();
    let id = server.add_user("alice", "admin", None);
    let own = Client::sign_in(&server, "alice", PASSWORD).await;
    let other = Client::sign_in(&server, "alice", PASSWORD).await;
    let admin = Client::admin(&server).await;
    own.patch(&format!("/v1/users/{id}"), &json!({"password": OTHER_PASSWORD})).await.expect(200);
    own.get("/v1/session").await.expect(200);
    other.get("/v1/session").await.refused(401, "unauthenticated");
    admin.get("/v1/session").await.expect(200);
    let nobody = Client::nobody(&server);
    nobody.try_sign_in("alice", PASSWORD).await.refused(401, "unauthenticated");
    nobody.try_sign_in("alice", OTHER_PASSWORD).await.expect(200);

    // Somebody else's choice ends them all.
    admin.patch(&format!("/v1/users/{id}"), &json!({"password": PASSWORD})).await.expect(200);
    own.get("/v1/session").await.refused(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_a_person_ends_sessions_and_api_tokens_at_once() {
    let server = Server::quickstart();
    let id = server.add_user("alice", "admin", None);
    let admin = Client::admin(&server).await;
    let alice = Client::sign_in(&server, "alice", PASSWORD).await;
    let program = token_of(&server, &alice, &["agent.read"]).await;
    program.get("/v1/hosts").await.expect(200);
    let disabled = admin.patch(&format!("/v1/users/{id}"), &json!({"disabled": true})).await.expect(200);
    assert_eq!(disabled["disabled"], true);
    alice.get("/v1/hosts").await.refused(401, "unauthenticated");
    program.get("/v1/hosts").await.refused(401, "unauthenticated");
    Client::nobody(&server).try_sign_in("alice", PASSWORD).await.refused(401, "unauthenticated");

    server.cli(&["user", "disable", "alice", "--undo"]).run().ok();
    alice.get("/v1/hosts").await.refused(401, "unauthenticated");
    program.get("/v1/hosts").await.refused(401, "unauthenticated");
    assert!(admin.items("/v1/api-tokens").await.is_empty());
    Client::sign_in(&server, "alice", PASSWORD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_role_counts_from_the_next_request() {
    let server = Server::quickstart();
    let id = server.add_user("alice", "admin", None);
    let admin = Client::admin(&server).await;
    let alice = Client::sign_in(&server, "alice", PASSWORD).await;
    let writes = token_of(&server, &alice, &["secret.write"]).await;
    let reads = token_of(&server, &alice, &["agent.read"]).await;
    writes.get("/v1/enrollment-secrets").await.expect(200);
    admin.patch(&format!("/v1/users/{id}"), &json!({"role": "viewer"})).await.expect(200);
    let refused = alice.get("/v1/enrollment-secrets").await;
    assert!([401, 403].contains(&refused.status), "{refused}");
    writes.get("/v1/enrollment-secrets").await.refused(403, "permission_denied");
    reads.get("/v1/hosts").await.expect(200);
    let now = Client::sign_in(&server, "alice", PASSWORD).await.get("/v1/session").await.expect(200);
    assert_eq!((&now["user"]["role"], &now["permissions"]), (&json!("viewer"), &json!(["agent.read"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_cannot_be_removed() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let tenant = server.tenant("other");
    server.add_user("local", "admin", Some(&tenant));
    let path = format!("/v1/users/{}", user_id(&admin, "admin").await);
    let changes = [
        json!({"role": "operator"}),
        json!({"role": "viewer"}),
        json!({"disabled": true}),
        json!({"disabled": true, "password": OTHER_PASSWORD}),
    ];
    for change in &changes {
        admin.patch(&path, change).await.refused(409, "last_admin");
    }
    server.cli(&["user", "disable", "admin"]).run().failed();
    server.cli(&["user", "set-role", "admin", "viewer"]).run().failed();
    admin.get("/v1/users").await.expect(200);
    Client::admin(&server).await;

    server.add_user("second", "admin", None);
    admin.patch(&path, &json!({"role": "viewer"})).await.expect(200);
    server.cli(&["user", "set-role", "second", "viewer"]).run().failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_who_remove_each_other_leave_one() {
    let server = Server::quickstart();
    server.add_user("alice", "admin", None);
    server.add_user("bob", "admin", None);
    server.cli(&["user", "disable", "admin"]).run().ok();
    for _ in 0..4 {
        let alice = Client::sign_in(&server, "alice", PASSWORD).await;
        let bob = Client::sign_in(&server, "bob", PASSWORD).await;
        let [about_alice, about_bob] = [user_id(&alice, "alice").await, user_id(&alice, "bob").await]
            .map(|id| format!("/v1/users/{id}"));
        let out = json!({"role": "viewer"});
        let (by_alice, by_bob) = tokio::join!(alice.patch(&about_bob, &out), bob.patch(&about_alice, &out));
        let removed = [by_alice.status, by_bob.status].into_iter().filter(|status| *status == 200).count();
        assert_eq!(removed, 1, "{by_alice} {by_bob}");
        for name in ["alice", "bob"] {
            server.cli(&["user", "set-role", name, "admin"]).run().ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_changes_nothing_for_another_site_s_page() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let port = server.hello.url.rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    let origins = [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        String::new(),
        format!("http://127.0.0.1:{port}"),
        "https://127.0.0.1".to_owned(),
        format!("https://127.0.0.1:{port}.evil.example"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://evil.example:{port}"),
        format!("https://admin@127.0.0.1:{port}"),
    ];
    let mut pages: Vec<_> = origins.iter().map(|origin| admin.clone().with("origin", origin)).collect();
    pages.push(admin.clone().without("origin"));
    pages.push(admin.clone().with("sec-fetch-site", "cross-site"));
    pages.push(admin.clone().with("sec-fetch-site", "same-site"));
    let user = format!("/v1/users/{}", user_id(&admin, "admin").await);
    for page in &pages {
        page.post("/v1/tenants", &json!({"name": "made"})).await.refused(403, "permission_denied");
        page.put("/v1/session/preferences", &json!({"time_zone": "utc", "clock": "12h"}))
            .await
            .refused(403, "permission_denied");
        page.patch(&user, &json!({"password": OTHER_PASSWORD})).await.refused(403, "permission_denied");
        page.delete("/v1/session").await.refused(403, "permission_denied");
        let read = page.get("/v1/tenants").await;
        read.expect(200);
        let shared = read.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(shared, None, "{read}");
    }
    assert_eq!(admin.items("/v1/tenants").await.len(), 1);
    let session = admin.get("/v1/session").await.expect(200);
    assert_eq!(session["preferences"], json!({"time_zone": "local", "clock": "24h"}));
    Client::admin(&server).await;

    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        admin
            .send_text("POST", "/v1/tenants", kind, "{\"name\":\"made\"}")
            .await
            .refused(415, "unsupported_media_type");
    }
    let own = admin.clone().with("sec-fetch-site", "same-origin");
    own.post("/v1/tenants", &json!({"name": "made"})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_s_page_signs_nobody_in() {
    let server = Server::quickstart();
    let password = server.hello.admin_password.clone().unwrap();
    let page = Client::nobody(&server).with("origin", "https://evil.example");
    page.try_sign_in("admin", &password).await.refused(403, "permission_denied");
    Client::nobody(&server).try_sign_in("admin", &password).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_s_token_needs_no_origin() {
    let server = Server::quickstart();
    let token = server.api_token(&["tenant.write"], None);
    let program = Client::bearer(&server, &token);
    program.post("/v1/tenants", &json!({"name": "one"})).await.expect(201);
    let page = program.with("origin", "https://evil.example").with("sec-fetch-site", "cross-site");
    page.post("/v1/tenants", &json!({"name": "two"})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_passwords_is_throttled_whoever_it_claims_to_be() {
    let server = Server::quickstart();
    let nobody = Client::nobody(&server);
    let password = server.hello.admin_password.clone().unwrap();
    // Each guess costs 5 of 100; what comes back meanwhile is 1 a second.
    let mut guesses = 0;
    let throttled = loop {
        let disguise = nobody.clone().with("x-forwarded-for", &format!("192.0.2.{guesses}"));
        let answer = disguise.try_sign_in("admin", "not the password at all").await;
        if answer.status == 429 {
            break answer;
        }
        answer.refused(401, "unauthenticated");
        guesses += 1;
        assert!(guesses < 100, "nothing stops the guessing");
    };
    assert!(guesses >= 20, "{guesses}");
    throttled.refused(429, "throttled");
    let seconds: u64 = throttled.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    nobody.try_sign_in("admin", &password).await.refused(429, "throttled");

    // Who holds a real credential is no guesser, and the machine's own operator has the way back in.
    let program = Client::bearer(&server, &server.api_token(&["agent.read"], None));
    program.get("/v1/hosts").await.expect(200);
    crate::support::identity::Identity::enroll(&server, "web-1").await;
    server.cli(&["user", "set-password", "admin"]).stdin(OTHER_PASSWORD).run().ok();

    tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    nobody.try_sign_in("admin", OTHER_PASSWORD).await.expect(200);
    let sources: Vec<_> = server.audit("wrong_credentials").iter().map(|r| text(r, "source")).collect();
    assert!(sources.iter().all(|source| source == "127.0.0.1"), "{sources:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_enrollments_keep_nobody_beside_them_from_signing_in() {
    let server = Server::quickstart();
    let password = server.hello.admin_password.clone().unwrap();
    let nobody = Client::nobody(&server);
    let junk = json!({"token": "mjt_aaaaaaaaaaaaaaaa_x", "csr": "none"});
    let mut refused = 0;
    while nobody.post("/enroll/agent", &junk).await.status != 429 {
        refused += 1;
        assert!(refused < 200, "nothing stops them");
    }
    nobody.try_sign_in("admin", "not the password at all").await.refused(401, "unauthenticated");
    nobody.try_sign_in("admin", &password).await.expect(200);
    // The other way round, each wrong password is a failure of its address everywhere.
    let guesser = nobody.at_address([127, 9, 9, 1].into());
    while guesser.try_sign_in("admin", "not the password at all").await.status != 429 {}
    let mut refused = 0;
    while guesser.post("/enroll/agent", &junk).await.status != 429 {
        refused += 1;
        assert!(refused < 50, "wrong passwords do not count here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_not_listed_is_named_once() {
    let server = Server::quickstart();
    let nobody = Client::nobody(&server);
    for _ in 0..3 {
        let forwarded = nobody.clone().with("x-forwarded-for", "192.0.2.1");
        forwarded.try_sign_in("admin", "not the password at all").await.refused(401, "unauthenticated");
    }
    let log = server.wait_for_log("X-Forwarded-For", crate::support::wait::PATIENCE);
    assert!(log.contains("127.0.0.1"), "{log}");
    let said = server.log().lines().filter(|line| line.contains("X-Forwarded-For")).count();
    assert_eq!(said, 1, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_has_its_own_allowance() {
    let server = Server::quickstart_with(&[("MUSTER_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")]);
    let from = |hops: &str| Client::nobody(&server).with("x-forwarded-for", hops);
    let guess = async |hops: &str| from(hops).try_sign_in("nobody", "not the password at all").await.status;
    let mut guesses = 0;
    // The last hop that is no proxy is the client; what it says of itself before that is its own invention.
    while guess(&format!("198.51.100.{guesses}, 192.0.2.1, 10.0.0.1")).await != 429 {
        guesses += 1;
        assert!(guesses < 100, "nothing stops the guessing");
    }
    assert_eq!(guess("192.0.2.1").await, 429);
    for hops in ["192.0.2.2", "192.0.2.1, 192.0.2.3", "garbage", "192.0.2.1, garbage", "2001:db8::1"] {
        assert_eq!(guess(hops).await, 401, "{hops}");
    }
    let many = ["203.0.113.9"; 400].join(", ");
    assert_eq!(guess(&many).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_are_kept_for_each_person() {
    let server = Server::quickstart();
    server.add_user("alice", "viewer", None);
    let alice = Client::sign_in(&server, "alice", PASSWORD).await;
    let chosen = json!({"time_zone": "utc", "clock": "12h"});
    let answer = alice.put("/v1/session/preferences", &chosen).await.expect(200);
    assert_eq!(answer["preferences"], chosen);
    let again = Client::sign_in(&server, "alice", PASSWORD).await;
    assert_eq!(again.get("/v1/session").await.expect(200)["preferences"], chosen);
    let admin = Client::admin(&server).await.get("/v1/session").await.expect(200);
    assert_eq!(admin["preferences"], json!({"time_zone": "local", "clock": "24h"}));
    let bad = [
        json!({"time_zone": "UTC", "clock": "12h"}),
        json!({"time_zone": "utc"}),
        json!({"time_zone": "utc", "clock": "24"}),
        json!({"time_zone": "utc", "clock": "24h", "role": "admin"}),
        json!({"time_zone": null, "clock": "24h"}),
        json!([]),
    ];
    for body in &bad {
        alice.put("/v1/session/preferences", body).await.refused(400, "bad_request");
    }
    assert_eq!(again.get("/v1/session").await.expect(200)["preferences"], chosen);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_have_12_to_256_characters() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let add = async |name: &str, password: &str| {
        admin.post("/v1/users", &json!({"username": name, "password": password, "role": "viewer"})).await
    };
    let long = "päßwort-".repeat(32);
    for (name, password) in [("short", "q7-tv9x.w2mk"), ("long", &long), ("spaced", "  spaces count  ")] {
        assert!((12..=256).contains(&password.chars().count()));
        add(name, password).await.expect(201);
        Client::sign_in(&server, name, password).await;
        let nobody = Client::nobody(&server);
        nobody
            .try_sign_in(name, password.trim_end_matches(['k', '-', ' ']))
            .await
            .refused(401, "unauthenticated");
    }
    // Longer ones are not even compared, let alone in a body that is refused.
    let nobody = Client::nobody(&server);
    for (length, refusal) in [(257, (401, "unauthenticated")), (100_000, (413, "payload_too_large"))] {
        nobody.try_sign_in("short", &"x".repeat(length)).await.refused(refusal.0, refusal.1);
    }
    nobody.try_sign_in("short", "q7-tv9x.w2mk\0").await.refused(401, "unauthenticated");
    let id = user_id(&admin, "short").await;
    let guessable =
        ["password1234", "Password123!", "aaaaaaaaaaaa", "qwertyuiop123", "Welcome-2026", "refused-user"];
    let too_long = long.clone() + "x";
    for bad in ["", "q7-tv9x.w2m", too_long.as_str()].into_iter().chain(guessable) {
        let refused = add("refused-user", bad).await.refused(422, "invalid_password");
        assert!(refused["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{refused}");
        if bad != "refused-user" {
            let change = json!({"password": bad, "role": "admin"});
            admin.patch(&format!("/v1/users/{id}"), &change).await.refused(422, "invalid_password");
        }
    }
    assert_eq!(admin.items("/v1/users").await.len(), 4);
    assert_eq!(admin.items("/v1/users").await[1]["role"], "viewer");
    Client::sign_in(&server, "short", "q7-tv9x.w2mk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_one_account_whatever_its_case() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let add = async |name: &str| {
        admin.post("/v1/users", &json!({"username": name, "password": PASSWORD, "role": "viewer"})).await
    };
    let made = add("Alice@example.org").await.expect(201);
    assert_eq!(made["username"], "Alice@example.org");
    assert!(made.get("password").is_none(), "{made}");
    for taken in ["Alice@example.org", "alice@example.org", "ALICE@EXAMPLE.ORG", "Admin"] {
        add(taken).await.refused(409, "username_taken");
    }
    Client::sign_in(&server, "ALICE@example.org", PASSWORD).await;
    add(&"a".repeat(64)).await.expect(201);
    let long = "a".repeat(65);
    for bad in [
        "",
        " bob",
        "bob ",
        "b ob",
        "bøb",
        "bob\u{301}",
        "a/b",
        "bob\n",
        "bob\0",
        "<b>",
        "a@b@c",
        &long,
        &"a".repeat(10_240),
    ] {
        add(bad).await.refused(422, "invalid_username");
    }
    assert_eq!(admin.items("/v1/users").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_about_people_are_taken_exactly() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let good = json!({"username": "alice", "password": PASSWORD, "role": "viewer"});
    let mut bad = vec![json!(null), json!([]), json!("alice"), json!({})];
    for role in [json!("ADMIN"), json!(" admin"), json!("root"), json!(null), json!(0), json!(["admin"])] {
        let mut body = good.clone();
        body["role"] = role;
        bad.push(body);
    }
    for field in ["id", "created_at", "disabled", "permissions", "hash", "password_hash", "tenant"] {
        let mut body = good.clone();
        body[field] = json!("x");
        bad.push(body);
    }
    for (field, value) in [("username", json!(1)), ("password", json!(null)), ("tenant_id", json!(7))] {
        let mut body = good.clone();
        body[field] = value;
        bad.push(body);
    }
    for body in &bad {
        admin.post("/v1/users", body).await.refused(400, "bad_request");
    }
    let twice = r#"{"username":"alice","username":"bob","password":"correct horse battery","role":"viewer"}"#;
    admin.send_text("POST", "/v1/users", "application/json", twice).await.refused(400, "bad_request");
    let mut nowhere = good.clone();
    nowhere["tenant_id"] = json!("00000000-0000-7000-8000-000000000000");
    admin.post("/v1/users", &nowhere).await.refused(404, "not_found");
    assert_eq!(admin.items("/v1/users").await.len(), 1);

    let path = format!("/v1/users/{}", user_id(&admin, "admin").await);
    for body in [
        json!({"tenant_id": null}),
        json!({"username": "x"}),
        json!({"disabled": "no"}),
        json!({"role": "root"}),
    ] {
        admin.patch(&path, &body).await.refused(400, "bad_request");
    }
    for id in ["x", "00000000-0000-7000-8000-000000000000", "admin", "%2e%2e"] {
        admin.patch(&format!("/v1/users/{id}"), &json!({})).await.refused(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_never_does_more_than_its_maker() {
    let server = Server::quickstart();
    let maker = Client::bearer(&server, &server.api_token(&["token.write", "agent.read"], None));
    let ask = async |permissions: Value| {
        maker.post("/v1/api-tokens", &json!({"name": "tool", "permissions": permissions})).await
    };
    ask(json!(["agent.read"])).await.expect(201);
    for more in [json!(["host.write"]), json!(["agent.read", "tenant.write"])] {
        ask(more).await.refused(403, "permission_denied");
    }
    ask(json!([])).await.refused(422, "invalid_permissions");
    for wrong in [json!(["everything"]), json!("agent.read"), json!(null), json!([1]), json!(["AGENT.READ"])]
    {
        ask(wrong).await.refused(400, "bad_request");
    }
    assert_eq!(maker.items("/v1/api-tokens").await.len(), 2);
    for ttl in [0, -1, 59, 157_680_001] {
        let body = json!({"name": "tool", "permissions": ["agent.read"], "ttl_seconds": ttl});
        maker.post("/v1/api-tokens", &body).await.refused(422, "invalid_ttl");
    }
    for name in ["", " ", "a\nb", &"n".repeat(129)] {
        let body = json!({"name": name, "permissions": ["agent.read"]});
        maker.post("/v1/api-tokens", &body).await.refused(422, "invalid_name");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_revoked_at_once() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let body = json!({"name": "tool", "permissions": ["agent.read"], "ttl_seconds": 3_600});
    let made = admin.post("/v1/api-tokens", &body).await.expect(201);
    let (id, token) = (text(&made, "id"), text(&made, "token"));
    assert!(token.starts_with("mat_"), "{made}");
    let listed = admin.get("/v1/api-tokens").await;
    listed.expect(200);
    let public = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(public.contains(&id) && !public.contains(&token), "{public}");
    assert_eq!(listed.json()["items"][0]["created_by"], "admin");

    let program = Client::bearer(&server, &token);
    let session = program.get("/v1/session").await.expect(200);
    assert_eq!((&session["user"], &session["permissions"]), (&Value::Null, &json!(["agent.read"])));
    assert_eq!(admin.delete(&format!("/v1/api-tokens/{id}")).await.status, 204);
    program.get("/v1/hosts").await.refused(401, "unauthenticated");
    admin.delete(&format!("/v1/api-tokens/{id}")).await.refused(404, "not_found");
}
