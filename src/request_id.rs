//! Which request something is done for: whoever was refused names it, and the log has it in every line that comes of it.
//!
//! The server makes it. One that a client sends is not taken over: whatever stands in a header would stand in the log.

use std::fmt;
use std::future::Future;

use aws_lc_rs::rand;
use tokio::task_local;

/// A name for one request, which says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 8]);

task_local! {
    static CURRENT: RequestId;
}

impl RequestId {
    /// Another one than all before.
    pub fn fresh() -> Self {
        let mut octets = [0; 8];
        // Without randomness nothing else is answered either; then all have one name.
        let _ = rand::fill(&mut octets);
        Self(octets)
    }

    /// Of the request that is being answered here, if it is one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| *current).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Work that is done for a request.
pub async fn done_for<T>(request: Option<RequestId>, work: impl Future<Output = T>) -> T {
    match request {
        Some(request) => CURRENT.scope(request, work).await,
        None => work.await,
    }
}

/// The same on a thread of its own.
pub fn run_for<T>(request: Option<RequestId>, work: impl FnOnce() -> T) -> T {
    match request {
        Some(request) => CURRENT.sync_scope(request, work),
        None => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_elsewhere_belongs_to_its_request() {
        assert_eq!(RequestId::current(), None);
        let one = RequestId::fresh();
        assert_ne!(one, RequestId::fresh());
        let carried = done_for(Some(one), async {
            let request = RequestId::current();
            std::thread::spawn(move || run_for(request, RequestId::current)).join().unwrap()
        });
        assert_eq!(carried.await, Some(one));
        assert_eq!(RequestId::current(), None);
    }
}
