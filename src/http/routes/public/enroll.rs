//! The two doors that need no login: enrollment and rotation.

use axum::extract::State;
use data_encoding::BASE64;

use crate::api::enroll::{EnrollBody, RotateBody, SvidAnswer};
use crate::app::issue::enroll::EnrollRequest;
use crate::app::issue::issuing::IssuedAnswer;
use crate::app::issue::rotate::RotateRequest;
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::host::HostFacts;
use crate::domain::network::host_port::HostPort;
use crate::domain::replicas::Synchronous;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::{CameBy, ClientAddress};
use crate::http::problem::Problem;
use crate::http::reply::Created;

pub(crate) async fn enroll(
    State(shared): State<Shared>,
    ClientAddress(peer): ClientAddress,
    CameBy(came_by): CameBy,
    Json(body): Json<EnrollBody>,
) -> Result<Created<SvidAnswer>, Problem> {
    let (kind, credential) = match (body.token, body.secret) {
        (Some(token), None) => (CredentialKind::JoinToken, token),
        (None, Some(secret)) => (CredentialKind::EnrollmentSecret, secret),
        _ => return Err(Problem::bad_request("Send exactly one of 'token' and 'secret'.")),
    };
    if Credential::claimed_kind(&credential).is_some_and(|claimed| claimed != kind) {
        return Err(Problem::bad_request(
            "A join token goes into 'token', an enrollment secret into 'secret'.",
        ));
    }
    let facts = body.host.map(HostFacts::from).unwrap_or_default();
    let id = Credential::parse(kind, &credential).map(|credential| credential.id());
    let hostname = facts.hostname.clone();
    let request = EnrollRequest { kind, credential, csr: body.csr, facts, peer };
    let error = match shared.app.enroll(request).await {
        Ok(svid) => {
            // The same request again is answered with the certificate that is there.
            shared.replicated(Synchronous::Enrollments).await?;
            return Ok(Created(answer(&shared, svid, came_by.as_ref())));
        }
        Err(error) => error,
    };
    if error.proved_nothing() {
        // What is throttled is not recorded: the trail has the failures that used up the allowance.
        shared.throttle.wrong_credential(peer)?;
    }
    shared.app.record_refused_enrollment(&error, id, hostname.as_deref(), peer).await?;
    Err(error.into())
}

pub(crate) async fn rotate(
    State(shared): State<Shared>,
    ClientAddress(peer): ClientAddress,
    CameBy(came_by): CameBy,
    Json(body): Json<RotateBody>,
) -> Result<axum::Json<SvidAnswer>, Problem> {
    let proof = BASE64.decode(body.proof.as_bytes());
    let proof = proof.map_err(|_| Problem::bad_request("'proof' is not standard base64 (RFC 4648, 4)."))?;
    let request = RotateRequest { chain: body.chain, csr: body.csr, proof, peer };
    let refused = match shared.app.rotate(request).await {
        Ok(svid) => return Ok(axum::Json(answer(&shared, svid, came_by.as_ref()))),
        Err(refused) => refused,
    };
    if refused.error.proved_nothing() {
        shared.throttle.wrong_credential(peer)?;
    }
    shared.app.record_refused_rotation(&refused, peer).await?;
    Err(refused.error.into())
}

fn answer(shared: &Shared, svid: IssuedAnswer, came_by: Option<&HostPort>) -> SvidAnswer {
    SvidAnswer::new(svid, shared.facts.server_ca(), shared.facts.reach.told(came_by))
}
