//! `muster tenant`

use clap::Subcommand;

use crate::api::people::{TenantBody, TenantItem};
use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::column;
use crate::cli::output::values::{print, print_json};

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
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::Create { name } => {
                let body = TenantBody { name };
                let answer = control.call(Call::post("/v1/tenants").body(&body)).await?;
                if global.json {
                    return print_json(&answer.raw);
                }
                eprintln!("Tenant '{}' created; its id:", body.name);
                print(&format!("{}\n", answer.read::<TenantItem>()?.id))
            }
            Self::List => {
                let tenants = control.list(Call::get("/v1/tenants")).await?;
                let columns = [
                    column("ID", |tenant: &TenantItem| &tenant.id),
                    column("NAME", |tenant| &tenant.name),
                    column("CREATED", |tenant| &tenant.created_at),
                ];
                tenants.print_list(global.json, &columns, "No tenants.")
            }
        }
    }
}

/// The tenant of somebody who has one; those without belong to all.
pub(super) fn tenant_or_all(tenant: Option<&str>) -> String {
    tenant.unwrap_or("all").to_owned()
}
