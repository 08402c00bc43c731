//! Logs: one line per event on stderr, as text or as JSON.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogFilter, LogFormat};
use crate::request_id::RequestId;

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
            let lines = lines.with_ansi(colour).with_target(false);
            lines
                .map_event_format(move |inner| WithRequest { inner: inner.with_ansi(colour), format })
                .try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.map_event_format(|inner| WithRequest { inner, format }).try_init()
        }
    };
    Ok(())
}

/// Lines that say which request they are of, wherever in the program they were written.
struct WithRequest<F> {
    inner: F,
    format: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(request) = RequestId::current() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&of_request(&line, request, self.format))
    }
}

/// A whole line, with the request as its last field.
fn of_request(line: &str, request: RequestId, format: LogFormat) -> String {
    let line = line.trim_end();
    match (format, line.strip_suffix('}')) {
        (LogFormat::Json, Some(open)) => format!("{open},\"request_id\":\"{request}\"}}\n"),
        _ => format!("{line} request_id={request}\n"),
    }
}

/// The filter cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log filter cannot be understood; it is a level such as 'info' (off, error, warn, info, debug, trace), or one with others for parts, such as 'info,muster::http=debug'"
)]
pub struct BadFilter;
