//! Waiting for conditions. Nothing in these tests sleeps and hopes.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// What a healthy machine needs a fraction of, and a busy one may need.
pub const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer; fails the test after [`PATIENCE`].
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// The same for what takes waiting to ask.
pub async fn until_answered<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until a moment that the server has announced, such as an expiry, is past. Certificates are good through
/// their last second, so "past" is a second later.
pub async fn until_past(rfc3339: &str) {
    let moment: Timestamp = rfc3339.parse().unwrap_or_else(|e| panic!("{rfc3339}: {e}"));
    let left = moment.duration_since(Timestamp::now()).as_secs_f64() + 1.05;
    if left > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(left)).await;
    }
}
