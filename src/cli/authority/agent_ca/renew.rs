//! `muster agent-ca renew` and `revoke-intermediate`, with the root key at hand

use std::time::Duration;

use data_encoding::BASE64;
use jiff::Timestamp;

use crate::api::authority::{
    AgentCaAnswer, CaCertificateItem, RenewBody, RequestRevocationBody, RequestedIntermediate,
    RevokeIntermediateBody, RevokedIntermediateAnswer,
};
use crate::ca::hierarchy::{self, IntermediateRequest, SignedIntermediate};
use crate::cli::Global;
use crate::cli::authority::agent_ca::root_key::RootKey;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::when;
use crate::cli::output::values::{print, print_json};
use crate::cli::received::Received;
use crate::clock::{Clock, SystemClock};
use crate::pem::file::PrivateKey;
use crate::pem::{self, PemError};

pub(super) async fn renew(global: &Global, now: bool, root_key: &RootKey) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    if now && waits(&control).await? {
        let answer = control.call(Call::post("/local/agent-ca/issue-now")).await?;
        return say_renewed(global, &answer);
    }
    let root_key = root_key.read()?;
    let request: RequestedIntermediate = control.call(Call::post("/local/agent-ca/request")).await?.read()?;
    let signed = sign(&request, &root_key).await?;
    drop(root_key);
    let body = RenewBody {
        certificate: pem::certificate(&signed.certificate),
        root_list: pem::encode(pem::CRL, &signed.root_list),
        sealed_key: request.sealed_key,
        now,
    };
    let answer = control.call(Call::post("/local/agent-ca/renew").body(&body)).await?;
    eprintln!("Take the root key offline again. Where the bundle was exported, export it again.");
    say_renewed(global, &answer)
}

pub(super) async fn revoke_intermediate(
    global: &Global,
    id: String,
    now: bool,
    root_key: &RootKey,
) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    let wanted = RequestRevocationBody { intermediate: id };
    if now && is_revoked_and_waits(&control, &wanted.intermediate).await? {
        let answer = control.call(Call::post("/local/agent-ca/publish-revocation").body(&wanted)).await?;
        return say_revoked(global, &answer);
    }
    let root_key = root_key.read()?;
    let request = control.call(Call::post("/local/agent-ca/request-revocation").body(&wanted)).await?;
    let request: RequestedIntermediate = request.read()?;
    let signed = sign(&request, &root_key).await?;
    drop(root_key);
    let body = RevokeIntermediateBody {
        certificate: pem::certificate(&signed.certificate),
        root_list: pem::encode(pem::CRL, &signed.root_list),
        sealed_key: request.sealed_key,
        revoked: request.revoked.unwrap_or_default(),
        now,
    };
    let answer = control.call(Call::post("/local/agent-ca/revoke-intermediate").body(&body)).await?;
    eprintln!("Take the root key offline again. Where the bundle was exported, export it again.");
    say_revoked(global, &answer)
}

/// Whether the list that names this intermediate has been signed and is not published. Whether the id is one is for the server to
/// say.
async fn is_revoked_and_waits(control: &Control, id: &str) -> Result<bool, CliError> {
    let agent_ca: AgentCaAnswer = control.call(Call::get("/v1/agent-ca")).await?.read()?;
    let digits = id.replace(':', "").to_ascii_lowercase();
    let meant = |it: &CaCertificateItem| it.serial.starts_with(&digits) || it.sha256.starts_with(&digits);
    let waits = |it: &CaCertificateItem| it.revoked_at.is_some() && !it.revocation_published;
    Ok(agent_ca.certificates.iter().any(|it| meant(it) && waits(it)))
}

pub(super) fn say_revoked(global: &Global, answer: &Received) -> Result<(), CliError> {
    if global.json {
        return print_json(&answer.raw);
    }
    print_revoked(&answer.read()?)
}

pub(super) fn print_revoked(answer: &RevokedIntermediateAnswer) -> Result<(), CliError> {
    let told = answer.publish_by.map_or_else(
        || "Relying parties are told now: they refuse its agents until these have rotated.".to_owned(),
        |by| {
            format!(
                "Relying parties are told when the agents in session have rotated, at {} at the latest.",
                when(by)
            )
        },
    );
    print(&format!(
        "Revoked intermediate, SHA-256 {}\nNew intermediate until {}, SHA-256 {}\n{told}\n",
        answer.revoked.sha256,
        when(answer.issuing.not_after),
        answer.issuing.sha256
    ))
}

/// Whether an intermediate that was made before does not issue yet.
async fn waits(control: &Control) -> Result<bool, CliError> {
    let agent_ca: AgentCaAnswer = control.call(Call::get("/v1/agent-ca")).await?.read()?;
    let newest = agent_ca.certificates.iter().rfind(|certificate| certificate.revoked_at.is_none());
    let newest = newest.and_then(|newest| newest.issuing_from);
    Ok(newest.is_some_and(|from| from > SystemClock.now()))
}

fn say_renewed(global: &Global, answer: &Received) -> Result<(), CliError> {
    if global.json {
        return print_json(&answer.raw);
    }
    print_renewed(&answer.read()?)
}

pub(super) fn print_renewed(renewed: &CaCertificateItem) -> Result<(), CliError> {
    let (from, until) = (when(renewed.issuing_from.unwrap_or(renewed.not_before)), when(renewed.not_after));
    print(&format!("New intermediate until {until}, SHA-256 {}\nIt issues from {from} on.\n", renewed.sha256))
}

/// Signs what the server asks for. The root key stays in this process.
async fn sign(
    request: &RequestedIntermediate,
    root_key: &PrivateKey,
) -> Result<SignedIntermediate, CliError> {
    let request = read_request(request)?;
    past_the_second_of(&request).await;
    Ok(hierarchy::sign(&request, root_key, SystemClock.now())?)
}

/// Programs tell the newer of two lists by whole seconds.
pub(super) async fn past_the_second_of(request: &IntermediateRequest) {
    let newest = hierarchy::newest_root_list(request).map(Timestamp::as_second);
    while newest == Some(SystemClock.now().as_second()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the server asks for.
pub(super) fn read_request(request: &RequestedIntermediate) -> Result<IntermediateRequest, CliError> {
    let unclear = || {
        CliError::new("the server's request can't be understood").hint("update both, and restart the server")
    };
    let octets = |base64: &str| BASE64.decode(base64.as_bytes()).map_err(|_| unclear());
    Ok(IntermediateRequest {
        trust_domain: request.trust_domain.parse().map_err(|_| unclear())?,
        roots: pem::file::certificates(request.roots.as_bytes()).map_err(|_| unclear())?,
        root_lists: root_lists(&request.root_lists).map_err(|_| unclear())?,
        public_key: octets(&request.public_key)?,
        sealed_key: octets(&request.sealed_key)?,
        revoked: request.revoked.as_deref().map(str::parse).transpose().map_err(|_| unclear())?,
        crl_base: request.crl_url.as_deref().map(str::parse).transpose().map_err(|_| unclear())?,
    })
}

/// More roots than a change of roots has at one time.
const ROOTS_MAX: usize = 8;

/// A store of before 0.2.0 has none.
fn root_lists(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    if text.is_empty() { Ok(Vec::new()) } else { pem::sequence(text, pem::CRL, ROOTS_MAX) }
}
