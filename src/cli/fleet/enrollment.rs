//! `muster enrollment`

use clap::Subcommand;

use crate::api::hosts::{EnrollmentItem, HostItem};
use crate::cli::Global;
use crate::cli::control::{Call, Control, escape};
use crate::cli::fleet::which_host::host_id;
use crate::cli::output::error::CliError;
use crate::cli::output::table::column;

/// List the certificates issued to a host
///
/// An enrollment is one issued certificate: its serial, how it came (token, secret, rotation), until when it is
/// valid, and whether and why it was revoked. Rows stay when certificates expire; rotations that were never revoked go when
/// they are past `retention`.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  muster enrollment list web-1")]
pub(crate) enum EnrollmentCommand {
    /// List every certificate ever issued to a host, newest first
    List {
        /// The host's id, its agent id, or a hostname that only one host has
        host: String,
        /// The host's tenant
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
}

impl EnrollmentCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        let Self::List { host, tenant } = self;
        let host_id = host_id(&control, &host, tenant.as_deref()).await?;
        let path = format!("/v1/hosts/{}/enrollments", escape(&host_id));
        let enrollments = control.list(Call::get(&path).query("tenant", tenant.clone())).await?;
        let columns = [
            column("SERIAL", |enrollment: &EnrollmentItem| &enrollment.serial),
            column("VIA", |enrollment| &enrollment.via),
            column("ISSUED", |enrollment| &enrollment.issued_at),
            column("VALID UNTIL", |enrollment| &enrollment.not_after),
            column("PEER", |enrollment| &enrollment.peer),
            column("REVOKED", |enrollment| &enrollment.revoked_at),
            column("REASON", |enrollment| &enrollment.reason),
        ];
        enrollments.print_list(global.json, &columns, "No certificates.")?;
        let host = format!("/v1/hosts/{}", escape(&host_id));
        let host: HostItem = control.call(Call::get(&host).query("tenant", tenant)).await?.read()?;
        if let Some(taken) = host.certificates_taken_by_retention.filter(|taken| *taken > 0) {
            eprintln!(
                "{taken} older ones were rotations that expired long ago, and retention has taken them."
            );
        }
        Ok(())
    }
}
