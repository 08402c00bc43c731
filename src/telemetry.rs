//! Logs: one line per event on stderr, as text or as JSON.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFilter, LogFormat};

/// Starts logging. `filter` is a `tracing` filter such as `info` or `muster=debug`.
pub fn start(filter: &str, format: LogFormat) -> Result<(), BadFilter> {
    let filter: LogFilter = filter.parse().map_err(|_| BadFilter)?;
    let filter = EnvFilter::try_new(filter).map_err(|_| BadFilter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process keeps the first one's settings.
    let _ = match format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colour).with_target(false).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// The filter cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log filter cannot be understood; it is a level such as 'info' (off, error, warn, info, debug, trace), or one with others for parts, such as 'info,muster::http=debug'"
)]
pub struct BadFilter;
