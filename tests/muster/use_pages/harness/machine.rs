//! The machine of the pages of proxies: an agent, and a port behind which the application waits.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::attack;
use super::backend::{Backend, WELCOME};
use super::beside::an_agent_moves_in;
use super::cast::Cast;
use super::door::Door;
use super::entrance::{Entrance, Outcome};
use super::outputs;
use super::page::{Block, Page};
use super::stage::Stage;
use crate::support::ports::free_port;
use crate::support::wait::until_answered;

/// The group of whoever runs the tests, who may give files to no other.
pub fn own_group() -> String {
    format!("group: \"{}\"\n", rustix::process::getgid().as_raw())
}

pub struct Machine {
    pub stage: Stage,
    /// Where agents are let in, `app.example.org:443` on the pages.
    pub door: Door,
    /// Where programs of this machine call as its agent, `127.0.0.1:8081` on the pages.
    pub calls: u16,
}

impl Machine {
    pub async fn new(cast: &Cast, backend: &Backend) -> Self {
        let stage = Stage::new();
        let (door, calls) = (Door::on(&stage), free_port());
        cast.appears_on(&stage);
        stage.say("127.0.0.1:8080", format!("127.0.0.1:{}", backend.port));
        stage.say("127.0.0.1:8081", format!("127.0.0.1:{calls}"));
        stage.say("127.0.0.1:944", format!("127.0.0.1:{}", free_port()));
        for group in ["www-data", "caddy", "envoy"] {
            stage.say(
                &format!("group: {group}\n"),
                format!("group: \"{}\"\n", rustix::process::getgid().as_raw()),
            );
        }
        an_agent_moves_in(&stage, cast).await;
        outputs::can_be_kept(&stage);
        Self { stage, door, calls }
    }

    /// Does what blocks of a page say, in order.
    #[track_caller]
    pub fn play_blocks(&self, page: &Page, blocks: &[Block]) {
        tokio::task::block_in_place(|| {
            for block in blocks {
                self.stage.play(page, block);
            }
        });
    }

    /// Does what parts of a page say, in order.
    #[track_caller]
    pub fn play(&self, page: &Page, headings: &[&str]) {
        tokio::task::block_in_place(|| {
            for heading in headings {
                self.stage.play_part(page, heading);
            }
        });
    }

    /// Live agents of our tenant come in, nobody else does, and nobody by what clients write into headers. Whether the
    /// program speaks HTTP/2.
    pub async fn lets_in_live_agents_alone(&self, cast: &Cast, backend: &Backend) -> bool {
        self.door.opens_for(&cast.good).await;
        self.door.lets_in(&[&cast.good, &cast.later, &cast.good]).await;
        self.door.keeps_out(&cast.outsiders()).await;
        attack::nobody_comes_in_by_a_header(cast, &self.door, backend).await;
        attack::the_application_hears_the_proxy_alone(cast, &self.door, backend).await
    }

    /// Where the agent is asked: a revocation holds for connections and sessions of before, nothing having been reloaded, and
    /// where nobody answers nobody comes in.
    pub async fn asks_about_each_request(&self, cast: &Cast) {
        let returning = self.door.caller(&cast.sooner);
        let mut standing = returning.connect().await.unwrap();
        assert!(standing.ask(&[]).await.is_let_in());
        assert!(returning.knock(&[]).await.0.is_let_in());
        cast.revoke("web-4").await;
        self.door.shuts_for(&cast.sooner).await;
        assert_eq!(standing.ask(&[]).await, Outcome::Refused(403));
        assert!(!returning.knock(&[]).await.0.is_let_in());
        self.door.lets_in(&[&cast.good]).await;
        let unit = |verb: &str| {
            tokio::task::block_in_place(|| self.stage.units.obey(&format!("{verb} muster-agent"))).unwrap();
        };
        unit("stop");
        self.door.keeps_out(&[&cast.good, &cast.nobody, &cast.revoked]).await;
        unit("start");
        self.door.opens_for(&cast.good).await;
    }

    /// Where lists are read: a revocation holds for sessions of before.
    pub async fn takes_in_lists(&self, cast: &Cast, page: &Page) {
        let returning = self.door.caller(&cast.later);
        assert!(returning.knock(&[]).await.0.is_let_in());
        self.play(page, &["After a revocation"]);
        self.door.shuts_for(&cast.later).await;
        returning.is_shut_out().await;
        self.door.lets_in(&[&cast.good]).await;
    }

    /// Waits until programs of this machine reach the application as its agent.
    pub async fn calls_as_the_agent(&self) {
        until_answered("a call as the agent", async || (self.call().await == 200).then_some(())).await;
    }

    /// A program of this machine asks for the application through the proxy that calls as the agent: the status.
    pub async fn call(&self) -> u16 {
        let asked = async {
            let mut tcp = TcpStream::connect(("127.0.0.1", self.calls)).await?;
            tcp.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).await.map(|_| answer)
        };
        let answer = asked.await.unwrap_or_default();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        assert!(status != 200 || answer.contains(WELCOME), "{answer}");
        status
    }
}
