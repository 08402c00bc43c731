//! `muster envelope`

use clap::{Args, Subcommand};

use crate::api::local::{RecoveryAnswer, RecoveryBody};
use crate::ca::envelope::RecoveryRecipient;
use crate::cli::Global;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::values::{print, print_json};

/// Say who opens what the envelope seals
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EnvelopeCommand {
    #[command(subcommand)]
    action: EnvelopeAction,
}

const EXAMPLES: &str = "Examples:
  age-keygen -o recovery.key                      # on a machine that is not the server
  muster envelope recovery add age1…              # the recipient that age-keygen printed
  MUSTER_ENVELOPE_KEY_FILE=recovery.key muster backup verify muster.age";

#[derive(Debug, Subcommand)]
enum EnvelopeAction {
    /// Recovery recipients: a second way to everything that is sealed, backups included
    ///
    /// A recovery recipient is the public key of an age identity that is kept elsewhere, offline. That identity opens every
    /// backup made from now on, and with it alone a server is restored whose envelope key is lost. It is used as the
    /// envelope key would be: in MUSTER_ENVELOPE_KEY_FILE, or as envelope.key in the data directory.
    #[command(subcommand)]
    Recovery(RecoveryAction),
}

#[derive(Debug, Subcommand)]
enum RecoveryAction {
    /// Seal everything for this recipient, too
    Add {
        /// An age recipient
        #[arg(value_name = "RECIPIENT")]
        recipient: RecoveryRecipient,
    },
    /// Show the recipients, and the line that belongs into the file of each identity
    List,
    /// Seal nothing for this recipient any more; backups that were made before still open with its identity
    Remove {
        /// An age recipient, as 'list' prints it
        #[arg(value_name = "RECIPIENT")]
        recipient: RecoveryRecipient,
    },
}

impl EnvelopeCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let EnvelopeAction::Recovery(action) = self.action;
        let body = |recipient: &RecoveryRecipient| RecoveryBody { recipient: recipient.to_string() };
        let call = match &action {
            RecoveryAction::List => Call::get("/local/envelope/recovery"),
            RecoveryAction::Add { recipient } => {
                Call::post("/local/envelope/recovery").body(&body(recipient))
            }
            RecoveryAction::Remove { recipient } => {
                Call::post("/local/envelope/recovery/remove").body(&body(recipient))
            }
        };
        let received = Control::open_local(global).await?.call(call).await?;
        if global.json {
            return print_json(&received.raw);
        }
        let answer: RecoveryAnswer = received.read()?;
        match action {
            RecoveryAction::List => {
                if answer.recipients.is_empty() {
                    eprintln!("No recovery recipients: the envelope key alone opens what is sealed.");
                    return Ok(());
                }
                print(&format!("{}\n", answer.recipients.join("\n")))?;
                say_line(&answer.line);
            }
            RecoveryAction::Add { recipient } => {
                eprintln!("Sealed for {recipient}, too: the CA keys now, and every backup from now on.");
                eprintln!(
                    "  Earlier backups open with the envelope key alone. Take one now: muster backup PATH"
                );
                say_line(&answer.line);
            }
            RecoveryAction::Remove { recipient } => {
                eprintln!("Nothing is sealed for {recipient} any more.");
                eprintln!(
                    "  Backups that were made before open with its identity; destroy those that must not."
                );
            }
        }
        Ok(())
    }
}

fn say_line(line: &str) {
    eprintln!("Put this line into the file of the recovery identity, beside its AGE-SECRET-KEY-1… line:");
    eprintln!("  {line}");
    eprintln!(
        "  By it Muster knows your backups from those that others made for this recipient. It is no secret."
    );
}
