//! A relay on the way to a server: it counts who comes, keeps answers back, cuts connections, and lets nobody through.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Runs until the tests end.
#[derive(Debug, Clone)]
pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    leads_to: Option<String>,
    is_shut: bool,
    came: usize,
    keeps_answers: bool,
    /// Both ends of every connection that was let through.
    open: Vec<TcpStream>,
}

impl Relay {
    /// Where it leads to is told later, so that a server can be told the relay's address first.
    pub fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Self { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let accepting = relay.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let relay = accepting.clone();
                std::thread::spawn(move || relay.pass_on(client.unwrap()));
            }
        });
        relay
    }

    pub fn lead_to(&self, address: &str) {
        self.shared.state.lock().leads_to = Some(address.to_owned());
    }

    /// From now on nobody is let through.
    pub fn shut(&self) {
        let mut state = self.shared.state.lock();
        (state.is_shut, state.came) = (true, 0);
    }

    /// How many have come since it was opened, or shut.
    pub fn came(&self) -> usize {
        self.shared.state.lock().came
    }

    /// What the server says stays here.
    pub fn keep_answers(&self) {
        self.shared.state.lock().keeps_answers = true;
    }

    /// Ends every connection, with the answers that were kept; new ones are let through whole.
    pub fn cut(&self) {
        let mut state = self.shared.state.lock();
        state.open.drain(..).for_each(|end| drop(end.shutdown(Shutdown::Both)));
        state.keeps_answers = false;
        self.shared.changed.notify_all();
    }

    fn pass_on(&self, client: TcpStream) {
        let server = {
            let mut state = self.shared.state.lock();
            state.came += 1;
            let Some(address) = state.leads_to.clone().filter(|_| !state.is_shut) else { return };
            let Ok(server) = TcpStream::connect(address) else { return };
            state.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
            server
        };
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let asking = std::thread::spawn(move || copy(from, to, || {}));
        copy(server, client, || {
            let mut state = self.shared.state.lock();
            while state.keeps_answers {
                self.shared.changed.wait(&mut state);
            }
        });
        asking.join().unwrap();
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, wait: impl Fn()) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        wait();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
