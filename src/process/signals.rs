//! Signal handlers of a process that runs until it is told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::process::ProcessError;

/// What SIGHUP does. It never ends the process: a terminal that closes, or a reload that nobody has asked of us, would
/// otherwise.
#[derive(Debug, Clone, Copy)]
pub enum OnHangup {
    /// Somebody else listens for it as well, though not from the first moment to the last.
    HandledElsewhere,
    /// It changes nothing, and the log says so in these words.
    Explain(&'static str),
}

/// A token that SIGTERM and SIGINT cancel. `before` is called first.
pub fn stop_on_signals(
    on_hangup: OnHangup,
    before: impl FnOnce() + Send + 'static,
) -> Result<CancellationToken, ProcessError> {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    // Writing past a file size limit raises SIGXFSZ (25), which would kill the process where an error will do.
    let too_large = listen(SignalKind::from_raw(25))?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let OnHangup::Explain(why) = on_hangup {
                tracing::info!("{why}");
            }
        }
    });
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        let _too_large = too_large;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        before();
        cancel.cancel();
    });
    Ok(stop)
}

fn listen(kind: SignalKind) -> Result<Signal, ProcessError> {
    signal(kind).map_err(ProcessError::Signals)
}
