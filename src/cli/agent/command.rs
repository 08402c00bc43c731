//! `muster agent …`: enroll this machine, run the agent, ask how it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::agent::config::{AgentConfig, as_text, dialer, process_environment, ready_made};
use crate::agent::enroll::enroll_on_start::Patience;
use crate::agent::enroll::first_enrollment::{self, FirstEnrollmentError};
use crate::agent::enroll::requests::EnrollmentClient;
use crate::agent::facts::Subject;
use crate::agent::identity::{Identity, IdentityDir, OwnedDir};
use crate::agent::run::readiness::Readiness;
use crate::agent::run::runtime;
use crate::agent::run::runtime::RunEnd;
use crate::agent::status::status;
use crate::cli::agent::contact::{ContactArgs, no_credential};
use crate::cli::agent::install::{InstallArgs, UninstallArgs};
use crate::cli::agent::outputs::OutputsArgs;
use crate::cli::output::error::CliError;
use crate::cli::output::values::print;
use crate::clock::{Clock, SystemClock};
use crate::process::{NotifyState, OnHangup, notify, stop_on_signals};
use crate::shell::quoted;

/// Exit status of an agent whose identity has been revoked: starting it again will not help.
const REVOKED: u8 = 3;
/// The settings that `enroll` leaves beside the identity.
const CONFIG_NAME: &str = "agent.yml";
const HANGUP: &str = "SIGHUP changes nothing: settings are read when the agent starts";

/// Enroll this machine, and run the agent that keeps its identity.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Give this machine its identity
    #[command(
        long_about = "Give this machine its identity.\n\nA key is made here and never leaves. The server is asked for a certificate, with a join token (single use) or an enrollment secret (many machines), and certificate, key and CAs are written into a directory. A directory that holds an identity already is left alone.\n\nAt first contact the server must prove itself: by --ca-pin, else --ca-file, else the system's roots. Nothing is sent before it has.",
        after_long_help = "EXAMPLES:\n  Token from a file, or from standard input:\n    muster agent enroll --server https://control.example:8443 --ca-pin PIN --token-file /run/secrets/join-token --dir /var/lib/muster-agent/identity\n    pass show join-token | muster agent enroll --server https://control.example:8443 --ca-pin PIN --token-file - --dir ./identity\n\n  Join link from standard input, or pasted (other users of this machine may see it while the command runs; its token works once):\n    muster agent enroll - --dir ./identity < join-link\n    muster agent enroll 'muster://control.example:8443/?pin=PIN#mjt_…' --dir ./identity\n\nENVIRONMENT (options win):\n  MUSTER_AGENT_JOIN_TOKEN, MUSTER_AGENT_ENROLLMENT_SECRET, MUSTER_AGENT_ENROLL_TOKEN_FILE, MUSTER_AGENT_ENROLL_SECRET_FILE, MUSTER_AGENT_ENROLL_SERVER, MUSTER_AGENT_ENROLL_CA_PIN, HTTPS_PROXY, NO_PROXY"
    )]
    Enroll(EnrollArgs),
    /// Run the agent: report to the server and rotate the identity in time
    #[command(
        long_about = "Run the agent: hold a session with the server, report this machine's facts, and rotate the identity at about two thirds of its lifetime.\n\nWithout an identity the agent enrolls first, if the settings or the environment give it a join token or an enrollment secret. SIGTERM and SIGINT end it, SIGHUP changes nothing.\n\nExit status: 0 stopped, 1 failed, 3 the identity has been revoked.",
        after_long_help = "EXAMPLES:\n    muster agent run --config /var/lib/muster-agent/identity/agent.yml\n    muster agent run --dir ./identity\n\nENVIRONMENT (wins over the settings):\n  MUSTER_AGENT_JOIN_TOKEN, MUSTER_AGENT_ENROLLMENT_SECRET, and MUSTER_AGENT_SECTION_KEY for each setting, such as MUSTER_AGENT_ENROLL_SECRET_FILE or MUSTER_AGENT_TLS_CA_FILE\n  HTTPS_PROXY, NO_PROXY: how the server is reached; where the proxy fails, the direct way is tried"
    )]
    Run(RunArgs),
    /// Run the agent as a service of this machine, or of an image
    #[command(
        long_about = "Run the agent as a systemd service of this machine: write its settings, put the credential where only root and systemd read it, write a hardened unit, enable and start it. The service enrolls this machine when it starts, unless it has an identity.\n\nThe running program is put to /usr/local/bin/muster if none or an older one is there; where a package has put one to /usr/bin/muster, the service runs that. Started by somebody else than root the command calls itself through sudo. It ends when the server has answered the agent's first report.\n\nWith --root everything is put into the file tree of an image instead, and nothing is run. Running it again with other options changes the settings; an identity and settings of your own are never overwritten. Needs systemd 252 or newer.",
        after_long_help = "EXAMPLES:\n    muster agent install --server https://control.example:8443 --ca-pin PIN --secret-file /root/rack-7.secret\n    pass show muster/rack-7 | muster agent install --server https://control.example:8443 --ca-pin PIN --secret-file -\n    muster agent install 'muster://control.example:8443/?pin=PIN#mjt_…'\n    muster agent install --link-file - < join-link\n    muster agent install --root ./image --server https://control.example:8443 --ca-file ca.pem --secret-file rack-7.secret\n\nFILES:\n  /usr/local/bin/muster, /etc/muster/agent.yml, /etc/credstore/muster-join-token or muster-enrollment-secret (0600), /etc/systemd/system/muster-agent.service, and /etc/muster/agent-server-ca.pem with --ca-file"
    )]
    Install(InstallArgs),
    /// Stop the service and remove what `install` wrote; the identity stays
    Uninstall(UninstallArgs),
    /// Show the identity, its expiry and next rotation, and what to do
    #[command(
        long_about = "Show the identity in a directory: who this machine is, when its certificate expires and rotates, what the server last refused, how the clocks differ, and what to do about it.\n\nNobody is asked; it works while the server is away. Exit status: 0 if the identity works, else 1."
    )]
    Status(StatusArgs),
    Outputs(OutputsArgs),
}

#[derive(Debug, Args)]
pub struct EnrollArgs {
    #[command(flatten)]
    contact: ContactArgs,

    /// Where key, certificate and CAs are written
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct RunArgs {
    /// The agent's settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The directory that `muster agent enroll` wrote, in place of settings
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The directory with the identity
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Runs one `muster agent` command. With `json`, standard output holds one JSON document and nothing else.
pub async fn run(command: AgentCommand, json: bool) -> Result<ExitCode, CliError> {
    match command {
        AgentCommand::Enroll(args) => enroll(args, json).await?,
        AgentCommand::Run(args) => return run_agent(&args).await,
        AgentCommand::Install(args) => args.run(json)?,
        AgentCommand::Uninstall(args) => args.run(json)?,
        AgentCommand::Status(args) => return show_status(&args, json),
        AgentCommand::Outputs(args) => return args.run(json).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn enroll(args: EnrollArgs, json: bool) -> Result<(), CliError> {
    let dir = std::path::absolute(&args.dir).unwrap_or_else(|_| args.dir.clone());
    // Its settings could not name it, and by then the credential would be spent.
    as_text(&dir)?;
    let dir = IdentityDir::new(dir).lock()?;
    // A secret on standard input is not even read when there is nothing to enroll.
    first_enrollment::check_vacant(&dir)?;
    let plan = args.contact.plan()?;
    let credential = plan.credential.ok_or_else(no_credential)?;
    let client = EnrollmentClient::new(plan.server, &plan.trust, &dialer(&process_environment))
        .map_err(FirstEnrollmentError::from)?;
    let identity =
        first_enrollment::enroll(&dir, &client, &credential, &Subject::ThisMachine, &SystemClock).await?;
    let text = ready_made(dir.place(), &dir.place().notes())?;
    let config = dir.write_if_absent(CONFIG_NAME, &text)?;
    report_enrolled(&dir, &identity, &config, json)
}

fn report_enrolled(dir: &OwnedDir, identity: &Identity, config: &Path, json: bool) -> Result<(), CliError> {
    let place = dir.place();
    let notes = place.notes();
    let svid = &identity.svid;
    if json {
        return print(&format!(
            "{}\n",
            json!({
                "spiffe_id": svid.spiffe_id,
                "agent_id": svid.spiffe_id.agent,
                "tenant_id": svid.spiffe_id.tenant,
                "host_id": notes.host_id,
                "serial": svid.serial,
                "not_after": svid.not_after.to_string(),
                "server": notes.server,
                "grpc_addr": notes.grpc_addr,
                "dir": place.path(),
                "cert_file": place.cert(),
                "key_file": place.key(),
                "config": config,
            })
        ));
    }
    print(&format!(
        "Enrolled as {}\n  certificate  {} (expires {})\n  private key  {}\n  settings     {}\n\nKeep the identity fresh with:\n  muster agent run --config {}\n",
        svid.spiffe_id,
        place.cert().display(),
        svid.not_after,
        place.key().display(),
        config.display(),
        quoted(config),
    ))
}

async fn run_agent(args: &RunArgs) -> Result<ExitCode, CliError> {
    let env = &process_environment;
    let config = match (&args.config, &args.dir) {
        (Some(file), _) => AgentConfig::load(file, env),
        (None, Some(dir)) => AgentConfig::of_directory(dir, env),
        (None, None) => return Err(CliError::usage("neither --config nor --dir was given")),
    };
    let config = config?;
    let stop = stop_on_signals(OnHangup::Explain(HANGUP), || notify(NotifyState::Stopping))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let end = runtime::run(config, clock, Patience::default(), stop, tell_systemd).await?;
    match end {
        RunEnd::Stopped => Ok(ExitCode::SUCCESS),
        // The log has said so, with what to do.
        RunEnd::Revoked(_) => Ok(ExitCode::from(REVOKED)),
    }
}

/// What a service manager wants to know; elsewhere nobody listens.
pub(super) fn tell_systemd(sign: Readiness) {
    match sign {
        Readiness::Ready => notify(NotifyState::Ready),
        Readiness::Alive => notify(NotifyState::Watchdog),
    }
}

fn show_status(args: &StatusArgs, json: bool) -> Result<ExitCode, CliError> {
    let status = status(&IdentityDir::new(&args.dir), SystemClock.now());
    if json {
        let text = serde_json::to_string(&status)
            .map_err(|error| CliError::new(format!("the status can't be written as JSON: {error}")))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&status.to_text())?;
    }
    Ok(if status.healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use zeroize::Zeroizing;

    use super::*;
    use crate::agent::test_server::TestServer;
    use crate::domain::enroll::credential::{Credential, CredentialKind};
    use crate::domain::enroll::join_link::JoinLink;
    use crate::domain::ids::CredentialId;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: AgentCommand,
    }

    fn credential(kind: CredentialKind) -> Zeroizing<String> {
        Credential::new(kind, CredentialId::from_bytes([7; 10]), Zeroizing::new([9; 32])).reveal()
    }

    fn parse(args: &[&str]) -> Result<AgentCommand, clap::Error> {
        let args = ["agent"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| cli.command)
    }

    async fn execute(args: &[&str]) -> Result<ExitCode, CliError> {
        run(parse(args).unwrap(), true).await
    }

    #[test]
    fn arguments_that_contradict_each_other_are_wrong_usage() {
        for good in [
            &["enroll", "muster://h:1/#x", "--dir", "d"][..],
            &["enroll", "-", "--dir", "d"],
            &["enroll", "--server", "https://h:1", "--token-file", "-", "--dir", "d", "--ca-file", "f"],
            &["run", "--config", "f"],
            &["run", "--dir", "d"],
            &["status", "--dir", "d"],
            &["install", "--server", "https://h:1", "--secret-file", "-"],
            &["install", "--server", "https://h:1", "--enrollment-secret", "s", "--ca-file", "f"],
            &["install", "muster://h:1/#x", "--root", "r", "--no-start"],
            &["uninstall", "--root", "r"],
            &["outputs", "--config", "f"],
            &["outputs", "--config", "f", "--once"],
        ] {
            parse(good).unwrap();
        }
        let pin = "ab".repeat(32);
        for bad in [
            &["enroll", "muster://h:1/#x"][..],
            &["enroll", "muster://h:1/#x", "--dir", "d", "--server", "https://h:1"],
            &["enroll", "muster://h:1/#x", "--dir", "d", "--token-file", "f"],
            &["enroll", "--dir", "d", "--token", "t", "--token-file", "f"],
            &["enroll", "--dir", "d", "--token-file", "f", "--secret-file", "f"],
            &["enroll", "--dir", "d", "--ca-file", "f", "--ca-pin", &pin],
            &["enroll", "--dir", "d", "--ca-pin", &pin[1..]],
            &["run"],
            &["run", "--dir", "d", "--config", "f"],
            &["status"],
            &["outputs"],
            &["outputs", "--config", "f", "--once", "--status"],
            &["install", "--server", "https://h:1", "--enrollment-secret", "s", "--token-file", "f"],
            &["install", "muster://h:1/#x", "--enrollment-secret", "s"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_command_shows_no_secret_when_printed() {
        let token = credential(CredentialKind::JoinToken);
        let link = format!("muster://h:1/#{}", *token);
        for args in [&["enroll", &link, "--dir", "d"][..], &["enroll", "--token", &token, "--dir", "d"]] {
            let shown = format!("{:?}", parse(args).unwrap());
            assert!(!shown.contains(&token[30..]), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_machine_is_enrolled_once_and_ready_to_run() {
        let server = TestServer::start().await;
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("identity");
        let dir_text = dir.to_str().unwrap();
        let link: JoinLink = format!(
            "{}/?pin={}#{}",
            server.url.to_string().replace("https", "muster"),
            server.pin(),
            *credential(CredentialKind::EnrollmentSecret)
        )
        .parse()
        .unwrap();
        assert_eq!(execute(&["status", "--dir", dir_text]).await, Ok(ExitCode::FAILURE));
        let link = link.reveal();
        let enroll = ["enroll", &link, "--dir", dir_text];
        assert_eq!(execute(&enroll).await, Ok(ExitCode::SUCCESS));
        assert_eq!(execute(&["status", "--dir", dir_text]).await, Ok(ExitCode::SUCCESS));
        let body = server.seen.lock().requests[0].1.clone();
        assert!(body["secret"].is_string() && body["host"]["hostname"].is_string());

        let env = |_: &str| None;
        let config = AgentConfig::load(&dir.join(CONFIG_NAME), &env).unwrap();
        assert_eq!(config.grpc_addr.unwrap().to_string(), server.grpc_addr.to_string());
        assert_eq!(config.server.as_ref(), Some(&server.url));
        assert_eq!(config.server_ca, Some(dir.join("server-ca.pem")));

        let before = fs::read(dir.join("cert.pem")).unwrap();
        let error = execute(&enroll).await.unwrap_err();
        assert!(error.message.contains("already holds an identity"), "{error:?}");
        assert_eq!(fs::read(dir.join("cert.pem")).unwrap(), before);
        assert_eq!(server.requests(), 1);
    }

    #[tokio::test]
    async fn failures_say_what_to_do_and_show_no_secret() {
        let server = TestServer::start().await;
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("identity");
        let token_file = place.path().join("token");
        fs::write(&token_file, &*credential(CredentialKind::JoinToken)).unwrap();
        let (dir, url) = (dir.to_str().unwrap(), server.url.to_string());
        let file = token_file.to_str().unwrap();
        let pin = "ab".repeat(32);
        for (args, says) in [
            (&["--server", &url, "--ca-pin", &pin, "--token-file", file][..], "not the server it should be"),
            (&["--server", &url, "--ca-pin", &pin], "no join token and no enrollment secret"),
            (&["--token-file", file], "not known where to enroll"),
            (&["--server", "control.example", "--token-file", file], "starts with https://"),
            (&["--server", &url, "--secret-file", file], "the join token given stands where"),
            (&["muster://hunter2"], "no credential after '#'"),
        ] {
            let args: Vec<&str> = ["enroll", "--dir", dir].iter().chain(args).copied().collect();
            let error = execute(&args).await.unwrap_err();
            assert!(error.message.contains(says), "{error:?}");
            assert!(error.hint.is_some_and(|hint| !hint.is_empty()), "{args:?}");
            assert!(!error.message.contains("hunter2"));
        }
        assert_eq!(server.requests(), 0);
    }
}
