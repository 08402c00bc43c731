//! `muster enrollment`

use std::process::ExitCode;

use clap::Subcommand;

use super::Global;
use super::control::{Call, Control, escape, items};
use super::error::CliError;
use super::output::{print_json, print_table};

/// The record of certificates issued.
#[derive(Debug, Subcommand)]
pub(super) enum EnrollmentCommand {
    /// List every certificate ever issued to a host, newest first
    List {
        /// The host's id, as 'muster host list' shows it
        host_id: String,
        /// The host's tenant
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
}

impl EnrollmentCommand {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let control = Control::open(global).await?;
        let Self::List { host_id, tenant } = self;
        let path = format!("/v1/hosts/{}/enrollments", escape(&host_id));
        let answer = control.list(Call::get(&path).query("tenant", tenant)).await?;
        if global.json {
            return print_json(&answer);
        }
        let columns = [
            ("SERIAL", "serial"),
            ("VIA", "via"),
            ("ISSUED", "issued_at"),
            ("UNTIL", "not_after"),
            ("PEER", "peer"),
            ("REVOKED", "revoked_at"),
            ("REASON", "reason"),
        ];
        print_table(items(&answer), &columns, "No certificates.")
    }
}
