//! What keeps a deployment: asked for by the local operator, never over the network.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::authority::{
    AgentCaBody, CaCertificateItem, RenewBody, RequestRevocationBody, RequestedIntermediate,
    RevokeIntermediateBody, RevokedIntermediateAnswer,
};
use crate::api::encoding::word::Word;
use crate::api::local::{
    AgentCaPresence, CheckVerdict, CheckedTableItem, RecoveryAnswer, RecoveryBody, ReplicaItem,
    ServerTrustAnswer,
};
use crate::api::overview::WarningItem;
use crate::app::access::caller::Caller;
use crate::app::insight::fleet::ServerTrustCensus;
use crate::app::keep::agent_ca::{IntermediateRequest, Issuing, SignedIntermediate, SignedRequest};
use crate::app::keep::recovery::{RecoveryChange, RecoveryRecipients};
use crate::app::keep::replicas::ReplicaFigures;
use crate::app::keep::revoke_intermediate::{Publishing, RevokedIntermediate};
use crate::app::keep::scrub::CheckedTable;
use crate::domain::replicas::ReplicaSettings;
use crate::http::input::body::Json;
use crate::http::input::extract::Local;
use crate::http::problem::{Problem, with_causes};
use crate::http::{Shared, findings};
use crate::pem;

/// Parts of an answer that wait for a slow reader; what makes them waits too.
const PARTS_WAITING: usize = 4;

/// A sealed backup, as it is made. When it fails half-way, the answer breaks off.
pub(crate) async fn backup(Local(caller): Local, State(shared): State<Shared>) -> Result<Response, Problem> {
    let backup = shared.app.begin_backup(&caller, &shared.facts.envelope).await?;
    let (parts, body) = answer_in_parts();
    tokio::spawn(async move {
        let breaking = parts.0.clone();
        if let Err(error) = backup.write_to(parts).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a backup was not finished");
            // A reader that went away needs no telling.
            let _ = breaking.send(Err(io::Error::other("the backup failed"))).await;
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// A line of JSON for every table that is whole, as soon as that is known, and a last one with the first damage and with
/// what else there is to see to.
pub(crate) async fn check(Local(_): Local, State(shared): State<Shared>) -> Response {
    let (mut parts, body) = answer_in_parts();
    let last = parts.0.clone();
    tokio::spawn(async move {
        let checked = shared.app.check(move |CheckedTable { table, rows }| {
            // The check goes on for a reader that went away; it changes nothing and comes to its end.
            let line = CheckedTableItem { table: table.to_owned(), rows };
            let _ = parts.write_all(&line_of(&line));
        });
        let (damage, found) = match checked.await {
            Ok(Ok(())) => (None, findings::all(&shared).await),
            // What a damaged store says of itself is not believed.
            Ok(Err(damage)) => (Some(with_causes(&damage)), Ok(shared.app.damage().into_iter().collect())),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the check was not finished");
                return;
            }
        };
        let Ok(found) = found.inspect_err(|error| {
            tracing::error!(error = error as &dyn std::error::Error, "the check was not finished");
        }) else {
            return;
        };
        let findings: Vec<_> = found.into_iter().map(WarningItem::from).collect();
        let verdict = line_of(&CheckVerdict { damage, findings });
        let _ = last.send(Ok(Bytes::from(verdict))).await;
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// How each replica stands.
pub(crate) async fn replicas(Local(_): Local, State(shared): State<Shared>) -> axum::Json<Vec<ReplicaItem>> {
    let shipped: Vec<_> = shared.app.replica_figures().into_iter().map(ReplicaItem::from).collect();
    if !shipped.is_empty() {
        return axum::Json(shipped);
    }
    // No server runs that would know more than what is set.
    axum::Json(shared.app.set_replicas().iter().map(ReplicaItem::from).collect())
}

impl From<ReplicaFigures> for ReplicaItem {
    fn from(figures: ReplicaFigures) -> Self {
        let ReplicaFigures { standing, settings, lag, unsent, .. } = figures;
        Self {
            url: standing.url,
            entry: settings.to_string(),
            state: Some(Word::Known(standing.state)),
            since: Some(standing.since),
            why: standing.why,
            last_frame_at: standing.last_frame_at,
            lag_seconds: Some(lag.as_secs()),
            unsent: Some(unsent),
            snapshot_at: standing.snapshot_at,
        }
    }
}

impl From<&ReplicaSettings> for ReplicaItem {
    fn from(settings: &ReplicaSettings) -> Self {
        Self {
            url: settings.place.to_string(),
            entry: settings.to_string(),
            state: None,
            since: None,
            why: None,
            last_frame_at: None,
            lag_seconds: None,
            unsent: None,
            snapshot_at: None,
        }
    }
}

fn line_of(line: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).expect("a line of a check is plain data and always becomes JSON");
    text.push(b'\n');
    text
}

/// The public key of another intermediate.
pub(crate) async fn request_intermediate(
    Local(_): Local,
    State(shared): State<Shared>,
) -> Result<axum::Json<RequestedIntermediate>, Problem> {
    Ok(axum::Json(shared.app.request_intermediate(&shared.facts.envelope).await?.into()))
}

/// The same for one in whose favour another one is revoked.
pub(crate) async fn request_revocation(
    Local(_): Local,
    State(shared): State<Shared>,
    Json(body): Json<RequestRevocationBody>,
) -> Result<axum::Json<RequestedIntermediate>, Problem> {
    let requested = shared.app.request_revocation(&body.intermediate, &shared.facts.envelope).await?;
    Ok(axum::Json(requested.into()))
}

impl From<IntermediateRequest> for RequestedIntermediate {
    fn from(request: IntermediateRequest) -> Self {
        Self {
            trust_domain: request.trust_domain.to_string(),
            roots: request.roots.iter().map(|root| pem::certificate(root)).collect(),
            root_lists: request.root_lists.iter().map(|list| pem::encode(pem::CRL, list)).collect(),
            public_key: BASE64.encode(&request.public_key),
            sealed_key: BASE64.encode(&request.sealed_key),
            revoked: request.revoked.map(|serial| serial.to_string()),
            crl_url: request.crl_base.map(|base| base.to_string()),
        }
    }
}

/// What the root has signed, as it came.
fn signed_request(certificate: &str, root_list: &str, sealed_key: &str) -> Result<SignedRequest, Problem> {
    let unusable =
        || Problem::bad_request("The certificate or the list is not PEM, or the sealed key is not base64.");
    let certificate = pem::single(certificate, &[pem::CERTIFICATE]).map_err(|_| unusable())?;
    let root_list = pem::single(root_list, &[pem::CRL]).map_err(|_| unusable())?;
    let sealed_key = BASE64.decode(sealed_key.as_bytes()).map_err(|_| unusable())?;
    Ok(SignedRequest { signed: SignedIntermediate { certificate, root_list }, sealed_key })
}

/// An overlapping intermediate, which the root has signed.
pub(crate) async fn renew_agent_ca(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<RenewBody>,
) -> Result<axum::Json<CaCertificateItem>, Problem> {
    let signed = signed_request(&body.certificate, &body.root_list, &body.sealed_key)?;
    let issuing = if body.now { Issuing::Now } else { Issuing::Later };
    let renewed = shared.app.install_intermediate(&caller, signed, issuing, &shared.facts.envelope).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(renewed.into()))
}

/// A new intermediate in the place of one that is revoked.
pub(crate) async fn revoke_intermediate(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<RevokeIntermediateBody>,
) -> Result<axum::Json<RevokedIntermediateAnswer>, Problem> {
    let signed = signed_request(&body.certificate, &body.root_list, &body.sealed_key)?;
    let serial = body.revoked.parse().map_err(|_| Problem::bad_request("The serial is none."))?;
    let publishing = if body.now { Publishing::Now } else { Publishing::WhenRotated };
    let envelope = &shared.facts.envelope;
    let revoked = shared.app.revoke_intermediate(&caller, signed, serial, publishing, envelope).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(revoked.into()))
}

/// The list that names a revoked intermediate waits no longer.
pub(crate) async fn publish_revocation(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<RequestRevocationBody>,
) -> Result<axum::Json<RevokedIntermediateAnswer>, Problem> {
    let published = shared.app.publish_revocation(&caller, &body.intermediate).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(published.into()))
}

impl From<RevokedIntermediate> for RevokedIntermediateAnswer {
    fn from(revoked: RevokedIntermediate) -> Self {
        let RevokedIntermediate { issuing, revoked, publish_by } = revoked;
        Self { issuing: issuing.into(), revoked: revoked.into(), publish_by }
    }
}

/// The intermediate that waits issues at once.
pub(crate) async fn issue_now(
    Local(caller): Local,
    State(shared): State<Shared>,
) -> Result<axum::Json<CaCertificateItem>, Problem> {
    let taken = shared.app.issue_from_waiting(&caller, &shared.facts.envelope).await?;
    shared.renew_trust_documents().await;
    Ok(axum::Json(taken.into()))
}

/// Whether there is an agent CA, for a command that is about to make one.
pub(crate) async fn has_agent_ca(
    Local(_): Local,
    State(shared): State<Shared>,
) -> Result<axum::Json<AgentCaPresence>, Problem> {
    Ok(axum::Json(AgentCaPresence { exists: shared.app.hierarchy()?.is_some() }))
}

/// How the hosts in service know the server, for a command that is about to make another key.
pub(crate) async fn server_trust(
    Local(_): Local,
    State(shared): State<Shared>,
) -> Result<axum::Json<ServerTrustAnswer>, Problem> {
    let ServerTrustCensus { hosts, leaf_alone, unsaid } = shared.app.server_trust().await?;
    Ok(axum::Json(ServerTrustAnswer { hosts, leaf_alone, unsaid }))
}

/// The first agent CA, made by the command that asks.
pub(crate) async fn install_agent_ca(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<AgentCaBody>,
) -> Result<StatusCode, Problem> {
    let made = body.read().ok_or_else(|| {
        Problem::bad_request("The agent CA is not in base64, or its trust domain is not one.")
    })?;
    shared.app.install_agent_ca(&caller, made, &shared.facts.envelope).await?;
    shared.renew_trust_documents().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Who opens what the envelope seals.
pub(crate) async fn recovery(
    Local(_): Local,
    State(shared): State<Shared>,
) -> Result<axum::Json<RecoveryAnswer>, Problem> {
    Ok(axum::Json(shared.app.recovery(&shared.facts.envelope)?.into()))
}

pub(crate) async fn add_recovery(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<RecoveryBody>,
) -> Result<axum::Json<RecoveryAnswer>, Problem> {
    change_recovery(&caller, &shared, RecoveryChange::Add, &body).await
}

pub(crate) async fn remove_recovery(
    Local(caller): Local,
    State(shared): State<Shared>,
    Json(body): Json<RecoveryBody>,
) -> Result<axum::Json<RecoveryAnswer>, Problem> {
    change_recovery(&caller, &shared, RecoveryChange::Remove, &body).await
}

async fn change_recovery(
    caller: &Caller,
    shared: &Shared,
    change: RecoveryChange,
    body: &RecoveryBody,
) -> Result<axum::Json<RecoveryAnswer>, Problem> {
    let recipient = body.recipient.parse().map_err(|_| Problem::bad_request("The recipient is none."))?;
    let changed = shared.app.change_recovery(caller, &shared.facts.envelope, change, recipient).await?;
    Ok(axum::Json(changed.into()))
}

impl From<RecoveryRecipients> for RecoveryAnswer {
    fn from(recovery: RecoveryRecipients) -> Self {
        let recipients = recovery.recipients.iter().map(ToString::to_string).collect();
        Self { recipients, line: recovery.line }
    }
}

/// An answer that is written from another thread.
fn answer_in_parts() -> (Parts, Body) {
    let (sender, receiver) = mpsc::channel(PARTS_WAITING);
    (Parts(sender), Body::from_stream(ReceiverStream::new(receiver)))
}

/// Where the answer is written. Must not be written to from an async task.
struct Parts(mpsc::Sender<io::Result<Bytes>>);

impl Write for Parts {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(part))).map_err(gone)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
