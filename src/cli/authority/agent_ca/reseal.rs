//! `muster agent-ca reseal`

use serde_json::json;

use crate::app::access::caller::{Caller, LocalVia};
use crate::app::keep::reseal::{ResealError, Resealed};
use crate::ca::envelope::EnvelopeError;
use crate::cli::Global;
use crate::cli::authority::custody::Custody;
use crate::cli::output::error::CliError;
use crate::cli::output::values::print_json;
use crate::tls::live::LivePeers;
use crate::{server, store};

pub(super) async fn reseal(global: &Global, new_key_file: Option<&std::path::Path>) -> Result<(), CliError> {
    let config = global.local_config()?;
    global.log(Some(&config))?;
    if !config.data_dir.join(store::FILE_NAME).exists() {
        return Err(CliError::new(format!("there is no store in {}", config.data_dir.display()))
            .hint("point --data-dir at the server's data directory"));
    }
    let _custody = Custody::of(&config.data_dir);
    let app = server::open_app(&config, &LivePeers::default())?;
    let caller = Caller::Local { uid: rustix::process::getuid().as_raw(), via: LocalVia::Process };
    let settings = server::envelope_settings(&config);
    let resealed = app.reseal(&caller, &settings, new_key_file).await;
    let Resealed { old_key: kept, recovery_line } = resealed.map_err(|error| match error {
        ResealError::Envelope(EnvelopeError::KeptElsewhere) => {
            CliError::caused(&error).hint("make one with age-keygen and give it with --new-key-file")
        }
        error => CliError::caused(&error),
    })?;
    if global.json {
        return print_json(&json!({ "old_key_file": kept, "recovery_line": recovery_line }));
    }
    eprintln!("The CA keys are sealed with the new envelope key.");
    match kept {
        Some(old) => {
            eprintln!("Old envelope key: {}", old.display());
            eprintln!("  It still opens earlier backups. DESTROY IT when they are not needed any more.");
        }
        None => eprintln!(
            "  Point envelope_key_file, or the unit's credential, at the new key before the next start."
        ),
    }
    if let Some(line) = recovery_line {
        eprintln!("Put this line into the files of the recovery identities, beside the one that is there:");
        eprintln!("  {line}");
    }
    Ok(())
}
