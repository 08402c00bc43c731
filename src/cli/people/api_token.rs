//! `muster api-token`

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;
use zeroize::Zeroizing;

use crate::api::people::{ApiTokenBody, ApiTokenItem, CreatedApiToken};
use crate::cli::Global;
use crate::cli::control::{Call, Control, escape};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made};
use crate::cli::output::values::{SecretOutput, reveal_json};
use crate::cli::people::tenant::tenant_or_all;
use crate::cli::received::Received;
use crate::cli::ttl::seconds;
use crate::cli::word::known;
use crate::domain::people::permission::Permission;

/// Create, list and revoke API tokens: for programs, with an explicit list of permissions
///
/// A token may never do more than its maker, loses what its maker loses, and is shown once, alone on stdout; only
/// its hash is kept. A token that was made with another one ends with it. It goes into the header 'Authorization: Bearer …', or into --api-token-file of this program.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ApiTokenCommand {
    /// Create a token; it is shown this one time
    Create {
        /// What the token is for
        #[arg(long)]
        name: String,
        /// What it may do, such as agent.read; may be repeated
        #[arg(long = "permission", value_name = "PERMISSION", required = true, num_args = 1.., value_delimiter = ',',
              value_parser = PossibleValuesParser::new(Permission::ALL.iter().map(|word| word.as_str())).try_map(known::<Permission>))]
        permissions: Vec<Permission>,
        /// How long it is good, from 60s to 5y [default: until revoked]
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        ttl: Option<i64>,
        /// Confine the token to one tenant [default: its maker's]
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// List tokens, newest first
    List,
    /// Revoke a token at once, with every token that was made with it
    Revoke {
        /// The token's id, as the list shows it
        id: String,
    },
}

const EXAMPLES: &str = "Examples:
  muster api-token create --name deploy --permission agent.read,agent.write --ttl 90d > deploy.token
  muster --server https://muster.example.org:8443 --api-token-file deploy.token host list
  muster api-token revoke ID";

const ROUTE: &str = "/v1/api-tokens";

impl ApiTokenCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::Create { name, permissions, ttl, tenant } => {
                let output = SecretOutput::open()?;
                let body = ApiTokenBody { name, permissions, ttl_seconds: ttl };
                let answer = control.call(Call::post(ROUTE).query("tenant", tenant).body(&body)).await?;
                if global.json {
                    return reveal_json(output, &answer.raw);
                }
                let created: CreatedApiToken = answer.read()?;
                eprintln!("API token {}, shown this one time:", created.item.id);
                output.reveal(&Zeroizing::new(format!("{}\n", *created.token)))?;
                Ok(())
            }
            Self::List => {
                let tokens = control.list(Call::get(ROUTE)).await?;
                let columns = [
                    column("ID", |token: &ApiTokenItem| &token.id),
                    column("NAME", |token| &token.name),
                    column("PERMISSIONS", |token| &token.permissions),
                    made("TENANT", |token| tenant_or_all(token.tenant_id.as_deref())),
                    made("MADE BY", maker),
                    column("CREATED", |token| &token.created_at),
                    column("EXPIRES", |token| &token.expires_at),
                ];
                let none =
                    "No API tokens. Create one: muster api-token create --name NAME --permission agent.read";
                tokens.print_list(global.json, &columns, none)
            }
            Self::Revoke { id } => {
                control.call(Call::delete(&format!("{ROUTE}/{}", escape(&id)))).await?;
                let revoked = Received { raw: json!({ "id": id, "revoked": true }) };
                revoked.print_done(global.json, &format!("API token {id} is revoked."))
            }
        }
    }
}

/// Who made a token; the local operator has no name.
fn maker(token: &ApiTokenItem) -> String {
    token.created_by.as_deref().unwrap_or("local").to_owned()
}
