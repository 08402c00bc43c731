//! Watches what the server tells of trust, beside a session and on its connection, for as long as somebody wants it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use crate::agent::enroll::requests::REFUSAL_CHARS_MAX;
use crate::agent::run::backoff::Backoff;
use crate::agent::trust::shared::{SharedTrust, TrustWanted};
use crate::agent::trust::state::Applied;
use crate::agent::trust::update::{TrustUpdateError, UpdateReader};
use crate::clock;
use crate::domain::printable::printable;
use crate::grpc::proto::agent_service_client::AgentServiceClient;
use crate::grpc::proto::{TrustUpdate, WatchTrustRequest};

/// Largest message that is read: one revocation list, if there are very many entries, and the rest of a piece.
const MESSAGE_BYTES_MAX: usize = 66 << 20;
/// How long the server may take to answer the call.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The server says something every 30 seconds; after so long it is asked again.
const SILENCE_MAX: Duration = Duration::from_secs(95);
/// The waits after a watch that failed.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long lists are still asked for that nobody wants any more: many programs ask and go.
const LISTS_LINGER: Duration = Duration::from_secs(60);

const OLDER_SERVER: &str = "the server is of a version that tells no trust updates; update it";

/// Why a watch ended.
enum Left {
    /// Something else is wanted now.
    Otherwise,
    /// The server does not know such watches.
    Unknown,
    Broken(String),
    /// What the server told can't be used.
    Unusable(TrustUpdateError),
}

/// Watches for as long as it is polled.
pub(crate) async fn watch(trust: &SharedTrust, client: AgentServiceClient<Channel>) -> Infallible {
    let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut wanted = trust.wanted();
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut anew = false;
    loop {
        // The sender lives as long as `trust`.
        let lists = wanted.wait_for(|wanted| wanted.any()).await.is_ok_and(|wanted| wanted.lists());
        let request = request(trust, std::mem::take(&mut anew), lists);
        match follow(trust, &mut client, &mut wanted, request, &mut backoff).await {
            Left::Otherwise => continue,
            Left::Unknown => {
                info!(reason = OLDER_SERVER, "no trust updates");
                trust.set_trouble(Some(OLDER_SERVER.to_owned()));
                return std::future::pending().await;
            }
            Left::Broken(reason) => debug!(reason, "a watch of trust ended"),
            Left::Unusable(error) => {
                let what = format!("a trust update of the server can't be used: {error}");
                warn!(reason = what, "what was known stays in force");
                trust.set_trouble(Some(what));
                anew = true;
            }
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

fn request(trust: &SharedTrust, anew: bool, lists: bool) -> WatchTrustRequest {
    let has = if anew { None } else { trust.resume() };
    let (epoch, version) = has.unwrap_or_default();
    WatchTrustRequest { epoch, version, lists }
}

async fn follow(
    trust: &SharedTrust,
    client: &mut AgentServiceClient<Channel>,
    wanted: &mut watch::Receiver<TrustWanted>,
    request: WatchTrustRequest,
    backoff: &mut Backoff,
) -> Left {
    let with_lists = request.lists;
    let mut updates = match timeout(ANSWER_WITHIN, client.watch_trust(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return left(&status),
        Err(_) => return Left::Broken("no answer in time".to_owned()),
    };
    let _watching = trust.watching();
    let mut reader = UpdateReader::default();
    let mut unwanted_since = None;
    loop {
        let linger = unwanted_since.map(|since| since + LISTS_LINGER);
        tokio::select! {
            message = timeout(SILENCE_MAX, updates.message()) => match message {
                Ok(Ok(Some(update))) => match take(trust, &mut reader, update) {
                    Ok(()) => backoff.reset(),
                    Err(error) => return Left::Unusable(error),
                },
                Ok(Ok(None)) => return Left::Broken("the server ended it".to_owned()),
                Ok(Err(status)) => return left(&status),
                Err(_) => return Left::Broken("the server has fallen silent".to_owned()),
            },
            _ = wanted.changed() => {
                let wanted = *wanted.borrow_and_update();
                if !wanted.any() || wanted.lists() && !with_lists {
                    return ended(updates);
                }
                let unwanted = with_lists && !wanted.lists();
                unwanted_since = unwanted.then(|| unwanted_since.unwrap_or_else(clock::timer));
            }
            () = sleep_until(linger.unwrap_or_else(clock::timer)), if linger.is_some() => return ended(updates),
        }
    }
}

/// The server must see this one end before the next begins, so it is dropped here.
fn ended(updates: Streaming<TrustUpdate>) -> Left {
    drop(updates);
    Left::Otherwise
}

fn take(trust: &SharedTrust, reader: &mut UpdateReader, update: TrustUpdate) -> Result<(), TrustUpdateError> {
    let Some(whole) = reader.take(update)? else { return Ok(()) };
    let (snapshot, version, denied) = (whole.snapshot, whole.version, whole.denied.len());
    let applied = trust.apply(whole)?;
    trust.set_trouble(None);
    if applied == Applied::Changed {
        info!(snapshot, version, denied, "the server has told a change of trust");
    }
    Ok(())
}

fn left(status: &Status) -> Left {
    match status.code() {
        Code::Unimplemented => Left::Unknown,
        code => Left::Broken(printable(&format!("{code:?}: {}", status.message()), REFUSAL_CHARS_MAX)),
    }
}
