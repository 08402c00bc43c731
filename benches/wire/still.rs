//! Watchers of trust that hear when it is not being measured. In a real fleet they are other machines; here they share the
//! server's processor, so they read what they were told after each revocation, when its times have been taken.

use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use muster::grpc::proto::agent_service_client::AgentServiceClient;
use muster::grpc::proto::{TrustUpdate, WatchTrustRequest};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::load::dial::Dial;

/// How many connect at the same time.
const CONNECTING: usize = 64;
/// How long the last of them may take to hear.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct StillWatchers {
    /// Nothing of it runs but while they catch up. It is there until the end.
    runtime: Option<Runtime>,
    watches: Vec<Watch>,
    /// How many say that relying parties ask them: the server tells those first.
    asked: usize,
    /// Serials that each of them must have been told of.
    denied: usize,
}

#[derive(Debug)]
struct Watch {
    updates: Streaming<TrustUpdate>,
    denied: usize,
    client: AgentServiceClient<Channel>,
}

impl StillWatchers {
    pub fn start(dials: Vec<Dial>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
        let watches = runtime.block_on(async {
            let (mut connecting, mut watches) = (JoinSet::new(), Vec::new());
            for dial in dials {
                if connecting.len() >= CONNECTING {
                    watches.extend(connecting.join_next().await);
                }
                connecting.spawn(Watch::open(dial));
            }
            while let Some(watch) = connecting.join_next().await {
                watches.push(watch);
            }
            watches.into_iter().map(|watch| watch.expect("it does not panic")).collect()
        });
        Self { runtime: Some(runtime), watches, asked: 0, denied: 0 }
    }

    pub fn count(&self) -> usize {
        self.watches.len()
    }

    /// So many, spread among them, watch anew and say that relying parties ask them; the others say that nobody does.
    pub fn ask(&mut self, asked: usize) {
        let (count, watches) = (self.watches.len(), &mut self.watches);
        let anew = async |(place, watch): (usize, &mut Watch)| {
            watch.anew((place + 1) * asked / count > place * asked / count).await;
        };
        let anew = stream::iter(watches.iter_mut().enumerate()).for_each_concurrent(CONNECTING, anew);
        self.runtime.as_ref().expect("it is there").block_on(anew);
        (self.asked, self.denied) = (asked, 0);
    }

    /// Everybody hears of so many more revocations.
    pub fn catch_up(&mut self, revocations: usize) {
        self.denied += revocations;
        let (denied, watches) = (self.denied, &mut self.watches);
        let hear = async {
            for watch in watches {
                watch.hear(denied).await;
            }
        };
        let runtime = self.runtime.as_ref().expect("it is there");
        let heard = runtime.block_on(async { timeout(PATIENCE, hear).await });
        heard.expect("every watcher hears of it");
    }
}

impl Drop for StillWatchers {
    fn drop(&mut self) {
        self.watches.clear();
        // To wait for its end is forbidden on a runtime's thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Display for StillWatchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} other watchers, {} of them asked, too", self.count(), self.asked)
    }
}

/// A watch that has heard its snapshot; `answers`: relying parties ask whoever watches.
async fn follow(client: &mut AgentServiceClient<Channel>, answers: bool) -> Streaming<TrustUpdate> {
    let request = WatchTrustRequest { answers, ..WatchTrustRequest::default() };
    let mut updates = client.watch_trust(request).await.expect("a watch").into_inner();
    while updates.message().await.expect("an open watch").expect("a snapshot").more {}
    updates
}

impl Watch {
    async fn open(dial: Dial) -> Self {
        let mut client = dial.connect().await;
        let updates = follow(&mut client, false).await;
        Self { updates, denied: 0, client }
    }

    /// In place of the watch before: there is one at a time.
    async fn anew(&mut self, answers: bool) {
        self.updates = follow(&mut self.client, answers).await;
        self.denied = 0;
    }

    async fn hear(&mut self, denied: usize) {
        while self.denied < denied {
            let update = self.updates.message().await.expect("an open watch").expect("an update");
            self.denied += update.denied.len();
        }
        assert_eq!(self.denied, denied, "nobody else was revoked");
    }
}
