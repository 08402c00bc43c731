//! What follows a restore, for the local operator: a time that was lost without one, and what waits to be confirmed.

use axum::extract::State;

use crate::api::local::{ConfirmBody, ConfirmedAnswer, DeclareBody, EpochAnswer, SuspendedItem};
use crate::app::keep::restore::Restored;
use crate::app::keep::restore::confirm::{NamedSuspended, SuspendedKind};
use crate::app::keep::restore::declare::Declaration;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::Local;
use crate::http::problem::Problem;

/// The store is older than it was: its agents come back, and nobody who was revoked.
pub(crate) async fn declare(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<DeclareBody>,
) -> Result<axum::Json<EpochAnswer>, Problem> {
    let DeclareBody { journal, crl: list, lost_at, strict, accept_revocation_loss } = body;
    let declaration = Declaration { journal, list, lost_at, strict, accept_revocation_loss };
    let declared = shared.app.declare(&caller, declaration, &shared.facts.envelope).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(declared.into()))
}

/// What was suspended counts again.
pub(crate) async fn confirm(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<ConfirmBody>,
) -> Result<axum::Json<ConfirmedAnswer>, Problem> {
    let kind: SuspendedKind = body
        .kind
        .parse()
        .map_err(|_| Problem::bad_request("What is confirmed is secrets, api-tokens or people."))?;
    let (confirmed, unknown) = shared.app.confirm_suspended(&caller, kind, body.ids).await?;
    let confirmed = confirmed.into_iter().map(SuspendedItem::from).collect();
    Ok(axum::Json(ConfirmedAnswer { confirmed, unknown }))
}

/// What waits to be confirmed.
pub(crate) async fn suspended(
    Local(_): Local,
    State(shared): State<Shared>,
) -> Result<axum::Json<Vec<SuspendedItem>>, Problem> {
    Ok(axum::Json(shared.app.suspended()?.into_iter().map(SuspendedItem::from).collect()))
}

impl From<NamedSuspended> for SuspendedItem {
    fn from(NamedSuspended { what, name, since }: NamedSuspended) -> Self {
        Self { kind: SuspendedKind::of(what).to_string(), id: what.to_string(), name, since }
    }
}

impl From<Restored> for EpochAnswer {
    fn from(restored: Restored) -> Self {
        let Restored { epoch, lost_by, .. } = restored;
        let named = |counts: &[(&'static str, usize)]| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        Self {
            backup_of: epoch.backup_at,
            lost_at: epoch.lost_at,
            lost_at_by: lost_by.into(),
            restored_at: epoch.restored_at,
            comes_back_until: (!epoch.strict).then_some(epoch.until),
            hosts_in_service: restored.hosts,
            journal_applied: restored.journal,
            crl_applied: restored.list,
            certificates_denied: restored.certificates_denied,
            identities_denied: restored.identities_denied,
            intermediates_revoked: restored.intermediates_revoked,
            withdrawn: named(&restored.withdrawn),
            suspended: named(&restored.suspended.by_name()),
            tokens_voided: restored.tokens_voided,
            sessions_ended: restored.sessions_ended,
        }
    }
}
