//! `muster agent-ca init`

use data_encoding::BASE64;
use serde_json::json;
use zeroize::Zeroizing;

use crate::api::authority::{AgentCaBody, IntermediateBody};
use crate::api::local::AgentCaPresence;
use crate::app::access::caller::{Caller, LocalVia};
use crate::app::keep::agent_ca::InitAgentCaError;
use crate::ca::hierarchy;
use crate::cli::Global;
use crate::cli::authority::agent_ca::root_key::{Encryption, Lock};
use crate::cli::authority::custody::Custody;
use crate::cli::authority::gen_cert::envelope_for_new_keys;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::values::SecretOutput;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::identity::spiffe::TrustDomain;
use crate::server;
use crate::store::OpenError;
use crate::tls::live::LivePeers;

pub(super) async fn init(
    global: &Global,
    trust_domain: &TrustDomain,
    encryption: &Encryption,
) -> Result<(), CliError> {
    let config = global.local_config()?;
    global.log(Some(&config))?;
    let mut output = SecretOutput::open()?;
    let lock = encryption.lock()?;
    server::prepare_data_dir(&config.data_dir)?;
    let _custody = Custody::of(&config.data_dir);
    let app = match server::open_app(&config, &LivePeers::default()) {
        Err(server::StartError::Store(OpenError::InUse(_))) => {
            return init_on_running(global, &config, trust_domain, output, &lock).await;
        }
        opened => opened?,
    };
    if app.hierarchy()?.is_some() {
        return Err(CliError::caused(&InitAgentCaError::Exists).hint("'muster agent-ca show' shows it"));
    }
    let envelope = envelope_for_new_keys(&config, false)?;
    let caller = Caller::Local { uid: rustix::process::getuid().as_raw(), via: LocalVia::Process };
    let keep = |key: &str| hand_out(&mut output, global.json, &lock, key);
    app.init_agent_ca(&caller, trust_domain, &envelope, keep).await?;
    say_created(trust_domain);
    Ok(())
}

/// The same where a server serves without an agent CA: made here, so that the root key goes nowhere else, and handed to
/// the server as certificates and a sealed key.
async fn init_on_running(
    global: &Global,
    config: &Config,
    trust_domain: &TrustDomain,
    mut output: SecretOutput,
    lock: &Lock,
) -> Result<(), CliError> {
    const ROUTE: &str = "/local/agent-ca";
    let control = Control::open_local(global).await?;
    if control.call(Call::get(ROUTE)).await?.read::<AgentCaPresence>()?.exists {
        return Err(CliError::caused(&InitAgentCaError::Exists).hint("'muster agent-ca show' shows it"));
    }
    let envelope = envelope_for_new_keys(config, false)?;
    let made = hierarchy::init(trust_domain, &envelope, config.crl_url.as_ref(), SystemClock.now())?;
    hand_out(&mut output, global.json, lock, &made.root_key_pem)
        .map_err(|error| CliError::caused(&InitAgentCaError::RootKey(error)))?;
    let base64 = |octets: &[u8]| BASE64.encode(octets);
    let intermediates = made.hierarchy.intermediates.iter().map(|intermediate| IntermediateBody {
        certificate: base64(&intermediate.certificate),
        sealed_key: base64(intermediate.sealed_key.as_deref().unwrap_or_default()),
    });
    let body = AgentCaBody {
        trust_domain: trust_domain.to_string(),
        roots: made.hierarchy.roots.iter().map(|root| base64(root)).collect(),
        root_lists: made.hierarchy.root_lists.iter().map(|list| base64(list)).collect(),
        intermediates: intermediates.collect(),
    };
    // The server reads the envelope key, so it must be the server's before the server is asked.
    drop(Custody::of(&config.data_dir));
    control.call(Call::post(ROUTE).body(&body)).await?;
    say_created(trust_domain);
    Ok(())
}

/// Prints the root key. It is handed out before the CA becomes real: a CA whose root key nobody holds is worse than
/// none.
pub(super) fn hand_out(output: &mut SecretOutput, json: bool, lock: &Lock, key: &str) -> std::io::Result<()> {
    let key = Zeroizing::new(lock.close(key).map_err(std::io::Error::other)?);
    let text = if json { format!("{:#}\n", json!({ "root_key": *key })) } else { key.to_string() };
    output.print(&Zeroizing::new(text))
}

fn say_created(trust_domain: &TrustDomain) {
    eprintln!("Agent CA for trust domain '{trust_domain}' created.");
    eprintln!(
        "The root key above is kept nowhere. Store it offline; it is needed to renew the intermediate."
    );
}
