//! What the command line says when something was refused: what failed in plain words, and one next step that helps.

use serde_json::json;

use crate::support::client::Client;
use crate::support::server::Server;

#[test]
fn a_file_that_cannot_be_written_is_explained() {
    let server = Server::quickstart();
    let place = server.room().join("missing/x");
    let place = place.to_str().unwrap();
    for args in [["audit", "export", place], ["agent-ca", "export", place]] {
        let said = server.cli(&args).run().failed().stderr;
        assert!(said.contains("there is no directory") && said.contains("hint:"), "{args:?}: {said}");
        assert!(!said.contains("entity"), "{args:?}: {said}");
    }
}

#[test]
fn a_tenant_that_is_not_there_is_what_the_hint_is_about() {
    let server = Server::quickstart();
    let absent = "01890000-0000-7000-8000-000000000000";
    let refused = [
        server.cli(&["enroll-token", "--tenant", absent]).run().failed().stderr,
        server.cli(&["secret", "create", "--name", "x", "--tenant", absent]).run().failed().stderr,
        server.cli(&["host", "list", "--tenant", absent]).run().failed().stderr,
        server.cli(&["audit", "list", "--tenant", absent]).run().failed().stderr,
    ];
    for said in refused {
        assert!(said.contains("muster tenant list"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_listed_in_pages() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    for number in 0..4 {
        admin.post("/v1/tenants", &json!({"name": format!("Tenant {number}")})).await.expect(201);
    }
    let (mut names, mut next) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/v1/tenants?limit=2{next}")).await.expect(200);
        names.extend(page["items"].as_array().unwrap().iter().map(|tenant| tenant["name"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(names, ["default", "Tenant 0", "Tenant 1", "Tenant 2", "Tenant 3"]);
    admin.get("/v1/tenants?limit=0").await.refused(400, "bad_request");
    admin.get("/v1/tenants?limit=500").await.expect(200);
}

/// What the overview warns of: a code and how urgent it is for programs, words for people.
#[tokio::test(flavor = "multi_thread")]
async fn a_warning_says_how_urgent_it_is_and_how_many_it_counts() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let overview = admin.get("/v1/overview").await.expect(200);
    let warnings = overview["warnings"].as_array().unwrap();
    let root = warnings.iter().find(|warning| warning["code"] == "root_key_on_disk").unwrap();
    assert_eq!((&root["severity"], &root["count"]), (&json!("soon"), &json!(1)), "{root}");
    assert!(root["at"].is_null() && root["hint"].is_string(), "{root}");
}
