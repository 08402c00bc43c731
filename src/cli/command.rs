//! The command line: arguments in, exit status out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use crate::cli::output::error::CliError;
use crate::cli::output::form::{OutputForm, want};
use crate::config::{Config, LogFormat, Overrides};
use crate::domain::network::pin::Pin;
use crate::process;

/// Gives every machine a cryptographic identity, and takes it away again.
///
/// One binary is the server, the operator's command line and the agent. To try it: run `muster quickstart`,
/// then paste the `muster agent enroll …` line that it prints on a host.
#[derive(Debug, Parser)]
#[command(name = "muster", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Exit status of wrong usage, clap's too.
pub(crate) const USAGE: u8 = 2;

/// Headings that keep the flags of every command apart from a command's own.
pub(crate) const WHERE: &str = "Which server";

pub(crate) const OUTPUT: &str = "Output";

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Where the server keeps everything [default: /var/lib/muster for root, else the XDG data directory]
    #[arg(long, global = true, env = "MUSTER_DATA_DIR", value_name = "DIR", hide_env_values = true, help_heading = WHERE)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Speak to this server instead of the one on this machine (https://HOST:PORT); HTTPS_PROXY and NO_PROXY count
    #[arg(long, global = true, env = "MUSTER_SERVER", value_name = "URL", hide_env_values = true, help_heading = WHERE)]
    pub(crate) server: Option<String>,
    /// A file with the API token for --server, or '-' for stdin [env: MUSTER_API_TOKEN holds the token itself]
    #[arg(long, global = true, value_name = "FILE", help_heading = WHERE)]
    pub(crate) api_token_file: Option<PathBuf>,
    /// The pin of --server's certificate or CA
    #[arg(long, global = true, env = "MUSTER_SERVER_PIN", value_name = "HEX", hide_env_values = true, help_heading = WHERE)]
    pub(crate) server_pin: Option<Pin>,
    /// A file with the CA of --server, PEM [default: the system's roots]
    #[arg(long, global = true, env = "MUSTER_SERVER_CA", value_name = "FILE", hide_env_values = true, help_heading = WHERE)]
    pub(crate) server_ca: Option<PathBuf>,
    /// Print one JSON document on stdout and nothing else
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// How to print the answer [default: a table that fits the terminal]
    #[arg(short, long, global = true, value_name = "FORM", value_enum, help_heading = OUTPUT)]
    pub(crate) output: Option<OutputForm>,
    /// Log more (twice: everything)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    quiet: bool,
}

// What a command is for stands at its type, where its options are.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Quickstart(crate::cli::upkeep::quickstart::QuickstartCommand),
    Serve(crate::cli::upkeep::serve::ServeCommand),
    #[command(subcommand)]
    Host(crate::cli::fleet::host::HostCommand),
    #[command(subcommand)]
    Enrollment(crate::cli::fleet::enrollment::EnrollmentCommand),
    EnrollToken(crate::cli::fleet::enroll_token::EnrollTokenCommand),
    #[command(subcommand)]
    Secret(crate::cli::fleet::secret::SecretCommand),
    RevokeAgent(crate::cli::fleet::revoke_agent::RevokeAgentCommand),
    #[command(subcommand)]
    User(crate::cli::people::user::UserCommand),
    #[command(subcommand)]
    ApiToken(crate::cli::people::api_token::ApiTokenCommand),
    #[command(subcommand)]
    Tenant(crate::cli::people::tenant::TenantCommand),
    #[command(subcommand)]
    Webhook(crate::cli::people::webhook::WebhookCommand),
    #[command(subcommand)]
    Audit(crate::cli::people::audit::AuditCommand),
    #[command(subcommand)]
    AgentCa(crate::cli::authority::agent_ca::AgentCaCommand),
    GenCert(crate::cli::authority::gen_cert::GenCertCommand),
    Login(crate::cli::people::login::LoginCommand),
    Logout(crate::cli::people::login::LogoutCommand),
    #[command(subcommand)]
    Context(crate::cli::people::login::ContextCommand),
    Backup(crate::cli::upkeep::backup::BackupCommand),
    Restore(crate::cli::upkeep::restore::RestoreCommand),
    #[command(subcommand)]
    Replica(crate::cli::upkeep::replica::ReplicaCommand),
    Envelope(crate::cli::upkeep::envelope::EnvelopeCommand),
    Check(crate::cli::upkeep::check::CheckCommand),
    Status(crate::cli::upkeep::status::StatusCommand),
    Selftest(crate::cli::selftest::SelftestCommand),
    Docs(crate::cli::manual::DocsCommand),
    /// Enroll this machine, and run the agent that keeps its identity fresh
    #[command(subcommand)]
    Agent(crate::cli::agent::command::AgentCommand),
    /// Write the completions for a shell to stdout
    ///
    /// Those for bash, zsh and fish also offer ids and names that the server knows.
    #[command(
        after_help = "Examples:\n  muster completions bash > /etc/bash_completion.d/muster\n  muster completions zsh > \"${fpath[1]}/_muster\""
    )]
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Say what may come after these words; the scripts of 'completions' ask
    #[command(hide = true)]
    Complete {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Write the manual pages into a directory, one for every command
    #[command(after_help = "Examples:\n  muster man /usr/local/share/man/man1")]
    Man {
        /// The directory; it is made if it is not there
        dir: PathBuf,
    },
}

impl Command {
    const fn lists_hosts(&self) -> bool {
        matches!(self, Self::Host(crate::cli::fleet::host::HostCommand::List(_)))
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    report_panics();
    if let Err(error) = process::keep_memory_private() {
        return fail(&CliError::caused(&error));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap knows where help, the version and usage errors go.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&CliError::new(format!("cannot start threads: {error}"))),
    };
    let result = runtime.block_on(run(cli));
    // Whatever still blocks has had its deadline.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

pub(crate) async fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let mut global = cli.global;
    global.settle_output(&cli.command)?;
    if !matches!(cli.command, Command::Agent(_)) {
        // What the server side writes is its owner's alone, whatever the shell's umask says.
        process::keep_files_private();
    }
    match cli.command {
        Command::Quickstart(command) => command.run(&global).await?,
        Command::Serve(command) => command.run(&global).await?,
        Command::AgentCa(command) => command.run(&global).await?,
        Command::GenCert(command) => command.run(&global).await?,
        Command::EnrollToken(command) => command.run(&global).await?,
        Command::Secret(command) => command.run(&global).await?,
        Command::Host(command) => command.run(&global).await?,
        Command::Enrollment(command) => command.run(&global).await?,
        Command::RevokeAgent(command) => command.run(&global).await?,
        Command::Webhook(command) => command.run(&global).await?,
        Command::Audit(command) => command.run(&global).await?,
        Command::Login(command) => command.run(&global).await?,
        Command::Logout(command) => command.run(&global)?,
        Command::Context(command) => command.run(&global)?,
        Command::Backup(command) => command.run(&global).await?,
        Command::Restore(command) => command.run(&global).await?,
        Command::Replica(command) => return command.run(&global).await,
        Command::Envelope(command) => command.run(&global).await?,
        Command::Check(command) => return command.run(&global).await,
        Command::Status(command) => command.run(&global).await?,
        Command::Selftest(command) => command.run(&global).await?,
        Command::Docs(command) => command.run(&global)?,
        Command::Tenant(command) => command.run(&global).await?,
        Command::User(command) => command.run(&global).await?,
        Command::ApiToken(command) => command.run(&global).await?,
        Command::Completions { shell } => crate::cli::completions::write(shell)?,
        Command::Complete { words } => crate::cli::completions::complete(global, &words).await?,
        Command::Man { dir } => {
            std::fs::create_dir_all(&dir)
                .and_then(|()| clap_mangen::generate_to(Cli::command(), &dir))
                .map_err(|error| CliError::new(format!("cannot write into {}: {error}", dir.display())))?;
        }
        Command::Agent(command) => {
            global.log(None)?;
            return crate::cli::agent::command::run(command, global.json).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn fail(error: &CliError) -> ExitCode {
    eprintln!("error: {}", error.message);
    if let Some(hint) = &error.hint {
        eprintln!("hint: {hint}");
    }
    if error.usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

impl Global {
    /// Settles in which form answers are printed, for the whole process.
    fn settle_output(&mut self, command: &Command) -> Result<(), CliError> {
        if self.json && self.output.is_some_and(|form| form != OutputForm::Json) {
            return Err(CliError::usage("--json and --output are two forms of one answer")
                .hint("leave one of them out"));
        }
        if matches!(self.output, Some(OutputForm::Spiffe | OutputForm::Dn)) && !command.lists_hosts() {
            return Err(CliError::usage("-o spiffe and -o dn are forms of 'muster host list' alone"));
        }
        self.json |= matches!(self.output, Some(OutputForm::Json | OutputForm::Yaml));
        want(self.output);
        Ok(())
    }

    /// The server's configuration with this command line on top.
    pub(crate) fn config(
        &self,
        file: Option<&std::path::Path>,
        overrides: Overrides,
        ip: std::net::Ipv4Addr,
    ) -> Result<Config, CliError> {
        let overrides = Overrides { data_dir: self.data_dir.clone().or(overrides.data_dir), ..overrides };
        let environment = |name: &str| std::env::var(name).ok();
        Config::load(file, overrides, &environment, ip)
            .map_err(|error| CliError::caused(&error).hint("config/muster.reference.yml lists every setting"))
    }

    /// The configuration of commands that only work on the data directory.
    pub(crate) fn local_config(&self) -> Result<Config, CliError> {
        if self.server.is_some() {
            return Err(CliError::usage("this command works on the server's own machine only")
                .hint("run it there, without --server and MUSTER_SERVER"));
        }
        self.config(None, Overrides::default(), std::net::Ipv4Addr::LOCALHOST)
    }

    /// Starts logging where the flags ask for more, for commands whose result is all there is to say otherwise.
    pub(crate) fn log_if_asked(&self) -> Result<(), CliError> {
        if self.verbose > 0 { self.log(None) } else { Ok(()) }
    }

    /// Starts logging: what the flags ask for, else what the configuration says, else `info`.
    pub(crate) fn log(&self, config: Option<&Config>) -> Result<(), CliError> {
        let asked = match (self.quiet, self.verbose) {
            (true, _) => Some("error".to_owned()),
            (false, 0) => None,
            (false, 1) => Some("debug,h2=info,hyper=info,rustls=info".to_owned()),
            (false, _) => Some("trace".to_owned()),
        };
        let configured =
            || config.map(|c| c.log.as_ref().to_owned()).or_else(|| std::env::var("MUSTER_LOG").ok());
        // A command tells what it has done; that it is on record goes without saying.
        let filter = asked.or_else(configured).unwrap_or_else(|| "info,audit=off".to_owned());
        let format = match config {
            Some(config) => config.log_format,
            None => match std::env::var("MUSTER_LOG_FORMAT") {
                Ok(text) => text
                    .parse::<LogFormat>()
                    .map_err(|why| CliError::new(format!("MUSTER_LOG_FORMAT: {why}")))?,
                Err(_) => LogFormat::Text,
            },
        };
        Ok(crate::telemetry::start(&filter, format)?)
    }
}

/// A panic is a bug: one line says where, and only the task it happened in is lost.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        // There, a panic means a damaged store, and the store says so itself.
        if std::thread::current().name() == Some(crate::store::CHECK_THREAD) {
            return;
        }
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%place, "internal error; please report it");
    }));
}
