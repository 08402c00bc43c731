//! The supervisor's end of systemd's notification protocol.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::wait::PATIENCE;

/// A socket that a service under test reports to.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl NotifySocket {
    pub fn new(room: &Path) -> Self {
        let path = room.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    /// What goes into `NOTIFY_SOCKET`.
    pub fn address(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Waits until the service reports `state`.
    pub fn wait_for(&self, state: &str) {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|e| panic!("no {state}: {e}"));
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == state) {
                return;
            }
        }
    }
}
