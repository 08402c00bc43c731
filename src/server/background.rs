//! Work beside the requests: presence saved, signs of life, housekeeping, watching.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::{App, Unavailable};
use crate::ca::envelope::EnvelopeSettings;
use crate::domain::enroll::enrollment::past_not_after;
use crate::http::Shared;
use crate::http::reach::Reach;
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
    loop {
        let done = tokio::select! {
            () = ending.cancelled() => return,
            _ = save.tick() => save_presence(&app).await,
            _ = sweep.tick() => {
                app.fleet.sweep(app.clock.now());
                Ok(())
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
                app.forget_expired().await
            } => done,
        };
        warn_of(done, "leftovers were not dropped; it will be tried again");
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
