//! Service manager notification (`sd_notify`).

pub use sd_notify::NotifyState;

/// Tells the service manager. Where there is none, nobody listens, and that is no failure.
pub fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot reach the service manager");
    }
}
