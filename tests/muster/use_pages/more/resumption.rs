//! TLS sessions of before, kept as `openssl s_client` keeps them: one that is resumed shows no certificate again.

use std::path::PathBuf;

use super::guest::Papers;
use crate::support::wait::until;
use crate::use_pages::harness::cast::Visitor;
use crate::use_pages::harness::stage::Stage;

const VERSIONS: [&str; 2] = ["tls1_2", "tls1_3"];

/// A session of each version of TLS that the program has given.
pub struct Resumption<'a> {
    stage: &'a Stage,
    ask: String,
    sessions: Vec<(&'static str, PathBuf)>,
}

impl<'a> Resumption<'a> {
    /// Connects until there is a session of each version, if the program gives any.
    pub fn of(who: &Visitor, stage: &'a Stage, port: u16, options: &str) -> Self {
        let own = Papers::options(Papers::of(who, stage).as_ref(), "-cert", "-key");
        let chain = own.split_whitespace().nth(1).map_or(String::new(), |file| format!("-cert_chain {file}"));
        let ask = format!("openssl s_client -connect 127.0.0.1:{port} {options} {own} {chain}");
        let sessions = VERSIONS.map(|version| (version, stage.path(&format!("/tmp/{version}.session"))));
        let this = Self { stage, ask, sessions: sessions.into() };
        tokio::task::block_in_place(|| {
            for (version, file) in &this.sessions {
                let said = this.connect(version, &format!("-sess_out {}", file.display()));
                assert!(said.contains("New, TLSv1"), "no session was made: {said}");
            }
        });
        this
    }

    /// What a handshake printed. The program has a moment to send a ticket.
    fn connect(&self, version: &str, options: &str) -> String {
        let lines = format!("sleep 1 | timeout 20 {} -{version} {options} 2>&1 || true", self.ask);
        self.stage.shell(&lines).stdout
    }

    /// Which versions' sessions are resumed now.
    pub fn resumed(&self) -> Vec<&'static str> {
        let kept = self.sessions.iter().filter(|(_, file)| file.exists());
        let resumed = kept.filter(|(version, file)| {
            self.connect(version, &format!("-sess_in {}", file.display())).contains("Reused, TLS")
        });
        tokio::task::block_in_place(|| resumed.map(|(version, _)| *version).collect())
    }

    /// Waits until none of them is worth anything.
    pub fn are_forgotten(&self) {
        until("sessions of before are forgotten", || self.resumed().is_empty().then_some(()));
    }
}
