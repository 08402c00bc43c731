//! `muster login`, `muster logout`, `muster context`

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::connect::server_url::ServerUrl;
use crate::api::people::SessionAnswer;
use crate::cli::Global;
use crate::cli::context::{Context, Contexts};
use crate::cli::control::{Call, Control, api_token};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{made, print_table};
use crate::cli::output::values::print_json;

/// Keep a server and an API token for later commands
///
/// They go to that server from then on, and say so on stderr, unless --server, --data-dir or their environment variables name another
/// one, or this machine's own server runs and root asks. The token is kept in $XDG_CONFIG_HOME/muster/contexts.json, for you alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster login https://muster.example.org:8443 --api-token-file deploy.token
  muster login https://10.0.0.5:8443 --server-pin HEX --api-token-file -")]
pub(crate) struct LoginCommand {
    /// Its address: https://HOST:PORT
    url: String,
    /// What to call it [default: HOST:PORT]
    #[arg(long)]
    name: Option<String>,
}

/// Forget a server that was signed in to
#[derive(Debug, Args)]
pub(crate) struct LogoutCommand {
    /// What it is called [default: the one in use]
    name: Option<String>,
}

/// List the servers that were signed in to, and choose one
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List them
    List,
    /// Choose the one that later commands go to
    Use {
        /// What it is called, as the list shows it
        name: String,
    },
}

impl LoginCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let url: ServerUrl = self.url.parse()?;
        let token = api_token(global)?.ok_or_else(|| {
            CliError::usage("signing in takes an API token")
                .hint("make one there ('muster api-token create') and give it with --api-token-file")
        })?;
        let text = Zeroizing::new(token.reveal().to_string());
        let control = Control::elsewhere(global, &self.url, token)?;
        let session: SessionAnswer = control.call(Call::get("/v1/session")).await?.read()?;
        let name = self.name.unwrap_or_else(|| url.host_port().to_string());
        let server_ca = global.server_ca.as_deref().map(std::path::absolute).transpose();
        let context = Context {
            server: url.to_string(),
            server_pin: global.server_pin.map(|pin| pin.to_string()),
            server_ca: server_ca.map_err(|error| CliError::new(format!("no such file: {error}")))?,
            api_token: text,
        };
        let mut contexts = Contexts::load()?;
        contexts.contexts.insert(name.clone(), context);
        contexts.current = Some(name.clone());
        contexts.save()?;
        if global.json {
            return print_json(
                &json!({ "name": name, "server": url.to_string(), "permissions": session.permissions }),
            );
        }
        let may: Vec<_> = session.permissions.iter().map(ToString::to_string).collect();
        eprintln!("Commands go to {url} from now on, which lets this token do: {}", may.join(", "));
        Ok(())
    }
}

impl LogoutCommand {
    pub(crate) fn run(self, global: &Global) -> Result<(), CliError> {
        let mut contexts = Contexts::load()?;
        let name = self.name.or(contexts.current.clone()).ok_or_else(none)?;
        let gone = contexts.contexts.remove(&name).ok_or_else(|| unknown(&name))?;
        if contexts.current.as_ref() == Some(&name) {
            contexts.current = None;
        }
        contexts.save()?;
        if global.json {
            return print_json(&json!({ "name": name, "server": gone.server, "forgotten": true }));
        }
        eprintln!(
            "{} is forgotten here. Its token is good until it is revoked: muster api-token revoke ID",
            gone.server
        );
        Ok(())
    }
}

impl ContextCommand {
    pub(crate) fn run(self, global: &Global) -> Result<(), CliError> {
        let mut contexts = Contexts::load()?;
        match self {
            Self::List => {
                let current = contexts.current.clone();
                let rows: Vec<_> = contexts.contexts.into_iter().collect();
                if global.json {
                    let items: Vec<_> = rows
                        .iter()
                        .map(|(name, it)| json!({ "name": name, "server": it.server, "current": current.as_ref() == Some(name) }))
                        .collect();
                    return print_json(&json!({ "items": items }));
                }
                let columns = [
                    made("NAME", |(name, _): &(String, Context)| name.clone()),
                    made("SERVER", |(_, context)| context.server.clone()),
                ];
                print_table(&rows, &columns, "No servers. Sign in to one: muster login URL")?;
                if let Some(current) = current {
                    eprintln!("Commands go to {current}.");
                }
                Ok(())
            }
            Self::Use { name } => {
                if !contexts.contexts.contains_key(&name) {
                    return Err(unknown(&name));
                }
                contexts.current = Some(name.clone());
                contexts.save()?;
                eprintln!("Commands go to {name} from now on.");
                Ok(())
            }
        }
    }
}

fn none() -> CliError {
    CliError::new("no server was signed in to").hint("muster login URL")
}

fn unknown(name: &str) -> CliError {
    CliError::new(format!("there is no context '{name}'")).hint("'muster context list' lists them")
}
