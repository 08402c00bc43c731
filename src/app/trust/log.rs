//! The trust log: what decides whether an agent is let in, in memory, with what has changed since its follower last looked.
//!
//! The store's writer feeds it with each commit, after the deny list and before anybody is answered. So whoever was told that
//! somebody is revoked can count on it that watchers are being told, too.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::domain::identity::deny::{AgentRef, DenyChange};
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::identity::trust_version::{TrustEpoch, TrustVersion};
use crate::store::{Published, ReadError, View};

/// How long past its end a denied serial is still told: the clocks of relying parties may be a little behind.
pub(crate) const TOLD_PAST_END: SignedDuration = SignedDuration::from_hours(1);

/// How far it is judged by moments that are later than the one on disk.
const JUDGED_ON_DISK_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// Most serials that wait for the follower. Beyond that it takes everything anew.
const NEWS_MAX: usize = 4_096;

/// The certificates under which agents are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// What every SPIFFE ID begins with.
    pub trust_domain: TrustDomain,
    /// DER; the trust anchors.
    pub roots: Vec<Vec<u8>>,
    /// DER.
    pub intermediates: Vec<Vec<u8>>,
}

impl From<&Hierarchy> for TrustBundle {
    fn from(hierarchy: &Hierarchy) -> Self {
        let intermediates = hierarchy.believed();
        Self {
            trust_domain: hierarchy.trust_domain.clone(),
            roots: hierarchy.roots.clone(),
            intermediates: intermediates.map(|intermediate| intermediate.certificate.clone()).collect(),
        }
    }
}

/// A certificate that is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedCertificate {
    /// Its number.
    pub serial: Serial,
    /// Its last second.
    pub until: Timestamp,
    /// Whose it is, if it is on record. For that tenant alone.
    pub holder: Option<AgentRef>,
}

/// Everything, as of a version.
#[derive(Debug, Clone)]
pub struct TrustSnapshot {
    /// Which.
    pub version: TrustVersion,
    /// `None` before there is an agent CA.
    pub bundle: Option<Arc<TrustBundle>>,
    /// Those whose certificates have not ended for long.
    pub denied: Vec<DeniedCertificate>,
    /// None where no restore epoch lasts.
    pub identities: DeniedIdentities,
}

/// Whose certificates are denied although nobody knows their serials: those on no record, while a restore epoch lasts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeniedIdentities {
    /// With every certificate.
    pub denied: Vec<AgentRef>,
    /// With those that were made before a moment.
    pub barred: Vec<(AgentRef, Timestamp)>,
}

impl DeniedIdentities {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.denied.len() + self.barred.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What has changed since the follower last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustNews {
    /// The version that it changes.
    pub from: u64,
    /// The version that it leads to.
    pub to: TrustVersion,
    /// Newly denied.
    pub denied: Vec<DeniedCertificate>,
    /// The same of identities, where a restore epoch is on record.
    pub identities: DeniedIdentities,
    /// Where it is another one now.
    pub bundle: Option<Arc<TrustBundle>>,
    /// This is not all of it: everything has to be taken anew.
    pub gap: bool,
}

/// Revocation lists, DER: the issuing intermediate's first, the roots' last.
pub type TrustLists = Arc<Vec<Vec<u8>>>;

/// See the module.
#[derive(Debug)]
pub struct TrustLog {
    held: RwLock<Held>,
    judged: Mutex<Judged>,
    /// Told after each change, of the lists, too.
    moved: watch::Sender<()>,
}

/// Moments by which it was judged what has ended.
#[derive(Debug)]
struct Judged {
    /// The latest that it can have been.
    latest: Timestamp,
    /// The latest that a restart knows of.
    on_disk: Timestamp,
}

#[derive(Debug)]
struct Held {
    version: TrustVersion,
    bundle: Option<Arc<TrustBundle>>,
    denied: HashMap<Serial, Known>,
    identities: HashSet<AgentRef>,
    barred: HashMap<AgentRef, Timestamp>,
    /// When the last restore epoch ends; `None`: there was none lately.
    epoch_until: Option<Timestamp>,
    /// `None` while nobody follows.
    news: Option<TrustNews>,
    /// Their number grows with each other ones.
    lists: (u64, TrustLists),
}

#[derive(Debug, Clone)]
struct Known {
    until: Timestamp,
    holder: Option<Arc<AgentRef>>,
}

impl Default for TrustLog {
    fn default() -> Self {
        let version = TrustVersion::first(TrustEpoch::from_bytes([0; 16]));
        Self::new(version, None, HashMap::new())
    }
}

impl TrustLog {
    fn new(version: TrustVersion, bundle: Option<Arc<TrustBundle>>, denied: HashMap<Serial, Known>) -> Self {
        let lists = (0, Arc::default());
        let held = Held {
            version,
            bundle,
            denied,
            identities: HashSet::new(),
            barred: HashMap::new(),
            epoch_until: None,
            news: None,
            lists,
        };
        let judged = Judged { latest: Timestamp::MIN, on_disk: Timestamp::MIN };
        Self { held: RwLock::new(held), judged: Mutex::new(judged), moved: watch::Sender::default() }
    }

    /// From a store.
    pub(crate) fn load(view: &View<'_>) -> Result<Self, ReadError> {
        let version = view.trust_version()?;
        let version = version.unwrap_or(TrustVersion::first(TrustEpoch::from_bytes([0; 16])));
        let bundle = view.hierarchy()?.as_ref().map(TrustBundle::from).map(Arc::new);
        let mut denied = HashMap::new();
        view.denied_certificates(|serial, until, holder| {
            denied.insert(serial, Known { until, holder: holder.map(Arc::new) });
        })?;
        let mut this = Self::new(version, bundle, denied);
        let held = this.held.get_mut();
        held.identities.extend(view.denied()?.into_iter().filter_map(|change| match change {
            DenyChange::Identity(identity) => Some(identity),
            _ => None,
        }));
        view.recovery_bars(|identity, bar| {
            held.barred.insert(identity, bar.told_before);
        })?;
        held.epoch_until = view.restore_epochs()?.iter().map(|epoch| epoch.until).max();
        if let Some(on_disk) = view.trust_judged_at()? {
            let latest = on_disk.saturating_add(JUDGED_ON_DISK_WITHIN).unwrap_or(Timestamp::MAX);
            *this.judged.get_mut() = Judged { latest, on_disk };
        }
        Ok(this)
    }

    /// Takes note of a moment by which it is judged what has ended; whether that has to be on disk before anybody is told by it.
    pub(crate) fn judge(&self, now: Timestamp) -> bool {
        let mut judged = self.judged.lock();
        judged.latest = judged.latest.max(now);
        now.duration_since(judged.on_disk) > JUDGED_ON_DISK_WITHIN
    }

    /// It is on disk.
    pub(crate) fn judged_on_disk(&self, at: Timestamp) {
        let mut judged = self.judged.lock();
        judged.on_disk = judged.on_disk.max(at);
    }

    /// Whether it was judged by a clock that was ahead of this moment, so that certificates may be good again that were taken to
    /// have ended. It may have been before a restart.
    pub fn clock_was_set_back(&self, now: Timestamp) -> bool {
        self.judged.lock().latest.duration_since(now) > TOLD_PAST_END
    }

    /// From now on it is judged by this clock.
    pub(crate) fn judge_anew(&self, now: Timestamp) {
        *self.judged.lock() = Judged { latest: now, on_disk: now };
    }

    /// Takes what a commit has changed. Called by the store's writer, so it is quick.
    pub(crate) fn publish(&self, published: &Published) {
        let concerns = published.trust.is_some()
            || published.whole
            || !published.deny.is_empty()
            || !published.bars.is_empty();
        if !concerns {
            return;
        }
        let mut held = self.held.write();
        if published.whole {
            held.replace(published);
        } else {
            held.apply(published);
        }
        drop(held);
        if published.trust.is_some() {
            self.moved.send_replace(());
        }
    }

    /// Takes revocation lists that were made, if they are other ones.
    pub fn put_lists(&self, lists: Vec<Vec<u8>>) {
        let mut held = self.held.write();
        if *held.lists.1 == lists {
            return;
        }
        held.lists = (held.lists.0 + 1, Arc::new(lists));
        drop(held);
        self.moved.send_replace(());
    }

    /// From now on what changes is kept for the caller, who is the only one; and hears of it.
    pub fn follow(&self) -> watch::Receiver<()> {
        let mut held = self.held.write();
        held.news = Some(TrustNews::none_since(held.version));
        drop(held);
        self.moved.subscribe()
    }

    /// What has changed since this was last asked; `None`: nothing.
    pub fn news(&self) -> Option<TrustNews> {
        let mut held = self.held.write();
        let since = TrustNews::none_since(held.version);
        let news = std::mem::replace(held.news.as_mut()?, since);
        (news.from != news.to.number || news.gap).then_some(news)
    }

    /// The newest version.
    pub fn version(&self) -> TrustVersion {
        self.held.read().version
    }

    /// The newest bundle; `None` before there is an agent CA.
    pub fn bundle(&self) -> Option<Arc<TrustBundle>> {
        self.held.read().bundle.clone()
    }

    /// The newest lists, and their number, which is zero while there are none.
    pub fn lists(&self) -> (u64, TrustLists) {
        self.held.read().lists.clone()
    }

    /// Everything, but for certificates that have ended for long.
    pub(crate) fn snapshot(&self, now: Timestamp) -> TrustSnapshot {
        let held = self.held.read();
        let ended = now.saturating_sub(TOLD_PAST_END).unwrap_or(Timestamp::MIN);
        let told = held.denied.iter().filter(|(_, known)| known.until >= ended);
        let denied = told.map(|(serial, known)| DeniedCertificate {
            serial: *serial,
            until: known.until,
            holder: known.holder.as_deref().cloned(),
        });
        let identities = if held.epoch_until.is_some_and(|until| now <= until) {
            let barred = held.barred.iter().map(|(identity, before)| (identity.clone(), *before));
            DeniedIdentities { denied: held.identities.iter().cloned().collect(), barred: barred.collect() }
        } else {
            DeniedIdentities::default()
        };
        TrustSnapshot {
            version: held.version,
            bundle: held.bundle.clone(),
            denied: denied.collect(),
            identities,
        }
    }
}

impl TrustNews {
    const fn none_since(version: TrustVersion) -> Self {
        let identities = DeniedIdentities { denied: Vec::new(), barred: Vec::new() };
        Self { from: version.number, to: version, denied: Vec::new(), identities, bundle: None, gap: false }
    }
}

impl Held {
    fn apply(&mut self, published: &Published) {
        let holders: HashMap<_, _> =
            published.holders.iter().map(|(serial, holder)| (serial, holder)).collect();
        for change in &published.deny {
            match change {
                DenyChange::Serial { serial, not_after } => {
                    let holder = holders.get(serial).copied().cloned();
                    self.deny(*serial, *not_after, holder);
                }
                DenyChange::Forget(serial) => {
                    self.denied.remove(serial);
                }
                // Relying parties are told serials, and those of an identity are denied with it. They stay denied when the
                // identity is let in again. Only while a restore epoch lasts there are others, and identities are told.
                DenyChange::Identity(identity) => {
                    self.identities.insert(identity.clone());
                    self.tell(|told| told.denied.push(identity.clone()));
                }
                DenyChange::LiftIdentity(identity) => {
                    self.identities.remove(identity);
                    self.tell_anew();
                }
            }
        }
        for (identity, bar) in &published.bars {
            self.barred.insert(identity.clone(), bar.told_before);
            self.tell(|told| told.barred.push((identity.clone(), bar.told_before)));
        }
        if let Some(epochs) = &published.restore_epochs {
            self.epoch_until = epochs.iter().map(|epoch| epoch.until).max();
            self.tell_anew();
        }
        if let Some(hierarchy) = published.hierarchy.as_deref() {
            let bundle = Arc::new(TrustBundle::from(hierarchy));
            if let Some(news) = &mut self.news {
                news.bundle = Some(Arc::clone(&bundle));
            }
            self.bundle = Some(bundle);
        }
        self.go_on_to(published.trust);
    }

    /// Adds to what is told of identities, where that is told.
    fn tell(&mut self, add: impl FnOnce(&mut DeniedIdentities)) {
        let told = self.epoch_until.is_some();
        if let Some(news) = self.news.as_mut().filter(|_| told) {
            if news.identities.len() < NEWS_MAX {
                add(&mut news.identities);
            } else {
                news.gap = true;
            }
        }
    }

    /// What was told of an identity is taken back by a snapshot alone.
    fn tell_anew(&mut self) {
        let told = self.epoch_until.is_some();
        if let Some(news) = self.news.as_mut().filter(|_| told) {
            news.gap = true;
        }
    }

    fn deny(&mut self, serial: Serial, until: Timestamp, holder: Option<AgentRef>) {
        if let Some(news) = &mut self.news {
            if news.denied.len() < NEWS_MAX {
                news.denied.push(DeniedCertificate { serial, until, holder: holder.clone() });
            } else {
                news.gap = true;
            }
        }
        let holder = holder.map(Arc::new);
        match self.denied.entry(serial) {
            Entry::Vacant(entry) => {
                entry.insert(Known { until, holder });
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().until = until;
                if holder.is_some() {
                    entry.get_mut().holder = holder;
                }
            }
        }
    }

    /// The store was opened anew: what it holds may be more or less than what was known.
    fn replace(&mut self, published: &Published) {
        let mut holders: HashMap<_, _> = published.holders.iter().cloned().collect();
        self.denied.clear();
        self.identities.clear();
        for change in &published.deny {
            if let DenyChange::Serial { serial, not_after } = change {
                let holder = holders.remove(serial).map(Arc::new);
                self.denied.insert(*serial, Known { until: *not_after, holder });
            }
            if let DenyChange::Identity(identity) = change {
                self.identities.insert(identity.clone());
            }
        }
        self.barred =
            published.bars.iter().map(|(identity, bar)| (identity.clone(), bar.told_before)).collect();
        self.epoch_until = published.restore_epochs.iter().flatten().map(|epoch| epoch.until).max();
        self.bundle = published.hierarchy.as_deref().map(TrustBundle::from).map(Arc::new);
        if let Some(news) = &mut self.news {
            news.gap = true;
        }
        self.go_on_to(published.trust);
    }

    fn go_on_to(&mut self, version: Option<TrustVersion>) {
        let Some(version) = version else { return };
        if let Some(news) = &mut self.news {
            news.gap |= version.epoch != self.version.epoch || version.number < self.version.number;
            news.to = version;
        }
        self.version = version;
    }
}
