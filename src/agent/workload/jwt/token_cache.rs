//! Tokens that were fetched, one for each set of audiences, until half of their life.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::agent::connect::session_connection::ServerCalls;
use crate::agent::enroll::requests::REFUSAL_CHARS_MAX;
use crate::clock;
use crate::domain::printable::printable;
use crate::grpc::proto::{SignJwtRequest, SignJwtResponse};

/// Sets of audiences of which a token is kept.
const SETS_MAX: usize = 256;
/// Audiences of one token, and characters of each: what servers take.
const AUDIENCES_MAX: usize = 8;
const AUDIENCE_CHARS_MAX: usize = 256;
/// Longest token that is taken from the server, in octets.
const TOKEN_OCTETS_MAX: usize = 16 * 1024;
/// How long the server may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long those who have waited are told of a failure without another try.
const FAILURE_SHARED: Duration = Duration::from_secs(1);
/// A token that has less than this left is given to nobody.
const USEFUL: SignedDuration = SignedDuration::from_secs(2);

/// One token for each set. Who asks for one that is being fetched waits for it.
#[derive(Debug)]
pub(crate) struct TokenCache {
    calls: ServerCalls,
    kept: Mutex<HashMap<BTreeSet<String>, Arc<Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    token: Option<FetchedToken>,
    /// How the last try failed, and when.
    failure: Option<(Instant, Status)>,
}

/// A token as the server gave it.
#[derive(Clone)]
pub(crate) struct FetchedToken {
    pub token: String,
    /// By the server's clock.
    expires: Timestamp,
    /// Until then it is kept.
    fresh_until: Timestamp,
}

impl std::fmt::Debug for FetchedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchedToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl TokenCache {
    pub(crate) fn new(calls: ServerCalls) -> Self {
        Self { calls, kept: Mutex::default() }
    }

    /// A token for these audiences, and whether it was fetched just now. `now` is asked for the time by the server's clock, again
    /// after each wait.
    pub(crate) async fn token(
        &self,
        audience: Vec<String>,
        now: impl Fn() -> Timestamp,
    ) -> Result<(FetchedToken, bool), Status> {
        judge(&audience)?;
        let entry = self.entry(audience.iter().cloned().collect(), now());
        let mut slot = entry.slot.lock().await;
        if let Some(token) = slot.token.as_ref().filter(|token| now() < token.fresh_until) {
            return Ok((token.clone(), false));
        }
        let failed = slot.failure.take_if(|(at, _)| at.elapsed() >= FAILURE_SHARED);
        drop(failed);
        let fetched = match &slot.failure {
            // Whoever has waited for somebody else's try needs none of its own.
            Some((_, status)) => Err(status.clone()),
            None => self.fetch(audience, &now).await,
        };
        match fetched {
            Ok(token) => {
                *slot = Slot { token: Some(token.clone()), failure: None };
                Ok((token, true))
            }
            Err(status) => {
                slot.failure.get_or_insert_with(|| (clock::monotonic(), status.clone()));
                if status.code() != Code::Unavailable {
                    slot.token = None;
                }
                match &slot.token {
                    // Better an old one than none, while it is good.
                    Some(token) if token.expires.duration_since(now()) > USEFUL => Ok((token.clone(), false)),
                    _ => Err(status),
                }
            }
        }
    }

    fn entry(&self, set: BTreeSet<String>, now: Timestamp) -> Arc<Entry> {
        let mut kept = self.kept.lock();
        if !kept.contains_key(&set) && kept.len() >= SETS_MAX {
            // What nobody is using and is good no more goes; else the one that is over soonest.
            let ends = |entry: &Entry| {
                let slot = entry.slot.try_lock().ok()?;
                Some(slot.token.as_ref().map_or(Timestamp::MIN, |token| token.fresh_until))
            };
            kept.retain(|_, entry| ends(entry).is_none_or(|end| end > now));
            if kept.len() >= SETS_MAX {
                let soonest = kept.iter().filter_map(|(set, entry)| Some((ends(entry)?, set)));
                if let Some(set) = soonest.min().map(|(_, set)| set.clone()) {
                    kept.remove(&set);
                }
            }
        }
        let full = kept.len() >= SETS_MAX;
        match kept.get(&set) {
            Some(entry) => Arc::clone(entry),
            // All of them are being fetched: this one is not kept.
            None if full => Arc::default(),
            None => Arc::clone(kept.entry(set).or_default()),
        }
    }

    async fn fetch(
        &self,
        audience: Vec<String>,
        now: impl Fn() -> Timestamp,
    ) -> Result<FetchedToken, Status> {
        let away =
            "there is no session with the server; look at the agent's log, and that the server is running";
        let mut client = self.calls.client().ok_or_else(|| Status::unavailable(away))?;
        let request = SignJwtRequest { audience, ttl_seconds: 0 };
        let answer = timeout(ANSWER_WITHIN, client.sign_jwt(request)).await;
        let answer =
            answer.map_err(|_| Status::unavailable("the server did not answer in time; try again"))?;
        let SignJwtResponse { svid: token, expires_at_ms } =
            answer.map_err(|status| told(&status))?.into_inner();
        let (expires, now) = (Timestamp::from_millisecond(expires_at_ms).ok(), now());
        let expires = expires.filter(|expires| *expires > now && token.len() <= TOKEN_OCTETS_MAX);
        let expires = expires.ok_or_else(|| {
            Status::unavailable("the server gave a token that is of no use; compare the clocks")
        })?;
        let half = expires.duration_since(now) / 2;
        let fresh_until = now.saturating_add(half).unwrap_or(expires);
        Ok(FetchedToken { token, expires, fresh_until })
    }
}

fn judge(audience: &[String]) -> Result<(), Status> {
    if !(1..=AUDIENCES_MAX).contains(&audience.len()) {
        return Err(Status::invalid_argument("a JWT-SVID is for 1 to 8 audiences"));
    }
    let plain = |text: &String| {
        (1..=AUDIENCE_CHARS_MAX).contains(&text.chars().count()) && !text.contains(char::is_control)
    };
    if audience.iter().all(plain) {
        return Ok(());
    }
    Err(Status::invalid_argument("an audience has 1 to 256 characters, none of them a control character"))
}

/// What the server said, for a program that knows the agent alone.
fn told(status: &Status) -> Status {
    let said = printable(status.message(), REFUSAL_CHARS_MAX);
    match status.code() {
        Code::Unimplemented => {
            Status::unimplemented("the server is older than this agent and signs no JWT-SVIDs")
        }
        code @ (Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted) => Status::new(code, said),
        _ => Status::unavailable(format!("the server gave no JWT-SVID: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn sets_of_audiences_are_bounded_and_those_that_are_over_soonest_go() {
        let cache = TokenCache::new(ServerCalls::default());
        for number in 0..2 * SETS_MAX {
            let entry = cache.entry([number.to_string()].into(), at(0));
            let fresh_until = at(1000 + i64::try_from(number).unwrap());
            let token = FetchedToken { token: String::new(), expires: fresh_until, fresh_until };
            entry.slot.lock().await.token = Some(token);
        }
        assert_eq!(cache.kept.lock().len(), SETS_MAX);
        assert!(cache.kept.lock().contains_key(&BTreeSet::from([(2 * SETS_MAX - 1).to_string()])));
        assert!(!cache.kept.lock().contains_key(&BTreeSet::from(["0".to_owned()])));
        cache.entry(["new".to_owned()].into(), at(5000));
        assert_eq!(cache.kept.lock().len(), 1, "all others are over");
    }

    #[tokio::test]
    async fn audiences_are_judged_before_the_server_is_asked() {
        let cache = TokenCache::new(ServerCalls::default());
        let long = "x".repeat(257);
        for (audience, code) in [
            (vec![], Code::InvalidArgument),
            (vec![""], Code::InvalidArgument),
            (vec!["a\n"], Code::InvalidArgument),
            (vec![long.as_str()], Code::InvalidArgument),
            (vec!["a"; 9], Code::InvalidArgument),
            (vec!["a"; 8], Code::Unavailable),
        ] {
            let audience: Vec<String> = audience.into_iter().map(str::to_owned).collect();
            assert_eq!(cache.token(audience, || at(0)).await.unwrap_err().code(), code);
        }
    }

    #[tokio::test]
    async fn who_has_waited_is_told_of_the_failure_and_given_nothing_that_has_expired_meanwhile() {
        let cache = Arc::new(TokenCache::new(ServerCalls::default()));
        let entry = cache.entry(["a".to_owned()].into(), at(0));
        let mut slot = entry.slot.lock().await;
        let time = Arc::new(Mutex::new(at(0)));
        let ask = || {
            let (cache, time) = (Arc::clone(&cache), Arc::clone(&time));
            tokio::spawn(async move { cache.token(vec!["a".to_owned()], || *time.lock()).await })
        };
        let waiting = ask();
        tokio::task::yield_now().await;
        // While it waits the server says no to another one, and the token runs out.
        slot.token = Some(FetchedToken { token: String::new(), expires: at(60), fresh_until: at(30) });
        slot.failure = Some((clock::monotonic(), Status::unavailable("it hangs")));
        *time.lock() = at(59);
        drop(slot);
        assert_eq!(waiting.await.unwrap().unwrap_err().message(), "it hangs");
        *time.lock() = at(40);
        assert!(ask().await.unwrap().is_ok(), "an old one is better than none");
    }
}
