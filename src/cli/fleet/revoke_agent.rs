//! `muster revoke-agent`

use clap::Args;

use crate::api::hosts::RevokedAnswer;
use crate::cli::Global;
use crate::cli::control::{Call, Control, escape};
use crate::cli::output::error::CliError;
use crate::cli::output::values::{print, print_json};

/// Revoke an agent's identity: its streams end, its next handshake fails
///
/// Every unexpired certificate of the agent is revoked. Its live streams end at once, its next handshake
/// fails, and neither rotation nor a join token lets it back in. Repeating the command is harmless. What takes
/// it back is 'muster host re-enable'.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster revoke-agent --agent web-7")]
pub(crate) struct RevokeAgentCommand {
    /// The agent id, the last part of its SPIFFE id
    #[arg(long, value_name = "ID")]
    agent: String,
    /// The agent's tenant [default: the tenant 'default']
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl RevokeAgentCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        let path = format!("/v1/agents/{}/revoke", escape(&self.agent));
        let answer = control.call(Call::post(&path).query("tenant", self.tenant)).await?;
        if global.json {
            return print_json(&answer.raw);
        }
        let count = answer.read::<RevokedAnswer>()?.certificates_revoked;
        let certificates = if count == 1 { "certificate" } else { "certificates" };
        print(&format!("Agent {} is revoked ({count} {certificates}).\n", self.agent))
    }
}
