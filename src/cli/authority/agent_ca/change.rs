//! `muster agent-ca prepare-root`, `activate-root` and `retire-root`

use crate::api::authority::{
    ChangeRootBody, ChangedRootAnswer, PrepareRootBody, PreparedRootAnswer, RequestedIntermediate,
};
use crate::ca::hierarchy;
use crate::ca::root::change;
use crate::cli::Global;
use crate::cli::authority::agent_ca::create::hand_out;
use crate::cli::authority::agent_ca::renew::read_request;
use crate::cli::authority::agent_ca::root_key::Encryption;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::when;
use crate::cli::output::values::{SecretOutput, print, print_json};
use crate::clock::{Clock, SystemClock};
use crate::pem;

/// Who is not counted, in every step.
const NOT_COUNTED: &str = "Relying parties that fetch files are not counted";

pub(super) async fn prepare(global: &Global, encryption: &Encryption) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    let mut output = SecretOutput::open()?;
    let lock = encryption.lock()?;
    let request = control.call(Call::post("/local/agent-ca/root/request-root")).await?;
    let request: RequestedIntermediate = request.read()?;
    let key = change::new_key()?;
    let made = change::make(
        &read_request(&request)?,
        &hierarchy::read_root_key(key.as_bytes())?,
        SystemClock.now(),
    )?;
    // A root whose key nobody holds is worse than none.
    hand_out(&mut output, global.json, &lock, &key)
        .map_err(|error| CliError::new(format!("the new root key could not be handed out: {error}")))?;
    drop(key);
    let body = PrepareRootBody {
        root: pem::certificate(&made.root),
        certificate: pem::certificate(&made.signed.certificate),
        root_list: pem::encode(pem::CRL, &made.signed.root_list),
        sealed_key: request.sealed_key,
    };
    let answer = control.call(Call::post("/local/agent-ca/root/prepare").body(&body)).await;
    let answer = answer.inspect_err(|_| eprintln!("The key above belongs to nothing; destroy it."))?;
    let PreparedRootAnswer { root, .. } = answer.read()?;
    eprintln!("New root prepared, SHA-256 {}. It is public and issues nothing yet.", root.sha256);
    eprintln!("  The root key above is kept nowhere. Store it offline, beside the one before.");
    say_next();
    Ok(())
}

/// What follows the first step.
pub(super) fn say_next() {
    eprintln!("Agents are asked to rotate, so that they get to know it. {NOT_COUNTED}: give them both roots");
    eprintln!("  (muster agent-ca export --roots), or see that they have fetched since.");
    eprintln!(
        "Next, when 'muster agent-ca show' says that every agent knows it: muster agent-ca activate-root"
    );
}

pub(super) async fn activate(global: &Global, force: bool) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    let call = Call::post("/local/agent-ca/root/activate");
    let answer = control.call(call.body(&ChangeRootBody { force })).await?;
    if global.json {
        return print_json(&answer.raw);
    }
    let changed: ChangedRootAnswer = answer.read()?;
    print(&format!(
        "The new root issues now, SHA-256 {}\nIntermediate until {}, SHA-256 {}\n{}",
        changed.root.sha256,
        when(changed.issuing.not_after),
        changed.issuing.sha256,
        counted(&changed)
    ))?;
    eprintln!(
        "{NOT_COUNTED}: one that does not have the new root refuses agents from their next rotation on."
    );
    eprintln!("Next, when 'muster agent-ca show' says that it is time: muster agent-ca retire-root");
    Ok(())
}

pub(super) async fn retire(global: &Global, force: bool) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    let call = Call::post("/local/agent-ca/root/retire");
    let answer = control.call(call.body(&ChangeRootBody { force })).await?;
    if global.json {
        return print_json(&answer.raw);
    }
    let changed: ChangedRootAnswer = answer.read()?;
    let lost = changed.certificates_lost;
    let lost =
        if lost > 0 { format!("Certificates of it that had not expired: {lost}\n") } else { String::new() };
    print(&format!(
        "The old root is gone. What is left, SHA-256 {}\n{}{lost}",
        changed.root.sha256,
        counted(&changed)
    ))?;
    eprintln!("{NOT_COUNTED}: take the old root out of their files, too (muster agent-ca export --roots).");
    eprintln!("Destroy the old root's key.");
    Ok(())
}

fn counted(changed: &ChangedRootAnswer) -> String {
    let ChangedRootAnswer { agents_seen, agents_without, .. } = changed;
    format!("Agents seen in the last week: {agents_seen}; not known to have both roots: {agents_without}\n")
}
