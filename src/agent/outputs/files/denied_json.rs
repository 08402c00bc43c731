//! Who is denied, for programs: `denied.json`, and the lines of the file that `MUSTER_DENIED` names.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::outputs::source::material::{DeniedFacts, DeniedNumber};
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::identity::subject;

/// One of `denied.json`. What isn't known is `null`.
#[derive(Debug, Serialize)]
struct DeniedEntry<'a> {
    serial: &'a str,
    /// RFC 3339.
    end: Option<String>,
    spiffe_id: Option<&'a str>,
    /// As NATS and others print it.
    dn: Option<String>,
}

/// All of them, as a list, by serial.
pub(crate) fn denied_json(denied: &BTreeMap<DeniedNumber, DeniedFacts>) -> Vec<u8> {
    let entries = denied.iter().map(|(serial, facts)| DeniedEntry {
        serial,
        end: facts.until.map(|until| until.to_string()),
        spiffe_id: facts.spiffe_id.as_deref(),
        dn: facts.spiffe_id.as_deref().and_then(dn),
    });
    let mut text = serde_json::to_vec_pretty(&entries.collect::<Vec<_>>()).unwrap_or_default();
    text.push(b'\n');
    text
}

/// What such a file of ours says; nothing where it is none.
pub(crate) fn read_denied(text: &[u8]) -> BTreeMap<DeniedNumber, DeniedFacts> {
    #[derive(Deserialize)]
    struct ReadEntry {
        serial: String,
        end: Option<Timestamp>,
        spiffe_id: Option<String>,
    }
    let entries: Vec<ReadEntry> = serde_json::from_slice(text).unwrap_or_default();
    let facts =
        |entry: ReadEntry| (entry.serial, DeniedFacts { until: entry.end, spiffe_id: entry.spiffe_id });
    entries.into_iter().map(facts).collect()
}

/// A line for each: serial, end and SPIFFE id, with tabs between them.
pub(crate) fn denied_lines<'a>(
    entries: impl IntoIterator<Item = (&'a DeniedNumber, &'a DeniedFacts)>,
) -> String {
    let line = |(serial, facts): (&DeniedNumber, &DeniedFacts)| {
        let end = facts.until.map_or_else(|| "-".to_owned(), |until| until.to_string());
        format!("{serial}\t{end}\t{}\n", facts.spiffe_id.as_deref().unwrap_or("-"))
    };
    entries.into_iter().map(line).collect()
}

/// The subject of the SVIDs of an agent of ours.
fn dn(spiffe_id: &str) -> Option<String> {
    let id: SpiffeId = spiffe_id.parse().ok()?;
    Some(subject::rfc2253(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said_to_be() {
        let id = "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1";
        let denied = BTreeMap::from([
            ("01ab".to_owned(), DeniedFacts::default()),
            (
                "02cd".to_owned(),
                DeniedFacts { until: "2026-11-28T10:00:00Z".parse().ok(), spiffe_id: Some(id.to_owned()) },
            ),
        ]);
        let read: serde_json::Value = serde_json::from_slice(&denied_json(&denied)).unwrap();
        let expected = serde_json::json!([
            {"serial": "01ab", "end": null, "spiffe_id": null, "dn": null},
            {"serial": "02cd", "end": "2026-11-28T10:00:00Z", "spiffe_id": id,
             "dn": "O=muster,OU=01890000-0000-7000-8000-000000000000,CN=web-1"},
        ]);
        assert_eq!(read, expected);
        assert_eq!(read_denied(&denied_json(&denied)), denied);
        assert_eq!(denied_lines(&denied), format!("01ab\t-\t-\n02cd\t2026-11-28T10:00:00Z\t{id}\n"));
    }
}
