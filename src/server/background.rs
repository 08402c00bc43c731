//! Work beside the requests: presence saved, signs of life, housekeeping, watching.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::app::keep::revoke_intermediate::TIME_TO_ROTATE;
use crate::app::{App, Unavailable};
use crate::ca::envelope::EnvelopeSettings;
use crate::clock;
use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::insight::online::place_of;
use crate::domain::network::crl_base::CrlBase;
use crate::http::Shared;
use crate::http::reach::Reach;
use crate::tls::live::LivePeers;
use crate::tls::server_certificate::LiveCertificate;

/// How often presence is written down.
pub(crate) const SAVE_PRESENCE_EVERY: Duration = Duration::from_secs(10);

/// How often silent hosts are noticed.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often expired leftovers are dropped.
pub(crate) const TIDY_EVERY: Duration = Duration::from_secs(600);

/// Says in the log what has come of work that nobody waits for, where it failed.
pub(crate) fn warn_of(done: Result<(), Unavailable>, consequence: &str) {
    if let Err(error) = done {
        tracing::warn!(error = &error as &dyn std::error::Error, "{consequence}");
    }
}

/// Saves reports, and what the opening of the store after a failed commit may have found.
pub(crate) async fn save_presence(app: &App) -> Result<(), Unavailable> {
    app.record_missing_records().await?;
    app.save_presence().await?;
    app.record_repeated_refusals(false).await
}

/// Leaves a sign of life, from which an outage can be told later, if an agent could rotate now.
pub(crate) async fn sign_of_life(app: &App, certificate: &LiveCertificate) -> Result<(), Unavailable> {
    let expired = past_not_after(certificate.current().facts.not_after, app.clock.now());
    app.sign_of_life(!expired).await
}

pub(crate) async fn signs_of_life(
    app: Arc<App>,
    certificate: Arc<LiveCertificate>,
    ending: CancellationToken,
) {
    let mut due = tokio::time::interval(app.sign_of_life_every().unsigned_abs());
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = due.tick() => {}
        }
        let left = sign_of_life(&app, &certificate).await;
        warn_of(left, "no sign of life could be left; if that goes on, it counts as an outage");
    }
}

pub(crate) async fn housekeeping(app: Arc<App>, ending: CancellationToken) {
    let mut save = tokio::time::interval(SAVE_PRESENCE_EVERY);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    // Agents that come back after a start were not away: the first sample is the next one that is due.
    let mut sampled = place_of(app.clock.now());
    loop {
        let done = tokio::select! {
            () = ending.cancelled() => return,
            _ = save.tick() => save_presence(&app).await,
            _ = sweep.tick() => {
                app.fleet.sweep(app.clock.now());
                app.sample_online(sampled).await.map(|place| sampled = place)
            }
        };
        warn_of(done, "housekeeping failed; it will be tried again");
    }
}

/// Drops leftovers, however long that takes; signs of life do not wait for it.
pub(crate) async fn tidying(app: Arc<App>, shared: Shared, ending: CancellationToken) {
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    loop {
        let done = tokio::select! {
            () = ending.cancelled() => return,
            done = async {
                tidy.tick().await;
                shared.tidy();
                app.forget_expired().await?;
                app.forget_what_came_back().await?;
                app.destroy_old_keys_or_log().await;
                Ok(())
            } => done,
        };
        warn_of(done, "leftovers were not dropped; it will be tried again");
    }
}

/// How often history is looked through for what is past retention.
const RETENTION_EVERY: Duration = Duration::from_hours(6);

/// Takes what is past retention off the record.
pub(crate) async fn retaining(app: Arc<App>, ending: CancellationToken) {
    let mut due = tokio::time::interval(RETENTION_EVERY);
    loop {
        let done = tokio::select! {
            () = ending.cancelled() => return,
            done = async {
                due.tick().await;
                app.keep_retention().await.map(drop)
            } => done,
        };
        warn_of(done, "what is past retention has not gone; it will be tried again");
    }
}

/// How often all of the store is read.
const SCRUB_EVERY: Duration = Duration::from_hours(24);

/// Reads all of the store, at once where the start has not.
pub(crate) async fn scrubbing(app: Arc<App>, ending: CancellationToken) {
    let mut due = tokio::time::interval(SCRUB_EVERY);
    if app.store.was_walked() {
        due.reset();
    }
    loop {
        let done = tokio::select! {
            () = ending.cancelled() => return,
            done = async {
                due.tick().await;
                app.scrub().await
            } => done,
        };
        warn_of(done, "the store could not be read through; it will be tried again");
    }
}

/// How often the keys of JWT-SVIDs are looked after.
const JWT_KEYS_EVERY: Duration = Duration::from_secs(10);

/// Keeps keys of JWT-SVIDs, from the moment on when there is an agent CA.
pub(crate) async fn keep_jwt_keys(app: Arc<App>, envelope: EnvelopeSettings, ending: CancellationToken) {
    let mut due = tokio::time::interval(JWT_KEYS_EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes = app.authority_changes();
    let mut failed = false;
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = due.tick() => {}
            // The sender lives as long as the app.
            _ = changes.changed() => {}
        }
        failed = !jwt_keys_kept(&app, &envelope, failed).await;
    }
}

/// Looks after them once; whether that went well. The same trouble again is no news.
pub(crate) async fn jwt_keys_kept(app: &Arc<App>, envelope: &EnvelopeSettings, known: bool) -> bool {
    let kept = app.keep_jwt_keys(envelope).await;
    if let (Err(error), false) = (&kept, known) {
        let error = error as &dyn std::error::Error;
        tracing::error!(error, "the keys of JWT-SVIDs could not be looked after; it will be tried again");
    }
    kept.is_ok()
}

pub(crate) async fn watch_for_clones(app: Arc<App>, ending: CancellationToken) {
    loop {
        let recorded = tokio::select! {
            () = ending.cancelled() => return,
            recorded = app.record_suspicions() => recorded,
        };
        warn_of(recorded, "a possible clone is not on record");
    }
}

pub(crate) async fn deny_what_is_shown(app: Arc<App>, ending: CancellationToken) {
    loop {
        let denied = tokio::select! {
            () = ending.cancelled() => return,
            denied = app.deny_what_was_shown() => denied,
        };
        let failed = denied.is_err();
        warn_of(denied, "a revoked agent's certificate is not denied by its serial; it will be tried again");
        if failed {
            tokio::time::sleep(PUBLISHED_AGAIN_AFTER).await;
        }
    }
}

/// Looks this often whether the agents that a list waits for have rotated.
const PUBLISHABLE_LOOKED_AT: Duration = Duration::from_secs(1);
/// After a start, agents need this long to come back; until then nobody can say that they have rotated.
const BACK_IN_SESSION: Duration = Duration::from_secs(90);
/// How soon a publication that failed is tried again.
const PUBLISHED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Publishes a root's list that names a revoked intermediate, when the agents in session have rotated or have had their time:
/// by the wall clock, or by the monotonic one, which nobody sets back.
pub(crate) async fn publish_waiting_lists(app: Arc<App>, live: LivePeers, ending: CancellationToken) {
    let began = clock::timer();
    let waited_at_the_start = matches!(app.waiting_publication(), Ok(Some(_)));
    let mut changes = app.trust_changes();
    // By the monotonic clock, when the list that waits has waited for long enough.
    let mut deadline = None;
    let publishing = async {
        loop {
            changes.borrow_and_update();
            let waiting = match app.waiting_publication() {
                Ok(Some(waiting)) => waiting,
                Ok(None) => {
                    deadline = None;
                    // The sender lives as long as the app.
                    let _ = changes.changed().await;
                    continue;
                }
                // What was waiting waits on, and no longer than it would have.
                Err(_) => {
                    let _ = timeout(PUBLISHED_AGAIN_AFTER, changes.changed()).await;
                    continue;
                }
            };
            let (now, deadline) = (clock::timer(), *deadline.get_or_insert(clock::timer() + TIME_TO_ROTATE));
            let settled = !waited_at_the_start || now >= began + BACK_IN_SESSION;
            let rotated = settled && !live.any_made_before(waiting.made_before);
            let rest = if rotated || now >= deadline || app.clock.now() >= waiting.publish_by {
                if let Err(error) = app.publish_waiting_list().await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "A REVOKED INTERMEDIATE IS NOT ON A PUBLISHED LIST YET; trying again"
                    );
                }
                PUBLISHED_AGAIN_AFTER
            } else {
                PUBLISHABLE_LOOKED_AT
            };
            let _ = timeout(rest, changes.changed()).await;
        }
    };
    tokio::select! {
        () = ending.cancelled() => {}
        () = publishing => {}
    }
}

/// Says which settings about names and lists in certificates do not do what they seem to.
pub(crate) fn warn_of_names_and_lists(app: &App) -> Result<(), Unavailable> {
    let policy = &app.policy;
    if policy.svid_server_auth && policy.svid_dns_suffixes.is_empty() {
        tracing::warn!(
            "svid_server_auth is set without svid_dns_suffix: agents' certificates have no DNS name, so ordinary TLS clients \
             refuse a server that has one; those that check SPIFFE ids do not"
        );
    }
    for named in app.unknown_in_dns_suffixes()? {
        tracing::warn!(
            tenant = named,
            "svid_dns_suffix names a tenant that there is none of; nobody gets its suffix"
        );
    }
    if policy.crl_url.as_ref().is_some_and(CrlBase::is_https) {
        tracing::warn!(
            "crl_url is an https address: who checks a certificate's revocation list can't check that server's certificate, \
             and many programs fetch lists by http alone (RFC 5280 8)"
        );
    }
    Ok(())
}

/// Says which addresses would be found out by the fleet to be wrong.
pub(crate) fn warn_of_addresses(reach: &Reach) {
    for address in reach.uncertified() {
        tracing::warn!(
            %address,
            "THE SERVER'S CERTIFICATE IS NOT FOR AN ADDRESS THAT IS GIVEN OUT; agents and browsers will refuse it there. \
             Make a certificate that is ('muster gen-cert --name'), or correct public_url and grpc_addr"
        );
    }
    if reach.address().is_none() {
        tracing::warn!(
            "no address of this server is known that could be given out; set public_url (MUSTER_PUBLIC_URL) to what \
             agents and people reach it by"
        );
    }
}

/// Looks at the addresses again whenever another certificate is served.
pub(crate) async fn watch_addresses(shared: Shared, ending: CancellationToken) {
    let reach = &shared.facts.reach;
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    let mut seen = shared.facts.certificate();
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let current = shared.facts.certificate();
        if seen.as_ref().map(Arc::as_ptr) != current.as_ref().map(Arc::as_ptr) {
            warn_of_addresses(reach);
            seen = current;
        }
    }
}
