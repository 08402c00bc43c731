//! The use cases' common state: the store, the clock, the fleet in memory, pools and limits, put together at the start.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::app::access::passwords::Passwords;
use crate::app::access::write_pace;
use crate::app::access::write_pace::WriteCaller;
use crate::app::insight::audit::Walk;
use crate::app::insight::events::Events;
use crate::app::insight::figures::Counts;
use crate::app::insight::fleet::Fleet;
use crate::app::insight::history::History;
use crate::app::insight::live_counts::LiveCounts;
use crate::app::insight::premises::LatestSeen;
use crate::app::issue::clones::Suspicions;
use crate::app::issue::jwt_svids::{JwtPolicy, JwtSvids};
use crate::app::issue::refusals::RefusalLog;
use crate::app::issue::shown_denied::ShownDenied;
use crate::app::issue::vouch::VouchIssuers;
use crate::app::issue::{enroll, rotate};
use crate::app::keep::backup::scheduled::ScheduledBackups;
use crate::app::keep::replicas::Replicas;
use crate::app::keep::revocation_lists::RefusedSvids;
use crate::app::keep::scrub::Scrubbed;
use crate::app::pool::Pool;
use crate::app::trust::agent_ca_rows::AgentCaRowsNow;
use crate::app::trust::log::TrustLog;
use crate::app::webhooks::manage::WebhookHealth;
use crate::ca::authority::Authority;
use crate::ca::crl::number_at;
use crate::clock::Clock;
use crate::domain::backups::BackupSchedule;
use crate::domain::code::Code;
use crate::domain::fairness::rate::{KEYS_MAX, Rate, RateLimiter, WhenFull};
use crate::domain::host::ClonePolicy;
use crate::domain::identity::deny::DenyChange;
use crate::domain::identity::dns_suffix::DnsSuffixes;
use crate::domain::identity::outage::{Outage, sign_of_life_every};
use crate::domain::identity::reserved_ids::ReservedIds;
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::ids::{HostId, WebhookId};
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::insight::live_kind::LiveKind;
use crate::domain::insight::retention::Retention;
use crate::domain::network::crl_base::CrlBase;
use crate::domain::people::access::AccessChange;
use crate::domain::replicas::ReplicaSettings;
use crate::store::{self, OpenError, Published, ReadError, Store, WriteError};

/// Choices of the operator that use cases obey.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Lifetime of an SVID.
    pub svid_ttl: SignedDuration,
    /// Whether SVIDs may also serve (SPIFFE X509-SVID 4.4).
    pub svid_server_auth: bool,
    /// Which agents' SVIDs have a DNS name beside their id.
    pub svid_dns_suffixes: DnsSuffixes,
    /// Where certificates say that revocation lists are.
    pub crl_url: Option<CrlBase>,
    /// How long after its expiry the newest SVID of an agent may still rotate.
    pub rotation_grace: SignedDuration,
    /// Changes per second that one person or one API token may make in the long run.
    pub write_pace: u32,
    /// Join tokens of one tenant that may be open at once.
    pub open_join_tokens_max: usize,
    /// Agent ids that no join token may name.
    pub reserved_agent_ids: ReservedIds,
    /// What becomes of an identity that two machines seem to share.
    pub clone_policy: ClonePolicy,
    /// Whether an enrollment secret lets the machine of a decommissioned host in again, as a new host.
    pub readmit_decommissioned: bool,
    /// How long history is kept that nothing is decided by.
    pub retention: Retention,
    /// How JWT-SVIDs are.
    pub jwt: JwtPolicy,
    /// How often the server backs up by itself; `None`: it does not.
    pub backups: Option<BackupSchedule>,
    /// Where every change goes, too.
    pub replicas: Vec<ReplicaSettings>,
}

/// Changes per second of one person or one API token, unless the operator chose another pace.
pub const WRITE_PACE_DEFAULT: u32 = 50;

/// Webhooks are told of one refused enrollment a minute for each cause and network, and of so many networks.
const REFUSALS_TOLD: Rate = Rate { burst: 1.0, per_second: 1.0 / 60.0 };
const REFUSALS_TOLD_MAX: usize = 256;

/// Open join tokens of one tenant, unless the operator chose another bound.
pub const OPEN_JOIN_TOKENS_DEFAULT: usize = 10_000;

impl Default for Policy {
    fn default() -> Self {
        Self {
            svid_ttl: SignedDuration::from_hours(24),
            svid_server_auth: false,
            svid_dns_suffixes: DnsSuffixes::default(),
            crl_url: None,
            rotation_grace: SignedDuration::ZERO,
            write_pace: WRITE_PACE_DEFAULT,
            open_join_tokens_max: OPEN_JOIN_TOKENS_DEFAULT,
            reserved_agent_ids: ReservedIds::default(),
            clone_policy: ClonePolicy::Flag,
            readmit_decommissioned: false,
            retention: Retention::default(),
            jwt: JwtPolicy::default(),
            backups: None,
            replicas: Vec::new(),
        }
    }
}

/// What all use cases stand on.
#[derive(Debug)]
pub struct App {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long servers had run on this store before this process opened it, less what the process had run then.
    pub(crate) ran_before: SignedDuration,
    /// From the last sign of life before this process opened the store until then.
    pub(crate) woke: Option<Outage>,
    pub(crate) policy: Policy,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) events: Arc<Events>,
    pub(crate) history: Arc<History>,
    pub(crate) data_dir: PathBuf,
    /// `None` until the agent CA's issuing key has been unsealed.
    pub(crate) authority: RwLock<Option<Arc<Authority>>>,
    /// Held by whoever replaces the agent CA, from reading the old one until the new one is unsealed.
    pub(crate) hierarchy_changes: tokio::sync::Mutex<()>,
    /// Held by whoever replaces keys of JWT-SVIDs, from reading the old ones until the new ones sign. Whoever holds both has
    /// taken the other one first.
    pub(crate) jwt_key_changes: tokio::sync::Mutex<()>,
    /// The number of the newest revocation list.
    pub(crate) list_number: AtomicU64,
    /// Agents whose SVIDs were made before this are asked to rotate.
    pub(crate) rotation_asked: watch::Sender<Option<Timestamp>>,
    /// What relying parties refuse because its issuer was revoked.
    pub(crate) refused: Mutex<RefusedSvids>,
    /// When the newest revocation lists were made.
    pub(crate) lists_made: tokio::sync::Mutex<Timestamp>,
    /// Tells whoever verifies agents that the agent CA is another one than before.
    pub(crate) authority_changed: watch::Sender<()>,
    /// For checking requests and signing.
    pub(crate) pool: Pool,
    /// For long reads, so that they never hold up an enrollment.
    pub(crate) readers: Pool,
    /// For walks over much of the store, so that they never stand before a page.
    pub(crate) walkers: Pool,
    /// For the one walk along the audit chain.
    pub(crate) verifier: Pool,
    /// What that walk has last found.
    pub(crate) verified: tokio::sync::Mutex<Option<Walk>>,
    pub(crate) passwords: Passwords,
    pub(crate) refusals: RefusalLog,
    pub(crate) suspicions: Arc<Suspicions>,
    pub(crate) shown_denied: ShownDenied,
    pub(crate) scrubbed: Scrubbed,
    /// Told when something waits for a webhook.
    pub(crate) webhook_news: watch::Sender<()>,
    /// How attempts to tell them have gone.
    pub(crate) webhook_health: Mutex<HashMap<WebhookId, WebhookHealth>>,
    /// Refused enrollments of which webhooks are told.
    pub(crate) refusals_told: Mutex<RateLimiter<(AuditReason, IpAddr)>>,
    pub(crate) latest_seen: LatestSeen,
    /// Attempts of decommissioned machines to come back with a secret, each of which may be told in a timeline.
    pub(crate) readmissions: Mutex<RateLimiter<HostId>>,
    /// Every rotation adds rows that stay.
    pub(crate) rotations: Mutex<RateLimiter<HostId>>,
    pub(crate) writes: Mutex<RateLimiter<WriteCaller>>,
    pub(crate) counts: Arc<Counts>,
    /// Agents that are connected.
    pub(crate) live_counts: LiveCounts,
    pub(crate) jwt: Arc<JwtSvids>,
    /// Told when what relying parties fetch has changed: the agent CA, or what is denied.
    pub(crate) trust: watch::Sender<()>,
    pub(crate) vouch_issuers: VouchIssuers,
    /// What is known of the backups that the server makes by itself.
    pub(crate) backups: ScheduledBackups,
    /// How replicas stand.
    pub(crate) replicas: Replicas,
    /// What watchers of trust are told.
    pub(crate) trust_log: Arc<TrustLog>,
    /// What rotations are checked against.
    pub(crate) agent_ca_rows: Arc<AgentCaRowsNow>,
}

/// The store could not answer, or the machine is out of what it needs. Not the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// A row is damaged, or the store is being opened anew.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    /// A commit failed, or the store is closing; whether it was written is known once it is open again.
    #[error("the store cannot be written")]
    Write(#[from] WriteError),
    /// Nothing takes up work any more.
    #[error("the work was given up, because the server is stopping")]
    Stopping,
    /// More is asked for than can be answered in time, and what came earlier goes on.
    #[error("more is asked for than can be answered in time; try again in a moment")]
    Busy,
    /// Enrollment was decided three times, and each time its host had come or gone meanwhile.
    #[error("the registry kept changing under the request")]
    Contended,
    /// It panicked, or ended with the runtime.
    #[error("the work failed before it was done")]
    Failed,
    /// The system's source failed, so there is no id, salt or key to be had.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl Unavailable {
    /// What it is called wherever it is told.
    pub const fn code(&self) -> Code {
        match self {
            Self::Busy => Code::Busy,
            _ => Code::Unavailable,
        }
    }
}

impl App {
    /// Opens the store in a data directory and puts the use cases on top. `on_denied` hears of every change
    /// of the deny list right after the list itself has changed.
    pub fn open(
        data_dir: &Path,
        clock: Arc<dyn Clock>,
        policy: Policy,
        on_denied: impl Fn(&[DenyChange]) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let run = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
        let events = Arc::new(Events::new(run));
        let following: Arc<OnceLock<Arc<Fleet>>> = Arc::default();
        let watching: Arc<OnceLock<Arc<TrustLog>>> = Arc::default();
        let knowing: Arc<OnceLock<Arc<AgentCaRowsNow>>> = Arc::default();
        let counts: Arc<Counts> = Arc::default();
        let trust = watch::Sender::new(());
        let webhook_news = watch::Sender::new(());
        let publish: store::Publish = {
            let (events, following) = (Arc::clone(&events), Arc::clone(&following));
            let (watching, knowing) = (Arc::clone(&watching), Arc::clone(&knowing));
            let (counts, trust) = (Arc::clone(&counts), trust.clone());
            let webhook_news = webhook_news.clone();
            Box::new(move |published| {
                on_denied(&published.deny);
                if let Some(rows) = knowing.get() {
                    rows.follow(published);
                }
                if let Some(log) = watching.get() {
                    log.publish(published);
                }
                counts.add(&published.audited);
                crate::app::insight::audit::log(&published.records);
                if let Some(fleet) = following.get() {
                    if published.whole {
                        fleet.replace(&published.hosts);
                    } else {
                        fleet.apply(&published.hosts);
                    }
                }
                tell(&events, published);
                if published.webhooks {
                    webhook_news.send_replace(());
                }
                // What is forgotten stands on no list any more.
                let matters = |change: &DenyChange| !matches!(change, DenyChange::Forget(_));
                if published.whole || published.deny.iter().any(matters) {
                    trust.send_replace(());
                }
            })
        };
        let store = Store::open(&data_dir.join(store::FILE_NAME), Arc::clone(&clock), publish)?;
        // Before anything is written that they would miss.
        store.tap().follow(policy.replicas.len());
        let suspicions: Arc<Suspicions> = Arc::default();
        let fleet = Arc::new(Fleet::of(store.reader(), Arc::clone(&events), Arc::clone(&suspicions)));
        let trust_log = Arc::new(store.read(TrustLog::load)?);
        let agent_ca_rows = Arc::new(store.read(AgentCaRowsNow::load)?);
        // Nothing has been written yet: writes come from use cases, and there are none before this returns.
        let _ = following.set(Arc::clone(&fleet));
        let _ = watching.set(Arc::clone(&trust_log));
        let _ = knowing.set(Arc::clone(&agent_ca_rows));
        // A store that was not walked is large, and nobody should wait for it.
        if store.was_walked() {
            fleet.load()?;
        } else {
            Fleet::load_behind(&fleet)?;
        }
        let history = Arc::new(History::new(store.clone()));
        let rotations = limiter(rotate::rate(policy.svid_ttl));
        let writes = limiter(write_pace::rate(policy.write_pace));
        let jwt = Arc::new(JwtSvids::new(policy.jwt.clone()));
        // The newest list of the run before may be a little younger than its last sign of life.
        let last_alive = store.read(|view| view.last_alive())?;
        let woke = last_alive.map(|from| Outage { from, until: clock.now() });
        let alive = last_alive.unwrap_or(Timestamp::UNIX_EPOCH);
        let list_number = alive.saturating_add(sign_of_life_every(policy.svid_ttl)).unwrap_or(alive);
        let lists_made = tokio::sync::Mutex::new(clock.now());
        let ran_before = store.read(|view| view.clock_marks())?.ran.saturating_sub(clock.running());
        Ok(Self {
            store,
            clock,
            ran_before,
            woke,
            policy,
            fleet,
            events,
            history,
            data_dir: data_dir.to_owned(),
            authority: RwLock::default(),
            hierarchy_changes: tokio::sync::Mutex::default(),
            jwt_key_changes: tokio::sync::Mutex::default(),
            list_number: AtomicU64::new(number_at(list_number)),
            rotation_asked: watch::Sender::default(),
            refused: Mutex::default(),
            lists_made,
            authority_changed: watch::Sender::default(),
            pool: Pool::issuing(),
            readers: Pool::reading(),
            walkers: Pool::of(2),
            verifier: Pool::of(1),
            verified: tokio::sync::Mutex::default(),
            passwords: Passwords::default(),
            refusals: RefusalLog::default(),
            suspicions,
            shown_denied: ShownDenied::default(),
            scrubbed: Scrubbed::default(),
            webhook_news,
            webhook_health: Mutex::default(),
            refusals_told: Mutex::new(RateLimiter::new(REFUSALS_TOLD, REFUSALS_TOLD_MAX, WhenFull::Refuse)),
            latest_seen: LatestSeen::default(),
            readmissions: limiter(enroll::READMISSIONS_TOLD),
            rotations,
            writes,
            counts,
            live_counts: LiveCounts::default(),
            jwt,
            vouch_issuers: VouchIssuers::new(trust.subscribe()),
            trust,
            backups: ScheduledBackups::default(),
            replicas: Replicas::default(),
            trust_log,
            agent_ca_rows,
        })
    }

    /// How long servers have run on this store, by the monotonic clock.
    pub(crate) fn has_run(&self) -> SignedDuration {
        self.ran_before.saturating_add(self.clock.running())
    }

    /// Hands over the unsealed issuing key; from now on enrollments and rotations are answered.
    pub fn set_authority(&self, authority: Authority) {
        let authority = Arc::new(authority);
        let before = self.authority.write().replace(Arc::clone(&authority));
        // Until the line before, the one that is revoked has signed: that moment counts, not the one that is on record.
        let now = self.clock.now();
        let rotate = authority.rotate_what_is_older_than(before.as_deref(), now);
        self.rotation_asked
            .send_modify(|asked| *asked = rotate.map(|rotate| asked.map_or(rotate, |it| it.max(rotate))));
        self.authority_changed.send_replace(());
        self.trust.send_replace(());
    }

    /// Changes when there is another agent CA from which certificates are issued.
    pub fn authority_changes(&self) -> watch::Receiver<()> {
        self.authority_changed.subscribe()
    }

    /// Agents whose SVIDs were made before this are to be asked to rotate.
    pub fn rotations_asked(&self) -> watch::Receiver<Option<Timestamp>> {
        self.rotation_asked.subscribe()
    }

    /// Changes of the agent CA and of what is denied.
    pub fn trust_changes(&self) -> watch::Receiver<()> {
        self.trust.subscribe()
    }

    /// The deployment's trust domain, once the agent CA is there.
    pub fn trust_domain(&self) -> Option<TrustDomain> {
        if let Some(authority) = self.authority() {
            return Some(authority.trust_domain().clone());
        }
        self.hierarchy().ok().flatten().map(|hierarchy| hierarchy.trust_domain)
    }

    /// The unsealed issuing key; `None` while nothing can be issued.
    pub fn authority(&self) -> Option<Arc<Authority>> {
        self.authority.read().clone()
    }
}

fn limiter<K: Copy + Eq + Hash + Ord>(rate: Rate) -> Mutex<RateLimiter<K>> {
    Mutex::new(RateLimiter::new(rate, KEYS_MAX, WhenFull::Forget))
}

pub(crate) fn tell(events: &Events, published: &Published) {
    if published.whole {
        events.tell(LiveKind::Resync, None, None);
        events.tell_access(AccessChange::Everybody);
        return;
    }
    for (tenant, host) in &published.enrollments {
        events.tell(LiveKind::Enrollment, Some(*tenant), Some(host.to_string()));
    }
    for (tenant, host) in &published.reports {
        events.tell(LiveKind::Timeline, Some(*tenant), Some(host.to_string()));
    }
    for (tenant, secret) in &published.secrets {
        events.tell(LiveKind::Secret, Some(*tenant), Some(secret.to_string()));
    }
    for change in &published.deny {
        if let DenyChange::Identity(identity) | DenyChange::LiftIdentity(identity) = change {
            events.tell(LiveKind::Revocation, Some(identity.tenant), Some(identity.agent.to_string()));
        }
    }
    for change in &published.access {
        events.tell_access(*change);
    }
}

/// Fresh random octets from the system.
pub(crate) fn entropy<const N: usize>() -> Result<[u8; N], Unavailable> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Unavailable::NoRandomness)?;
    Ok(bytes)
}
