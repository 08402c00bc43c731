//! Ports for programs that must be told one before they listen, or that listen on the same one again later.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Below it are the services that a machine may have.
const LOWEST: u16 = 10_000;

/// The first port that the system hands out by itself (`ip_local_port_range`), to listeners on port 0 and to whoever
/// connects. What is taken from there may be somebody else's by the time a program listens on it.
static HANDED_OUT_FROM: LazyLock<u16> = LazyLock::new(|| {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    first.filter(|first| *first > LOWEST + 5_000).unwrap_or(32_768)
});

/// Begins anywhere: other runs of the tests may be there, too.
static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(()) >> 1));

/// A port of 127.0.0.1 that nobody else in these tests is given, and nobody by the system.
pub fn free_port() -> u16 {
    loop {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = LOWEST + u16::try_from(nth % u64::from(*HANDED_OUT_FROM - LOWEST)).unwrap();
        // Who listens to find out is heard for a while: a process that another test is just starting has the socket, too,
        // until it becomes its program.
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}
