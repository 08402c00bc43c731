//! `muster agent outputs`: the identity as files, for programs that speak no SPIFFE.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::agent::outputs::check::check;
use crate::agent::outputs::config::OutputsConfig;
use crate::agent::outputs::run;
use crate::agent::outputs::status::{OutputState, OutputStatus, outputs_status};
use crate::agent::outputs::unit::drop_in;
use crate::cli::agent::command::tell_systemd;
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made, print_table};
use crate::cli::output::values::{print, print_json};
use crate::clock::{Clock, SystemClock};
use crate::process::{NotifyState, OnHangup, notify, stop_on_signals};

const HANGUP: &str = "SIGHUP changes nothing: settings are read when the outputs start";

/// Keep certificate, key, roots and revocation lists as files, for programs that speak no SPIFFE
#[derive(Debug, Args)]
#[command(
    long_about = "Keep certificate, key, roots and revocation lists as files, for programs that speak no SPIFFE, and run a command when they change.\n\nA client of the SPIFFE Workload API, of the agent beside it or of any other provider. In each directory the files are links into ..data, which one rename points to another whole set: who opens ..data once, or reads combined.pem, never has a certificate beside another one's key. Files stay as they are while the provider is away.\n\nSIGTERM and SIGINT end it. Exit status: 0 stopped, or with --once and --check all is well; 1 failed.",
    after_long_help = "EXAMPLES:\n    muster agent outputs --config /etc/muster/outputs.yml\n    muster agent outputs --config /etc/muster/outputs.yml --check\n    muster agent outputs --config /etc/muster/outputs.yml --unit > /etc/systemd/system/muster-agent-outputs.service.d/outputs.conf\n\nFILES, by format:\n  pem       cert.pem key.pem\n  combined  combined.pem\n  pkcs12    identity.p12 truststore.p12\n  hashed    cert.pem key.pem ca.d/ crl.d/\n  der       cert.der intermediate.der key.der\n  and beside each: ca.pem bundle.pem crl.pem denied.json"
)]
pub struct OutputsArgs {
    /// Which files are kept where
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Bring the files up to date, run what is to be run, and end
    #[arg(long, group = "mode")]
    once: bool,

    /// Say what would be done and what is wrong, and write nothing
    #[arg(long, group = "mode")]
    check: bool,

    /// Show what each output has, since when, and how its command fares; asks nobody
    #[arg(long, group = "mode")]
    status: bool,

    /// Print the systemd drop-in with the user and the folders that these settings need
    #[arg(long, group = "mode")]
    unit: bool,
}

impl OutputsArgs {
    pub async fn run(self, json: bool) -> Result<ExitCode, CliError> {
        let config = OutputsConfig::load(&self.config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let well = if self.status {
            show_status(&config, json)?
        } else if self.check {
            let found = check(&config, clock).await;
            if json {
                print_json(&json!(found))?;
            } else {
                print(&found.to_text())?;
            }
            found.is_well()
        } else if self.unit {
            let path = std::path::absolute(&self.config).unwrap_or(self.config);
            let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/muster".into());
            let text = drop_in(&config, &path, &program)?;
            if json {
                print_json(&json!({ "drop_in": text }))?;
            } else {
                print(&text)?;
            }
            true
        } else {
            let stop = stop_on_signals(OnHangup::Explain(HANGUP), || notify(NotifyState::Stopping))?;
            if self.once {
                run::once(config, clock, stop).await?;
            } else {
                run::keep(config, clock, stop, tell_systemd).await;
            }
            true
        };
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show_status(config: &OutputsConfig, json: bool) -> Result<bool, CliError> {
    let outputs = outputs_status(config, SystemClock.now());
    let well = outputs.iter().all(|output| output.state == OutputState::Ok);
    if json {
        print_json(&json!({ "socket": config.socket, "outputs": outputs }))?;
        return Ok(well);
    }
    let columns = [
        made("DIR", |output: &OutputStatus| output.dir.display().to_string()),
        made("FORMAT", |output: &OutputStatus| output.format.to_owned()),
        made("STATE", |output: &OutputStatus| output.state.as_str().to_owned()),
        column("KEPT", |output: &OutputStatus| &output.kept),
        column("WRITTEN", |output: &OutputStatus| &output.written_at),
        column("EXPIRES", |output: &OutputStatus| &output.not_after),
        column("ON_CHANGE", |output: &OutputStatus| &output.on_change_last_success_at),
    ];
    print_table(&outputs, &columns, "No outputs.")?;
    let troubles = outputs.iter().flat_map(|output| {
        let all = [
            ("files", &output.problem),
            ("lists", &output.lists_problem),
            ("on_change", &output.on_change_failure),
        ];
        let told = all.into_iter().filter_map(|(what, why)| Some((what, why.as_ref()?)));
        told.map(|(what, why)| format!("{}: {what}: {why}\n", output.dir.display()))
    });
    print(&troubles.collect::<String>())?;
    Ok(well)
}
