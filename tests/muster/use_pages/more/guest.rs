//! Somebody who comes with a program that takes files, and what becomes of lists when nothing is reloaded.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::process::Finished;
use crate::use_pages::harness::backend::WELCOME;
use crate::use_pages::harness::cast::{Cast, Visitor};
use crate::use_pages::harness::entrance::{Entrance, Outcome};
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::stage::Stage;

/// A visitor's files.
pub struct Papers {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Papers {
    /// Nothing for somebody without a certificate.
    pub fn of(who: &Visitor, stage: &Stage) -> Option<Self> {
        who.shows.as_ref()?;
        let folder = format!("/home/{}", who.name.replace(['\'', ' '], "-"));
        who.lies_in(stage, &folder, "cert.pem", "key.pem");
        let place = |name: &str| stage.path(&format!("{folder}/{name}"));
        fs::set_permissions(place("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        Some(Self { certificate: place("cert.pem"), key: place("key.pem") })
    }

    /// As options of a command.
    pub fn options(papers: Option<&Self>, certificate: &str, key: &str) -> String {
        papers.map_or(String::new(), |papers| {
            format!("{certificate} {} {key} {}", papers.certificate.display(), papers.key.display())
        })
    }
}

/// A door at which visitors knock with a program: they are in when it succeeds and prints the welcome.
pub struct ByCommand<'a, F> {
    pub stage: &'a Stage,
    pub lines: F,
}

impl<F: Fn(Option<&Papers>) -> String> Entrance for ByCommand<'_, F> {
    async fn knock(&self, who: &Visitor) -> Outcome {
        let lines = (self.lines)(Papers::of(who, self.stage).as_ref());
        let Finished { status, stdout, stderr } = tokio::task::block_in_place(|| self.stage.shell(&lines));
        if status.success() && stdout.contains(WELCOME) {
            Outcome::LetIn
        } else {
            Outcome::Closed(format!("{status} {stdout}{stderr}"))
        }
    }
}

/// Has `on_change` fail from now on, so that whatever takes in a list does it by itself. The program knows what is in the folder
/// now: `reload` has just been done.
pub fn reloads_fail(machine: &Machine, reload: impl Fn()) {
    let place = machine.stage.path("/etc/muster/outputs.yml");
    let config = fs::read_to_string(&place).unwrap();
    let lines = config.lines().map(|line| match line.split_once("on_change:") {
        Some((indent, _)) => format!("{indent}on_change: [\"false\"]\n"),
        None => format!("{line}\n"),
    });
    fs::write(&place, lines.collect::<String>()).unwrap();
    tokio::task::block_in_place(|| {
        machine.stage.units.obey("restart muster-agent-outputs").unwrap();
        reload();
    });
}

/// Demands that an agent is refused because its intermediate's list names it: without that list the alert is another one
/// (`unknown CA`).
pub fn is_refused_by_a_list(who: &Visitor, stage: &Stage, port: u16) {
    let own = Papers::options(Papers::of(who, stage).as_ref(), "-cert", "-key");
    let chain = own.split_whitespace().nth(1).unwrap();
    // In TLS 1.2 the alert comes before the end of the handshake.
    let ask = format!("openssl s_client -tls1_2 -connect 127.0.0.1:{port} {own} -cert_chain {chain}");
    let said = stage.shell(&format!("sleep 1 | timeout 20 {ask} 2>&1 || true")).stdout;
    assert!(said.contains("alert certificate revoked"), "{said}");
}

/// Revokes the intermediate that issued the cast's certificates: its agents are refused, and so is what a thief of its key
/// has made.
pub async fn its_issuer_is_revoked(cast: &Cast, entrance: &impl Entrance) {
    entrance.opens_for(&cast.good).await;
    entrance.opens_for(&cast.forged).await;
    tokio::task::block_in_place(|| {
        let shown = cast.server.cli(&["agent-ca", "show", "--json"]).run().json();
        let issuing = shown["certificates"][1]["sha256"].as_str().unwrap();
        let root_key = fs::read_to_string(cast.server.file("root-key.pem")).unwrap();
        let command = ["agent-ca", "revoke-intermediate", "--json", "--now", issuing];
        cast.server.cli(&command).stdin(&root_key).run().ok();
    });
    entrance.shuts_for(&cast.good).await;
    entrance.shuts_for(&cast.forged).await;
}

/// The lists as everybody may fetch them from the server, in a file of the stage.
pub async fn lists_are_fetched(cast: &Cast, stage: &Stage) -> PathBuf {
    let lists = cast.server.http().get("/agent-ca.crl.pem").await;
    stage.write("/srv/fetched.pem", &String::from_utf8(lists.body).unwrap())
}
