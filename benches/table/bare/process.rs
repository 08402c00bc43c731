//! `bare` as the child process that it is: started in a new directory on a real disk, ended with this value.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::bare::issuer::CA_FILE;
use crate::load::device::Device;
use crate::load::https::Https;

/// A running server.
#[derive(Debug)]
pub struct Bare {
    child: Child,
    room: tempfile::TempDir,
    address: SocketAddr,
}

impl Bare {
    pub fn start() -> Self {
        let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a real disk");
        let program = std::env::current_exe().expect("it is known");
        let mut command = Command::new(program);
        command.arg("--bare").arg(room.path()).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a server");
        let mut hello = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut hello).expect("its first line");
        let address = hello.trim().parse().expect("an address");
        Self { child, room, address }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What connects to it.
    pub fn door(&self) -> Https {
        let ca = std::fs::read_to_string(self.room.path().join(CA_FILE)).expect("its CA");
        Https::new(self.address, &ca)
    }

    /// What its store lies on.
    pub fn device(&self) -> Device {
        Device::of(self.room.path())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
