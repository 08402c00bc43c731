//! `muster secret`

mod show;

use clap::Subcommand;
use zeroize::Zeroizing;

use crate::api::credentials::{CreatedSecret, SecretBody, SecretItem};
use crate::cli::Global;
use crate::cli::control::{Call, Control, escape};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made};
use crate::cli::output::values::{SecretOutput, reveal_json};
use crate::cli::ttl::seconds;

/// Create, list and revoke enrollment secrets: shared by many hosts
///
/// A secret lets hosts in until it is revoked; it may be capped and it may expire. Every host gets an identity of
/// its own, and revoking the secret leaves those alone. It is shown once, alone on stdout, and only its hash is
/// kept. One host, once: that is a join token ('muster enroll-token').
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum SecretCommand {
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
        /// What its hosts are tagged with, KEY or KEY:VALUE
        #[arg(long, value_name = "TAG")]
        tag: Vec<String>,
        /// A network that hosts must come from; from elsewhere the secret is as if it did not exist
        #[arg(long, value_name = "CIDR")]
        from: Vec<String>,
        /// The tenant that hosts join [default: the tenant 'default']
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// List secrets, newest first
    List {
        /// Only those that are revoked, or only those that are not
        #[arg(long, value_parser = ["active", "revoked"])]
        state: Option<String>,
        /// The tenant to look at
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// Show a secret with the hosts that it has let in, and the latest refusals
    Show {
        /// The secret's id, or a name that only one has
        secret: String,
        /// The secret's tenant
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// Revoke a secret: nobody can enroll with it any more, agents already enrolled stay
    Revoke {
        /// The secret's id, as the list shows it
        id: String,
        /// The secret's tenant
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
}

const EXAMPLES: &str = "Examples:
  muster secret create --name rack-7 --max-uses 40 --ttl 30d > rack-7.secret
  muster secret list --state active
  muster secret show rack-7
  muster secret revoke ID";

const ROUTE: &str = "/v1/enrollment-secrets";

impl SecretCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::Create { name, max_uses, ttl, tag, from, tenant } => {
                let output = SecretOutput::open()?;
                let body = SecretBody { name, max_uses, ttl_seconds: ttl, tags: tag, from };
                let answer = control.call(Call::post(ROUTE).query("tenant", tenant).body(&body)).await?;
                if global.json {
                    return reveal_json(output, &answer.raw);
                }
                let created: CreatedSecret = answer.read()?;
                eprintln!("Enrollment secret {}, shown this one time:", created.item.id);
                output.reveal(&Zeroizing::new(format!("{}\n", *created.secret)))?;
                eprintln!(
                    "On each host, with the secret in a file: muster agent install --server URL --ca-pin PIN \
                     --secret-file FILE"
                );
                Ok(())
            }
            Self::List { state, tenant } => {
                let call = Call::get(ROUTE).query("tenant", tenant).query("state", state);
                let secrets = control.list(call).await?;
                let columns = [
                    column("ID", |secret: &SecretItem| &secret.id),
                    column("NAME", |secret| &secret.name),
                    made("USES", uses),
                    column("CREATED", |secret| &secret.created_at),
                    column("LAST USED", |secret| &secret.last_used_at),
                    column("EXPIRES", |secret| &secret.expires_at),
                    column("REVOKED", |secret| &secret.revoked_at),
                ];
                let none = "No enrollment secrets. Create one: muster secret create --name NAME";
                secrets.print_list(global.json, &columns, none)
            }
            Self::Show { secret, tenant } => show::show(global, &control, &secret, tenant).await,
            Self::Revoke { id, tenant } => {
                let path = format!("{ROUTE}/{}/revoke", escape(&id));
                let revoked = control.call(Call::post(&path).query("tenant", tenant)).await?;
                let done = format!("Enrollment secret {id} is revoked: nobody can enroll with it any more.");
                revoked.print_done(global.json, &done)
            }
        }
    }
}

/// How many hosts a secret has admitted, of how many: `12 / 40`, or `12` without a cap.
fn uses(secret: &SecretItem) -> String {
    match secret.max_uses {
        Some(most) => format!("{} / {most}", secret.uses),
        None => secret.uses.to_string(),
    }
}
