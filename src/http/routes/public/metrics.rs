//! Figures for Prometheus, for loopback and API tokens only.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use prometheus_client::encoding::text::encode;

use crate::app::access::caller::Caller;
use crate::http::input::extract::Known;
use crate::http::openapi::describe::Input;
use crate::http::problem::Problem;
use crate::http::reply::{Media, OpenMetrics};
use crate::http::routes::public::metric_families::{AtTheDoors, registry};
use crate::http::transport::origin::Transport;
use crate::http::transport::proxies::is_of_this_machine;
use crate::http::{Shared, findings};
use crate::process::ProcessUsage;

/// Proof that the caller is on this machine or holds an API token.
#[derive(Debug)]
pub(crate) struct MayMeasure;

impl FromRequestParts<Shared> for MayMeasure {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let own = match parts.extensions.get::<Transport>() {
            Some(Transport::Tls { peer }) => {
                is_of_this_machine(&shared.trusted_proxies, peer.ip(), &parts.headers)
            }
            Some(Transport::Socket { .. } | Transport::Process { .. }) => true,
            Some(Transport::Plain { .. }) | None => false,
        };
        if own {
            return Ok(Self);
        }
        match Known::from_request_parts(parts, shared).await {
            // The figures are the whole deployment's, so a token of one tenant does not see them.
            Ok(Known(caller @ (Caller::Token(_) | Caller::Local { .. }))) if caller.tenant().is_none() => {
                Ok(Self)
            }
            _ => Err(Problem::permission_denied()),
        }
    }
}

impl Input for MayMeasure {}

pub(crate) async fn show(
    _: MayMeasure,
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Media<OpenMetrics>, Problem> {
    let figures = shared.app.figures().await?;
    let findings = findings::all(&shared).await?;
    let refused = &shared.facts.refused_handshakes;
    let doors = AtTheDoors {
        certificate_until: shared.facts.certificate().map(|certificate| certificate.facts.not_after),
        refused_handshakes: refused.counts(),
        shed: refused.shed(),
        answers: shared.answers.counts(),
        streams: shared.streams.count(),
    };
    let mut text = String::new();
    let figures = registry(&figures, &doors, &findings, &ProcessUsage::now());
    encode(&mut text, &figures).map_err(|_| Problem::internal())?;
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.into_iter().any(|kinds| kinds.contains("application/openmetrics-text")) {
        return Ok(Media::new(([(header::CONTENT_TYPE, OPENMETRICS)], text)));
    }
    Ok(Media::new(([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], prometheus_text(&text))))
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same figures in the older format, which is what who does not ask for OpenMetrics can read: there a counter's
/// help and type go by the name of its samples, `_total` included, and nothing marks the end.
fn prometheus_text(openmetrics: &str) -> String {
    let counters: Vec<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len() + 6 * counters.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        let about =
            ["# HELP ", "# TYPE "].into_iter().find_map(|kind| Some((kind, line.strip_prefix(kind)?)));
        match about.and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?))) {
            Some((kind, (name, rest))) if counters.contains(&name) => {
                text.extend([kind, name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_help_and_type_under_the_name_of_their_samples() {
        let openmetrics = "# HELP muster_a Some things.\n# TYPE muster_a counter\nmuster_a_total{of=\"x\"} 1\n\
                           # HELP muster_b Other things.\n# TYPE muster_b gauge\nmuster_b 2\n# EOF\n";
        let expected = "# HELP muster_a_total Some things.\n# TYPE muster_a_total counter\nmuster_a_total{of=\"x\"} 1\n\
                        # HELP muster_b Other things.\n# TYPE muster_b gauge\nmuster_b 2\n";
        assert_eq!(prometheus_text(openmetrics), expected);
    }
}
