//! `muster api-token`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::Global;
use super::control::{Call, Control, escape, items};
use super::enroll_token::seconds;
use super::error::CliError;
use super::output::{print, print_json, print_table};

/// API tokens: for programs, with an explicit list of permissions.
#[derive(Debug, Subcommand)]
pub(super) enum ApiTokenCommand {
    /// Create a token; it is shown this one time
    Create {
        /// What the token is for
        #[arg(long)]
        name: String,
        /// What it may do, such as agent.read; may be repeated
        #[arg(long = "permission", value_name = "PERMISSION", required = true, num_args = 1.., value_delimiter = ',',
              value_parser = ["agent.read", "agent.write", "audit.read", "host.write", "secret.write", "user.write", "token.write", "tenant.write"])]
        permissions: Vec<String>,
        /// How long it is good, from 60s to 5y [default: until revoked]
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        ttl: Option<i64>,
        /// Confine the token to one tenant
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
    /// List tokens, newest first
    List,
    /// Revoke a token at once
    Revoke {
        /// The token's id, as the list shows it
        id: String,
    },
}

const ROUTE: &str = "/v1/api-tokens";

impl ApiTokenCommand {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::Create { name, permissions, ttl, tenant } => {
                let body = json!({ "name": name, "permissions": permissions, "ttl_seconds": ttl });
                let answer = control.call(Call::post(ROUTE).query("tenant", tenant).body(body)).await?;
                if global.json {
                    return print_json(&answer);
                }
                eprintln!("API token {}, shown this one time:", answer["id"].as_str().unwrap_or_default());
                print(&format!("{}\n", answer["token"].as_str().unwrap_or_default()))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::List => {
                let answer = control.list(Call::get(ROUTE)).await?;
                if global.json {
                    return print_json(&answer);
                }
                let columns = [
                    ("ID", "id"),
                    ("NAME", "name"),
                    ("PERMISSIONS", "permissions"),
                    ("TENANT", "tenant_id"),
                    ("MADE BY", "created_by"),
                    ("EXPIRES", "expires_at"),
                ];
                print_table(items(&answer), &columns, "No API tokens.")
            }
            Self::Revoke { id } => {
                control.call(Call::delete(&format!("{ROUTE}/{}", escape(&id)))).await?;
                if global.json {
                    return print_json(&json!({ "id": id, "revoked": true }));
                }
                print(&format!("API token {id} is revoked.\n"))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
