//! `muster status`: one screen, from a running server, from a stopped one, and from one elsewhere.

use serde_json::Value;

use crate::support::cli::Output;
use crate::support::identity::Identity;
use crate::support::server::Server;

const LINES: [&str; 8] = [
    "Server",
    "Agent CA",
    "Server certificate",
    "Fleet",
    "If the server stopped now",
    "Backups",
    "Replicas",
    "Needs somebody",
];

#[track_caller]
fn screen(output: Output) -> String {
    let shown = output.ok().stdout;
    for line in LINES {
        assert!(shown.lines().any(|it| it.starts_with(line)), "{line}: {shown}");
    }
    assert!(shown.lines().count() < 24, "one screen: {shown}");
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_a_stopped_one_and_one_elsewhere_are_shown() {
    let mut server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    let here = screen(server.cli(&["status"]).run());
    for part in ["ready, since ", "0 of 1 host online", "none yet; one every 24 hours", "days left", "SOON: "]
    {
        assert!(here.contains(part), "{part}: {here}");
    }
    let token = tokio::task::block_in_place(|| server.api_token(&["agent.read"], None));
    let elsewhere = crate::support::cli::Cli::new(server.room(), &["status", "--server", &server.hello.url])
        .env("MUSTER_API_TOKEN", &token)
        .env("MUSTER_SERVER_PIN", &server.hello.ca_pin);
    let elsewhere = screen(elsewhere.run());
    assert_eq!(here.lines().take(4).collect::<Vec<_>>(), elsewhere.lines().take(4).collect::<Vec<_>>());
    let document: Value = server.cli(&["status", "--json"]).run().json();
    assert_eq!((&document["server"]["serving"], &document["hosts_total"]), (&true.into(), &1.into()));

    server.stop();
    let stopped = screen(server.cli(&["status"]).run());
    assert!(stopped.contains(", stopped") && stopped.contains("0 of 1 host online"), "{stopped}");
    let document: Value = server.cli(&["status", "--json"]).run().json();
    assert_eq!(document["server"]["serving"], false);
}
