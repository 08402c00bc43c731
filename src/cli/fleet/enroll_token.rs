//! `muster enroll-token`

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::api::credentials::{MintBody, MintedToken, TokenItem};
use crate::cli::Global;
use crate::cli::control::{Call, Control, escape};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, when};
use crate::cli::output::values::{SecretOutput, reveal_json};
use crate::cli::ttl::seconds;
use crate::shell::quoted;

/// Mint, list and void join tokens: single use, one host each
///
/// A join token lets one host in, once, within an hour unless --ttl says otherwise. It is shown this one
/// time, alone on stdout, so that it can be piped; only its hash is kept. For many hosts with one credential
/// there are enrollment secrets ('muster secret').
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct EnrollTokenCommand {
    #[command(subcommand)]
    command: Option<TokenCommand>,
    #[command(flatten)]
    mint: Mint,
}

#[derive(Debug, Args)]
struct Mint {
    /// The tenant that the host joins [default: the tenant 'default']
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The agent id that the host gets; an existing one is enrolled again and its older certificates revoked
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// A label for the list
    #[arg(long, value_name = "LABEL")]
    name: Option<String>,
    /// How long the token is good, from 60s to 30d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    ttl: i64,
    /// What the host is tagged with, KEY or KEY:VALUE
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// List join tokens, newest first
    List {
        /// The tenant to look at [default: the tenant 'default']
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// Void a join token that has not been used
    Void {
        /// The token's id, as the list shows it
        id: String,
        /// The token's tenant [default: the tenant 'default']
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
}

const EXAMPLES: &str = "Examples:
  muster enroll-token --name 'web rack' --ttl 4h
  muster enroll-token --agent db-9          # a name of your choice; an existing one is enrolled again
  muster enroll-token | ssh web-1 sudo muster agent install --server URL --ca-pin PIN --token-file -";

const ROUTE: &str = "/v1/agents/enroll-tokens";

impl EnrollTokenCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let Some(command) = self.command else {
            let output = SecretOutput::open()?;
            return self.mint.run(&Control::open(global).await?, output, global.json).await;
        };
        let control = Control::open(global).await?;
        match command {
            TokenCommand::List { tenant } => {
                let tokens = control.list(Call::get(ROUTE).query("tenant", tenant)).await?;
                let columns = [
                    column("ID", |token: &TokenItem| &token.id),
                    column("NAME", |token| &token.name),
                    column("AGENT", |token| &token.agent_id),
                    column("STATE", |token| &token.state),
                    column("CREATED", |token| &token.created_at),
                    column("EXPIRES", |token| &token.expires_at),
                ];
                let none = "No join tokens. Mint one: muster enroll-token";
                tokens.print_list(global.json, &columns, none)
            }
            TokenCommand::Void { id, tenant } => {
                let path = format!("{ROUTE}/{}", escape(&id));
                let voided = control.call(Call::delete(&path).query("tenant", tenant)).await?;
                let done = format!("Join token {id} is void: nobody can enroll with it.");
                voided.print_done(global.json, &done)
            }
        }
    }
}

impl Mint {
    async fn run(self, control: &Control, output: SecretOutput, json: bool) -> Result<(), CliError> {
        let body =
            MintBody { agent_id: self.agent, name: self.name, ttl_seconds: Some(self.ttl), tags: self.tag };
        let answer = control.call(Call::post(ROUTE).query("tenant", self.tenant).body(&body)).await?;
        // An answer that can't be read is printed with --json all the same: the token is in it.
        let minted = answer.read::<MintedToken>();
        if let Some(warning) = minted.as_ref().ok().and_then(|minted| minted.warning.as_ref()) {
            eprintln!("Warning: {}", warning.message);
            eprintln!(
                "  muster host list --state revoked    # which is it? then: muster host re-enable HOST-ID"
            );
        }
        if json {
            return reveal_json(output, &answer.raw);
        }
        let minted = minted?;
        let until = when(minted.item.expires_at);
        eprintln!("Join token {}, good for one host until {until}:", minted.item.id);
        output.reveal(&Zeroizing::new(format!("{}\n", *minted.token)))?;
        if let Some(pin) = &minted.ca_pin {
            eprintln!("Pin of this server: {pin}");
        }
        if let Some(warning) = &minted.server_warning {
            eprintln!("WARNING: {warning}");
        }
        if let Some(link) = &minted.join_link {
            eprintln!("Join link: {}", **link);
        }
        if let Some(line) = &minted.install_command {
            eprintln!("On the host, to bring the program there and run the agent as a service:");
            eprintln!("  {}", **line);
        }
        let server = minted.server.as_deref().unwrap_or("https://SERVER:8443");
        let vouched = minted.ca_pin.map(|pin| format!(" --ca-pin {pin}")).unwrap_or_default();
        eprintln!(
            "Or only to enroll, where the program is there already; it reads the token from standard input:"
        );
        eprintln!("  muster agent enroll --server {}{vouched} --token-file - --dir DIR", quoted(server));
        Ok(())
    }
}
