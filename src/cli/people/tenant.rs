//! `muster tenant`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::Global;
use crate::cli::control::{Call, Control, items};
use crate::cli::output::error::CliError;
use crate::cli::output::values::{field, print, print_json, print_table, time};

/// Create and list tenants: walls inside one deployment
///
/// Hosts, tokens, secrets and people of one tenant are invisible to those of another. The tenant 'default' is there
/// from the start; commands work on it unless --tenant names another, by its name or its id.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TenantCommand {
    /// Create a tenant
    Create {
        /// What to call it
        #[arg(long)]
        name: String,
    },
    /// List tenants
    List,
}

const EXAMPLES: &str = "Examples:
  muster tenant create --name acme
  muster user add anna --role admin --tenant acme     # signs in as anna@acme
  muster enroll-token --tenant acme";

impl TenantCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::Create { name } => {
                let answer = control.call(Call::post("/v1/tenants").body(json!({ "name": name }))).await?;
                if global.json {
                    return print_json(&answer);
                }
                eprintln!("Tenant '{name}' created; its id:");
                print(&format!("{}\n", answer["id"].as_str().unwrap_or_default()))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::List => {
                let answer = control.list(Call::get("/v1/tenants")).await?;
                if global.json {
                    return print_json(&answer);
                }
                let columns = [field("ID", "id"), field("NAME", "name"), time("CREATED", "created_at")];
                print_table(items(&answer), &columns, "No tenants.")
            }
        }
    }
}
