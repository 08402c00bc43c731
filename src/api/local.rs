//! What `/local/*` answers: to commands on the server's own machine, never over the network.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::api::encoding::word::Word;
use crate::domain::identity::restore_epoch::LostBy;
use crate::domain::replicas::ReplicaState;

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

/// `GET /local/hosts/server-trust`: how the hosts in service know the server.
#[derive(Serialize, Deserialize)]
pub(crate) struct ServerTrustAnswer {
    pub(crate) hosts: usize,
    /// They know its very certificate, and would refuse another key.
    pub(crate) leaf_alone: usize,
    /// They have not said.
    pub(crate) unsaid: usize,
}

/// One of `GET /local/replicas`.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReplicaItem {
    pub(crate) url: String,
    /// All that is set for it, as in `MUSTER_REPLICAS`.
    pub(crate) entry: String,
    /// `null`: no server runs that would write there.
    pub(crate) state: Option<Word<ReplicaState>>,
    pub(crate) since: Option<Timestamp>,
    /// Why it is not following, as a clause.
    pub(crate) why: Option<String>,
    /// When the last change was written that it has.
    pub(crate) last_frame_at: Option<Timestamp>,
    /// For how long the oldest change has been waiting that it lacks.
    pub(crate) lag_seconds: Option<i64>,
    /// How many changes it lacks.
    pub(crate) unsent: Option<u64>,
    /// When its newest snapshot was begun.
    pub(crate) snapshot_at: Option<Timestamp>,
}

/// `POST /local/restore/declare`
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclareBody {
    /// Whether the journal of before lies in the data directory under the name that is kept for it.
    pub(crate) journal: bool,
    /// The same of a revocation list.
    pub(crate) crl: bool,
    pub(crate) lost_at: Option<Timestamp>,
    pub(crate) strict: bool,
    pub(crate) accept_revocation_loss: bool,
}

/// What a restore epoch begins with.
#[derive(Serialize, Deserialize)]
pub(crate) struct EpochAnswer {
    /// What was answered before is on record.
    pub(crate) backup_of: Timestamp,
    pub(crate) lost_at: Timestamp,
    /// `journal`, `replica`, `lost_at`, `crl` or `backup`: what tells when the server was lost.
    pub(crate) lost_at_by: Word<LostBy>,
    pub(crate) restored_at: Timestamp,
    /// How long agents come back by themselves; `null`: none does.
    pub(crate) comes_back_until: Option<Timestamp>,
    pub(crate) hosts_in_service: usize,
    pub(crate) journal_applied: bool,
    pub(crate) crl_applied: bool,
    pub(crate) certificates_denied: usize,
    pub(crate) identities_denied: usize,
    pub(crate) intermediates_revoked: usize,
    /// By what it is, how many were taken away in the time that was lost, and are again.
    pub(crate) withdrawn: BTreeMap<String, usize>,
    /// The same of what counts for nothing until it is confirmed.
    pub(crate) suspended: BTreeMap<String, usize>,
    pub(crate) tokens_voided: usize,
    pub(crate) sessions_ended: usize,
}

/// `POST /local/restore/confirm`
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmBody {
    /// `secrets`, `api-tokens` or `people`
    pub(crate) kind: String,
    /// Ids, or user names; none: all of the kind.
    pub(crate) ids: Vec<String>,
}

/// Something that waits to be confirmed, or was.
#[derive(Serialize, Deserialize)]
pub(crate) struct SuspendedItem {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) since: Timestamp,
}

/// What `POST /local/restore/confirm` answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConfirmedAnswer {
    pub(crate) confirmed: Vec<SuspendedItem>,
    /// What was named and does not wait: then nothing was confirmed.
    pub(crate) unknown: Vec<String>,
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
