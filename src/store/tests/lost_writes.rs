//! The store against the loss of power: whatever of the unsynced writes gets through, it opens, and it holds
//! exactly what one of the commits had made of it, none older than the last that somebody was told of.
//!
//! One run of a store is recorded write by write; each case then cuts the power at a moment of its own, perhaps
//! again while redb mends what the first cut has left, and opens what remains as a server would.
//! `PROPTEST_CASES` asks for more cuts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::enroll::enrollment::{Enrollment, Revocation, RevocationReason, SpkiHash, Via};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::host::{Host, HostFacts};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::insight::audit::{AuditEvent, Outcome};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::testing::Dice;
use crate::store::opening::disk::Disk;
use crate::store::opening::open;
use crate::store::rows::{Rows, Span, Table};
use crate::store::tests::power_cut;
use crate::store::tests::power_cut::{SegmentImages, Weather};
use crate::store::{CHANGES_NAME, Change, FILE_NAME, JOURNAL_NAME, ReadError, Store, Verdict, View};

/// Cuts that are tried unless the environment asks for more.
const CUTS: u32 = 100;

/// Decisions in the recorded run.
const DECISIONS: usize = 80;

#[derive(Debug)]
pub(super) struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }
}

/// Every row of every table.
pub(super) type Dump = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

pub(super) fn dump(disk: &Disk) -> Dump {
    let snapshot = disk.snapshot().unwrap();
    let mut dump = Dump::new();
    for &table in Table::ALL {
        let each = &mut |key: &[u8], content: &[u8]| {
            dump.insert((table.name(), key.to_vec()), content.to_vec());
            Ok(ControlFlow::Continue(()))
        };
        snapshot.scan(table, &Span::all(), each).unwrap();
    }
    dump
}

/// A run of a store, with what it held at first and after each commit.
struct Run {
    disk: power_cut::PowerCutDisk,
    dumps: Vec<Dump>,
    journal: Vec<u8>,
    directory: TempDir,
}

impl Run {
    fn record() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (path, journal) = (directory.path().join(FILE_NAME), directory.path().join(JOURNAL_NAME));
        drop(open::open(&path, Noon.now()).unwrap());
        let image = std::fs::read(&path).unwrap();
        let disk = power_cut::PowerCutDisk::new(image, SegmentImages::new(), &journal);
        let database = open::builder().create_with_backend(disk.clone()).unwrap();
        let recovered = open::recover(database, Box::new(disk.clone())).unwrap();
        let opened = open::journal(recovered.snapshot().unwrap(), &journal, Noon.now()).unwrap().journal;
        let (dumps, watched) = (Arc::new(Mutex::new(Vec::new())), Arc::new(OnceLock::<Arc<Disk>>::new()));
        let publish = {
            let (disk, dumps, watched) = (disk.clone(), Arc::clone(&dumps), Arc::clone(&watched));
            // Called after every commit and before anybody is told.
            Box::new(move |_: &_| {
                dumps.lock().push(dump(watched.get().unwrap()));
                disk.committed();
            })
        };
        let (file, log) = Disk::new(path, recovered);
        let store =
            Store::start(file, (Some(log), Arc::default()), Some(opened), Arc::new(Noon), publish).unwrap();
        dumps.lock().push(dump(&store.disk));
        watched.set(Arc::clone(&store.disk)).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(live(&store));
        drop(watched);
        drop(store);
        let dumps = std::mem::take(&mut *dumps.lock());
        let journal = std::fs::read(&journal).unwrap();
        Self { disk, dumps, journal, directory }
    }
}

/// What the recorded store goes through: decisions one by one, and some that share a commit.
pub(super) async fn live(store: &Store) {
    let mut dice = Dice::new(7);
    let mut hosts = 0_u8;
    let mut taken = 0;
    while taken < DECISIONS {
        let known = u8::try_from(dice.roll(usize::from(hosts).max(1))).unwrap();
        let kind = dice.roll(10);
        if kind < 5 || hosts == 0 {
            let together = if dice.roll(3) == 0 { 5 } else { 1 };
            let mut waiting = tokio::task::JoinSet::new();
            for _ in 0..together {
                let (store, number) = (store.clone(), hosts);
                waiting.spawn(async move { decide(&store, move |view| enroll(view, number)).await });
                hosts += 1;
                taken += 1;
            }
            waiting.join_all().await;
            continue;
        }
        taken += 1;
        match kind {
            5..=6 => decide(store, move |view| revoke(view, known)).await,
            7 => decide(store, move |view| lift(view, known)).await,
            8 => decide(store, move |view| delete(view, known)).await,
            _ => decide(store, |_| Ok(vec![Change::Alive, audit(AuditAction::StoreBackup, 0)])).await,
        }
    }
}

async fn decide(
    store: &Store,
    changes: impl FnOnce(&View<'_>) -> Result<Vec<Change>, ReadError> + Send + 'static,
) {
    let decided = store.write(move |view, _| Ok(Verdict::<(), Infallible>::accept((), changes(view)?))).await;
    let Ok(()) = decided.unwrap();
}

fn audit(action: AuditAction, number: u8) -> Change {
    Change::Audit(AuditEvent {
        actor: "local:0".to_owned(),
        source: "process".to_owned(),
        tenant: None,
        action,
        target: number.to_string(),
        outcome: Outcome::Success,
        reason: None,
        detail: BTreeMap::new(),
        names: BTreeMap::new(),
        host: None,
    })
}

const TENANT: TenantId = TenantId::from_bytes([1; 16]);

fn identity(number: u8) -> AgentRef {
    AgentRef { tenant: TENANT, agent: format!("agent-{number}").parse().unwrap() }
}

fn host_id(number: u8) -> HostId {
    HostId::from_bytes([number; 16])
}

/// What an enrollment with a secret writes.
fn enroll(view: &View<'_>, number: u8) -> Result<Vec<Change>, ReadError> {
    let now = Noon.now();
    let id = CredentialId::new(now, [9; 4]);
    let fresh = || EnrollmentSecret {
        id,
        hash: Credential::new(CredentialKind::EnrollmentSecret, id, zeroize::Zeroizing::new([9; 32])).hash(),
        tenant: TENANT,
        name: "rollout".parse().unwrap(),
        created_at: now,
        expires_at: None,
        max_uses: None,
        uses: 0,
        last_used_at: None,
        revoked_at: None,
        tags: std::collections::BTreeSet::new(),
        from: crate::domain::network::networks::Networks::default(),
    };
    let secret = view.any_tenant().enrollment_secret(id)?.unwrap_or_else(fresh);
    let serial = Serial::new(now, [number; 10]);
    let not_after = now + SignedDuration::from_hours(24);
    let enrollment = Enrollment {
        serial,
        host: host_id(number),
        tenant: TENANT,
        via: Via::Secret { id },
        issued_at: now,
        not_before: now,
        not_after,
        peer: None,
        spki: SpkiHash::of(&[number]),
        revocation: None,
    };
    let host = Host {
        id: host_id(number),
        tenant: TENANT,
        agent: identity(number).agent,
        facts: HostFacts::default(),
        first_enrolled_at: now,
        last_seen: None,
        newest_shown: None,
        trust: crate::domain::host::HostTrust::default(),
        decommissioned_at: None,
        revoked_at: None,
        let_in_by: None,
        newest_serial: serial,
        svid_not_after: not_after,
        flags: std::collections::BTreeSet::new(),
        marks: crate::domain::host::tag::HostMarks::default(),
    };
    // Now and then so much that the file must grow.
    let certificate = vec![number; if number % 16 == 15 { 200_000 } else { 700 }];
    Ok(vec![
        Change::PutHost(host),
        Change::RecordEnrollment { enrollment, certificate },
        Change::PutEnrollmentSecret(EnrollmentSecret { uses: secret.uses + 1, ..secret }),
        audit(AuditAction::AgentEnroll, number),
    ])
}

fn revocations(view: &View<'_>, number: u8) -> Result<Vec<Change>, ReadError> {
    let mut changes = Vec::new();
    view.any_tenant().enrollments_of(host_id(number), None, |enrollment| {
        if enrollment.live(Noon.now()) {
            let revocation = Revocation { at: Noon.now(), reason: RevocationReason::Revoked };
            changes.push(Change::RevokeEnrollment { enrollment, revocation });
        }
        ControlFlow::Continue(())
    })?;
    Ok(changes)
}

fn revoke(view: &View<'_>, number: u8) -> Result<Vec<Change>, ReadError> {
    let mut changes = revocations(view, number)?;
    changes.push(Change::DenyIdentity { identity: identity(number), since: Noon.now() });
    changes.push(audit(AuditAction::AgentRevoke, number));
    Ok(changes)
}

fn lift(view: &View<'_>, number: u8) -> Result<Vec<Change>, ReadError> {
    let denied = view.identity_denied(&identity(number))?.is_some();
    let lifted = denied.then(|| Change::LiftIdentity(identity(number)));
    Ok(lifted.into_iter().chain([audit(AuditAction::HostReEnable, number)]).collect())
}

fn delete(view: &View<'_>, number: u8) -> Result<Vec<Change>, ReadError> {
    let mut changes = revocations(view, number)?;
    changes.extend(lift(view, number)?);
    changes.extend(view.any_tenant().host(host_id(number))?.map(Change::DeleteHost));
    Ok(changes)
}

/// A cut, with everything that chance decides.
fn cut() -> impl Strategy<Value = (Index, Weather)> {
    let grain = prop_oneof![Just(4096_usize), Just(512), Just(64)];
    let weather = (grain, 0..=8_usize, any::<u64>());
    (any::<Index>(), weather.prop_map(|(grain, kept, seed)| Weather { grain, kept, seed }))
}

/// Opens what a cut has left on a disk that remembers what opening does to it.
fn mended(
    image: Vec<u8>,
    segments: SegmentImages,
    journal: &Path,
) -> Result<power_cut::PowerCutDisk, TestCaseError> {
    let disk = power_cut::PowerCutDisk::new(image, segments, journal);
    let opened = open::builder().create_with_backend(disk.clone());
    let database = opened.map_err(|error| TestCaseError::fail(format!("it does not open: {error}")))?;
    let recovered = open::recover(database, Box::new(disk.clone()));
    let recovered = recovered.map_err(|error| TestCaseError::fail(format!("its log is refused: {error}")))?;
    let whole = { recovered }.whole().map(drop);
    whole.map_err(|error| TestCaseError::fail(format!("its log does not go in: {error}")))?;
    Ok(disk)
}

fn survives(
    run: &Run,
    (at, weather): (Index, Weather),
    again: &[(Index, Weather)],
) -> Result<(), TestCaseError> {
    let left = run.disk.cut(at.index(run.disk.moments()), weather);
    let (mut image, mut segments) = (left.image, left.segments);
    for (at, weather) in again {
        let disk = mended(image, segments, run.directory.path())?;
        let left = disk.cut(at.index(disk.moments()), *weather);
        (image, segments) = (left.image, left.segments);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, image).unwrap();
    let changes = directory.path().join(CHANGES_NAME);
    std::fs::create_dir(&changes).unwrap();
    for (number, octets) in segments {
        std::fs::write(changes.join(format!("{number:020}.frames")), octets).unwrap();
    }
    let (least, most) = left.journal.into_inner();
    let torn = least + weather.seed % (most - least + 1);
    let mut journal = run.journal[..usize::try_from(torn).unwrap()].to_vec();
    let (mut dice, synced) = (Dice::new(weather.seed), usize::try_from(least).unwrap());
    let begin = synced + dice.roll(journal.len() - synced);
    let end = begin + dice.roll(journal.len() - begin);
    journal[begin..end].fill(0);
    std::fs::write(directory.path().join(JOURNAL_NAME), journal).unwrap();

    let store = Store::open(&path, Arc::new(Noon), Box::new(|_| {}));
    let store = store.map_err(|error| TestCaseError::fail(format!("it does not open: {error}")))?;
    let found = dump(&store.disk);
    let expected: Vec<_> = run.dumps.iter().skip(left.committed).take(2).collect();
    prop_assert!(
        expected.contains(&&found),
        "{} commits were told of, but it holds what {:?} had made",
        left.committed,
        run.dumps.iter().position(|dump| *dump == found)
    );
    prop_assert!(store.missing_records().is_none());
    let denied = |table: Table| found.keys().filter(|(name, _)| *name == table.name()).count();
    let denied = (denied(Table::DeniedSerials), denied(Table::DeniedIdentities));
    prop_assert_eq!(store.deny_list().size(), denied);
    // And it goes on from there.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(decide(&store, |view| enroll(view, u8::MAX)));
    let checked = store.check(Noon.now(), &mut |_| {});
    prop_assert!(checked.is_ok(), "{:?}", checked);
    Ok(())
}

#[test]
fn what_was_told_outlives_a_power_cut_and_nothing_is_there_by_half() {
    let run = Run::record();
    assert!(run.dumps.len() > DECISIONS / 3 && run.disk.moments() > 500, "{} moments", run.disk.moments());
    let cases = std::env::var_os("PROPTEST_CASES").map_or(CUTS, |_| ProptestConfig::default().cases);
    let config =
        ProptestConfig { cases, max_shrink_iters: 1_000, ..ProptestConfig::with_source_file(file!()) };
    let cuts = (cut(), proptest::collection::vec(cut(), 0..3));
    let mut runner = proptest::test_runner::TestRunner::new(config);
    if let Err(failure) = runner.run(&cuts, |(first, again)| survives(&run, first, &again)) {
        panic!("{failure}\n{runner}");
    }
}
