//! The server's own certificate is made anew before it ends, where `gen-cert` made it: of the same CA, with the same key and
//! names, so that nobody notices.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings};
use crate::ca::server::{self, GeneratedServerCertificate, ServerCaError};
use crate::tls::server_certificate::{ChainFacts, LiveCertificate};

/// How often it is looked at. Where it was made under a clock that was ahead, everybody refuses it until it is seen.
const LOOKED_AT: Duration = Duration::from_mins(1);

/// After how much of its life it is made anew, in thirds.
const DUE_AFTER: i32 = 2;

/// Why there is no other one. It is tried again.
#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error("there is no envelope to unseal the server CA's key with")]
    NoEnvelope,
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Ca(#[from] ServerCaError),
}

/// Whether two thirds of a certificate's life are over, or it has not begun: then it was made under a clock that was ahead.
fn is_due(facts: &ChainFacts, now: Timestamp) -> bool {
    let life = facts.not_after.duration_since(facts.not_before);
    let due = facts.not_before.saturating_add(life / 3 * DUE_AFTER).unwrap_or(facts.not_after);
    !(facts.not_before..due).contains(&now)
}

fn renew(
    tls: &std::path::Path,
    settings: &EnvelopeSettings,
    now: Timestamp,
) -> Result<Option<GeneratedServerCertificate>, RenewalError> {
    let envelope = Envelope::find(settings)?.ok_or(RenewalError::NoEnvelope)?;
    Ok(server::renew(tls, &envelope, now)?)
}

/// Looks after it until `ending`, where the settings leave it to us: then its directory is given, and what unseals its CA's key.
pub(crate) async fn keep_own_certificate(
    app: Arc<App>,
    certificate: Arc<LiveCertificate>,
    own: Option<(PathBuf, EnvelopeSettings)>,
    ending: CancellationToken,
) {
    let Some((tls, envelope)) = own else { return };
    let mut due = tokio::time::interval(LOOKED_AT);
    let mut failed = false;
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = due.tick() => {}
        }
        let now = app.clock.now();
        if !is_due(&certificate.current().facts, now) {
            continue;
        }
        let (at, settings) = (tls.clone(), envelope.clone());
        let renewed = tokio::task::spawn_blocking(move || renew(&at, &settings, now)).await;
        // Only a runtime that is shutting down refuses the work.
        let Ok(renewed) = renewed else { return };
        match renewed {
            // It is somebody else's, and so is its renewal.
            Ok(None) => failed = false,
            Ok(Some(made)) => {
                failed = false;
                taken_over(&app, &certificate, &made).await;
            }
            // The same trouble again is no news; that it ends is told besides.
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::error!(
                        error = &error as &dyn Error,
                        "the server's certificate is due and could not be made anew; it will be tried again. By hand: muster \
                         gen-cert --renew"
                    );
                }
            }
        }
    }
}

async fn taken_over(app: &App, certificate: &LiveCertificate, made: &GeneratedServerCertificate) {
    if let Err(error) = certificate.reload() {
        tracing::error!(error = &error as &dyn Error, "the server's new certificate can't be used");
        return;
    }
    let not_after = certificate.current().facts.not_after;
    let names: Vec<_> = made.names.iter().map(ToString::to_string).collect();
    tracing::info!(%not_after, names = names.join(" "), "the server's certificate was made anew");
    if let Err(error) = app.note_certificate_renewed(not_after, &names.join(" ")).await {
        let error = &error as &dyn Error;
        tracing::warn!(error, "that the server's certificate was made anew is not on record");
    }
}
