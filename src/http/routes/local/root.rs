//! The root of the agent CA, as the local operator changes it: requests for one that is kept offline, and another one in
//! its place. No key of a root ever comes here.

use axum::extract::State;
use data_encoding::BASE64;

use crate::api::authority::{
    ChangeRootBody, ChangedRootAnswer, InstallSignedBody, InstalledAnswer, PrepareRootBody,
    PreparedRootAnswer, RequestedIntermediate, RootChangeItem, RootRequestAnswer, RootRequestBody,
    RootRequestItem,
};
use crate::app::keep::agent_ca::SignedIntermediate;
use crate::app::keep::root::change::{
    ChangedRoot, MadeRoot, PreparedRoot, RootChangeStanding, Waiting, key_fingerprint,
};
use crate::app::keep::root::errands::{InstalledErrand, Wish, word_of};
use crate::domain::identity::hierarchy::RootTask;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::Local;
use crate::http::problem::Problem;
use crate::pem;

/// A file for where the root key is.
pub(crate) async fn request(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<RootRequestBody>,
) -> Result<axum::Json<RootRequestAnswer>, Problem> {
    let wish = match (&*body.task, body.intermediate) {
        ("renew", None) => Wish::Renew,
        ("revoke_intermediate", Some(intermediate)) => Wish::Revoke(intermediate),
        ("prepare_root", None) => Wish::Prepare,
        _ => return Err(Problem::bad_request("There is no such task for a root.")),
    };
    let envelope = &shared.facts.envelope;
    let errand = shared.app.open_root_request(&caller, wish, body.now, envelope).await?;
    Ok(axum::Json(RootRequestAnswer {
        request: errand.to_pem(),
        new_key: key_fingerprint(&errand.request.public_key),
    }))
}

/// What came back.
pub(crate) async fn install(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<InstallSignedBody>,
) -> Result<axum::Json<InstalledAnswer>, Problem> {
    let envelope = &shared.facts.envelope;
    let installed = shared.app.install_signed(&caller, &body.signed, body.now, envelope).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(installed.into()))
}

/// The public key for the intermediate of another root.
pub(crate) async fn request_root(
    Local(_): Local,
    State(shared): State<Shared>,
) -> Result<axum::Json<RequestedIntermediate>, Problem> {
    Ok(axum::Json(shared.app.request_root(&shared.facts.envelope).await?.into()))
}

/// Another root, made by the command that asks.
pub(crate) async fn prepare(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<PrepareRootBody>,
) -> Result<axum::Json<PreparedRootAnswer>, Problem> {
    let unusable =
        || Problem::bad_request("A certificate or the list is not PEM, or the sealed key is not base64.");
    let single = |text: &str, label| pem::single(text, &[label]).map_err(|_| unusable());
    let signed = SignedIntermediate {
        certificate: single(&body.certificate, pem::CERTIFICATE)?,
        root_list: single(&body.root_list, pem::CRL)?,
    };
    let made = MadeRoot { root: single(&body.root, pem::CERTIFICATE)?, signed };
    let sealed_key = BASE64.decode(body.sealed_key.as_bytes()).map_err(|_| unusable())?;
    let prepared = shared.app.prepare_root(&caller, made, sealed_key, &shared.facts.envelope).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(prepared.into()))
}

/// The prepared root issues.
pub(crate) async fn activate(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<ChangeRootBody>,
) -> Result<axum::Json<ChangedRootAnswer>, Problem> {
    let changed = shared.app.activate_root(&caller, waiting(&body), &shared.facts.envelope).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(changed.into()))
}

/// The root before it goes.
pub(crate) async fn retire(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<ChangeRootBody>,
) -> Result<axum::Json<ChangedRootAnswer>, Problem> {
    let changed = shared.app.retire_root(&caller, waiting(&body), &shared.facts.envelope).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(changed.into()))
}

const fn waiting(body: &ChangeRootBody) -> Waiting {
    if body.force { Waiting::Not } else { Waiting::ForEverybody }
}

impl From<InstalledErrand> for InstalledAnswer {
    fn from(installed: InstalledErrand) -> Self {
        let none = Self::default();
        match installed {
            InstalledErrand::Renewed(renewed) => Self { renewed: Some(renewed.into()), ..none },
            InstalledErrand::Revoked(revoked) => Self { revoked: Some((*revoked).into()), ..none },
            InstalledErrand::Prepared(prepared) => Self { prepared: Some((*prepared).into()), ..none },
        }
    }
}

impl From<PreparedRoot> for PreparedRootAnswer {
    fn from(PreparedRoot { root, intermediate }: PreparedRoot) -> Self {
        Self { root: root.into(), intermediate: intermediate.into() }
    }
}

impl From<ChangedRoot> for ChangedRootAnswer {
    fn from(ChangedRoot { root, issuing, agents, lost }: ChangedRoot) -> Self {
        Self {
            root: root.into(),
            issuing: issuing.into(),
            agents_seen: agents.seen,
            agents_without: agents.without,
            certificates_lost: lost,
        }
    }
}

impl From<RootChangeStanding> for RootChangeItem {
    fn from(standing: RootChangeStanding) -> Self {
        let RootChangeStanding { prepared_at, activated_at, retire_from, agents } = standing;
        let (agents_seen, agents_without) = (agents.seen, agents.without);
        Self { prepared_at, activated_at, retire_from, agents_seen, agents_without }
    }
}

impl From<(RootTask, jiff::Timestamp)> for RootRequestItem {
    fn from((task, made_at): (RootTask, jiff::Timestamp)) -> Self {
        Self { task: word_of(task).into(), made_at }
    }
}
