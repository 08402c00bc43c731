//! What `/local/*` answers: to commands on the server's own machine, never over the network.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A line of `POST /local/check`: a table that is whole.
#[derive(Serialize, Deserialize)]
pub(crate) struct CheckedTableItem {
    pub(crate) table: String,
    pub(crate) rows: u64,
}

/// The last line of `POST /local/check`; without it the check was not finished.
#[derive(Serialize, Deserialize)]
pub(crate) struct CheckVerdict<Finding> {
    /// The first damage found; `null` when the store is whole. It must be there: its absence is no `null`.
    #[serde(deserialize_with = "nullable")]
    pub(crate) damage: Option<String>,
    #[serde(default = "Vec::new")]
    pub(crate) findings: Vec<Finding>,
}

/// `GET /local/agent-ca`
#[derive(Serialize, Deserialize)]
pub(crate) struct AgentCaPresence {
    pub(crate) exists: bool,
}

/// `POST /local/envelope/recovery` and `POST /local/envelope/recovery/remove`
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecoveryBody {
    /// An age recipient.
    pub(crate) recipient: String,
}

/// What `/local/envelope/recovery` answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct RecoveryAnswer {
    pub(crate) recipients: Vec<String>,
    /// The line that belongs into the file of a recovery identity.
    pub(crate) line: String,
}

/// A value that may be `null` and must be there: by itself serde takes a missing one for `null`.
fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_without_a_verdict_is_not_taken_for_a_whole_store() {
        let whole = |line: &str| {
            serde_json::from_str::<CheckVerdict<u8>>(line).map(|verdict| verdict.damage.is_none()).ok()
        };
        assert_eq!(whole(r#"{"damage": null, "findings": []}"#), Some(true));
        assert_eq!(whole(r#"{"damage": null}"#), Some(true));
        assert_eq!(whole(r#"{"damage": "a row"}"#), Some(false));
        assert_eq!(whole(r#"{"table": "hosts", "rows": 3}"#), None);
    }
}
