//! `muster secret`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::Global;
use super::control::{Call, Control, escape, items};
use super::enroll_token::seconds;
use super::error::CliError;
use super::output::{print, print_json, print_table};

/// Enrollment secrets: shared by many hosts, perhaps capped, perhaps expiring, until revoked.
#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Create a secret; it is shown this one time
    Create {
        /// What the secret is for
        #[arg(long)]
        name: String,
        /// How many hosts it admits [default: any number]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        max_uses: Option<i64>,
        /// How long it is good, from 60s to 5y [default: until revoked]
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        ttl: Option<i64>,
        /// The tenant that hosts join
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
    /// List secrets, newest first
    List {
        /// Only those that are revoked, or only those that are not
        #[arg(long, value_parser = ["active", "revoked"])]
        state: Option<String>,
        /// The tenant to look at
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
    /// Revoke a secret: nobody can enroll with it any more, agents already enrolled stay
    Revoke {
        /// The secret's id, as the list shows it
        id: String,
        /// The secret's tenant
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
}

const ROUTE: &str = "/v1/enrollment-secrets";

impl Secret {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::Create { name, max_uses, ttl, tenant } => {
                let body = json!({ "name": name, "max_uses": max_uses, "ttl_seconds": ttl });
                let answer = control.call(Call::post(ROUTE).query("tenant", tenant).body(body)).await?;
                if global.json {
                    return print_json(&answer);
                }
                let field = |name: &str| answer[name].as_str().unwrap_or_default();
                eprintln!("Enrollment secret {}, shown this one time:", field("id"));
                print(&format!("{}\n", field("secret")))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::List { state, tenant } => {
                let call = Call::get(ROUTE).query("tenant", tenant).query("state", state);
                let answer = control.list(call).await?;
                if global.json {
                    return print_json(&answer);
                }
                let columns = [
                    ("ID", "id"),
                    ("NAME", "name"),
                    ("USES", "uses"),
                    ("MAX", "max_uses"),
                    ("CREATED", "created_at"),
                    ("EXPIRES", "expires_at"),
                    ("REVOKED", "revoked_at"),
                ];
                print_table(items(&answer), &columns, "No enrollment secrets.")
            }
            Self::Revoke { id, tenant } => {
                let path = format!("{ROUTE}/{}/revoke", escape(&id));
                let answer = control.call(Call::post(&path).query("tenant", tenant)).await?;
                if global.json {
                    return print_json(&answer);
                }
                print(&format!("Enrollment secret {id} is revoked: nobody can enroll with it any more.\n"))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
