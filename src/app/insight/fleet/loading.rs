//! How a fleet comes into memory while the server serves already.
//!
//! Hosts are read in parts, each from a short snapshot. What the writer tells meanwhile is newer than what was read, and a host
//! that somebody asks for by its id is read for itself. Whoever needs all of them waits.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::app::Unavailable;
use crate::app::insight::fleet::Fleet;
use crate::domain::host::Host;
use crate::domain::ids::HostId;
use crate::store::{ReadError, StoreReader};

/// Hosts that are read from one snapshot, and taken in together.
const PART: usize = 1_000;
/// How long a question about all hosts waits for them.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Whether all hosts are there.
#[derive(Debug)]
pub(crate) struct Loading {
    /// Reads single hosts that are not there yet; `None` where no store is behind the fleet.
    pub(crate) reader: Option<StoreReader>,
    whole: AtomicBool,
    waiting: Mutex<()>,
    told: Condvar,
}

impl Loading {
    pub(crate) fn from(reader: StoreReader) -> Self {
        Self { reader: Some(reader), whole: false.into(), waiting: Mutex::default(), told: Condvar::new() }
    }

    /// A fleet that no store knows is all there is.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        Self { reader: None, whole: true.into(), waiting: Mutex::default(), told: Condvar::new() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Called while the rows are held: what is removed afterwards need not be remembered.
    fn done(&self) {
        let _waiting = self.waiting.lock();
        self.whole.store(true, Ordering::Release);
        self.told.notify_all();
    }
}

impl Fleet {
    /// Waits until all hosts are there; a while, and then who asks is told to ask again. Blocking.
    pub(crate) fn wait_until_whole(&self) -> Result<(), Unavailable> {
        if !self.loading.is_done() {
            let mut waiting = self.loading.waiting.lock();
            self.loading.told.wait_while_for(&mut waiting, |()| !self.loading.is_done(), PATIENCE);
        }
        if self.loading.is_done() { Ok(()) } else { Err(Unavailable::Busy) }
    }

    /// Whether all hosts are there.
    pub(crate) fn is_whole(&self) -> bool {
        self.loading.is_done()
    }

    /// Takes one host in, if it is not there because its turn has not come.
    pub(crate) fn meet_early(&self, id: HostId) {
        if self.loading.is_done() || self.rows.read().tenants.contains_key(&id) {
            return;
        }
        let Some(reader) = &self.loading.reader else { return };
        match reader.read(|view| view.any_tenant().host(id)) {
            Ok(host) => self.take_in(host),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, host = %id, "a host cannot be read");
            }
        }
    }

    /// Takes in hosts as they were in the store a moment ago.
    fn take_in(&self, hosts: impl IntoIterator<Item = Host>) {
        let mut rows = self.rows.write();
        for host in hosts {
            if !rows.tenants.contains_key(&host.id) && !rows.gone.contains(&host.id) {
                rows.put(host);
            }
        }
    }

    /// Reads the next hosts; the last of them, while there may be more.
    fn read_part(&self, after: Option<HostId>) -> Result<Option<HostId>, ReadError> {
        let Some(reader) = &self.loading.reader else { return Ok(None) };
        let mut part = Vec::with_capacity(PART);
        reader.read(|view| {
            view.all_hosts(after, |host| {
                part.push(host);
                if part.len() < PART { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        })?;
        let last = part.last().map(|host| host.id).filter(|_| part.len() == PART);
        self.take_in(part);
        if last.is_none() {
            let mut rows = self.rows.write();
            rows.gone = std::collections::HashSet::new();
            self.loading.done();
        }
        Ok(last)
    }

    /// Reads all hosts before anything else is done.
    pub(crate) fn load(&self) -> Result<(), ReadError> {
        let mut after = None;
        while let Some(last) = self.read_part(after)? {
            after = Some(last);
        }
        Ok(())
    }

    /// Reads all hosts behind what else is done, as long as anybody has the fleet.
    pub(crate) fn load_behind(fleet: &Arc<Self>) -> std::io::Result<()> {
        let fleet = Arc::downgrade(fleet);
        std::thread::Builder::new().name("fleet".to_owned()).spawn(move || read_on(&fleet)).map(drop)
    }
}

fn read_on(fleet: &Weak<Fleet>) {
    let mut after = None;
    while let Some(held) = fleet.upgrade() {
        match held.read_part(after) {
            Ok(None) => return,
            Ok(last) => after = last,
            Err(error) => {
                drop(held);
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "not all hosts can be read, so nobody can list them; it will be tried again"
                );
                std::thread::sleep(AGAIN_AFTER);
            }
        }
    }
}
