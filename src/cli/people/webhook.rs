//! `muster webhook`

use std::path::PathBuf;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::api::webhooks::{CreatedWebhook, WebhookBody, WebhookItem, WebhookTestAnswer};
use crate::cli::Global;
use crate::cli::control::{Call, Control, escape};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made};
use crate::cli::output::values::{SecretOutput, print, print_json, reveal_json};
use crate::cli::people::tenant::tenant_or_all;
use crate::cli::word::known;
use crate::domain::webhook::event::WebhookEventKind;
use crate::domain::webhook::row::WebhookFormat;

/// Tell other programs, or a team's chat, of what happens
///
/// Events are posted as JSON and signed as Standard Webhooks have it; 'add' shows the key for that once, alone on stdout. They wait
/// on disk while the receiver is away and are tried again for a day.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum WebhookCommand {
    /// Add a receiver; the key that events are signed with is shown this one time
    Add {
        /// Where events are posted: https://…
        url: String,
        /// Only these events; may be repeated [default: all]
        #[arg(long = "event", value_name = "EVENT", num_args = 1.., value_delimiter = ',',
              value_parser = PossibleValuesParser::new(WebhookEventKind::ALL.iter().map(|word| word.as_str())).try_map(known::<WebhookEventKind>))]
        events: Vec<WebhookEventKind>,
        /// A file with what vouches for the receiver, PEM [default: the system's roots]
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// json, or text: one sentence, which team chats take [default: json]
        #[arg(long, value_name = "FORMAT",
              value_parser = PossibleValuesParser::new(WebhookFormat::ALL.iter().map(|word| word.as_str())).try_map(known::<WebhookFormat>))]
        format: Option<WebhookFormat>,
        /// Only events of one tenant [default: all that you may see]
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// List receivers, and how they take what they are told
    List,
    /// Send a message at once and say what came of it
    Test {
        /// The webhooks' ids, as the list shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Remove receivers with all that waits for them
    Remove {
        /// The webhooks' ids, as the list shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

const EXAMPLES: &str = "Examples:
  muster webhook add https://hooks.example.org/muster > webhook.key
  muster webhook add https://chat.example.org/hooks/abc --format text --event clone.suspected,expiry.near
  muster webhook test ID";

const ROUTE: &str = "/v1/webhooks";

impl WebhookCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::Add { url, events, ca_file, format, tenant } => {
                let ca_pem = ca_file.map(|file| read_ca(&file)).transpose()?;
                let output = SecretOutput::open()?;
                let events = (!events.is_empty()).then_some(events);
                let body = WebhookBody { url, events, ca_pem, format };
                let answer = control.call(Call::post(ROUTE).query("tenant", tenant).body(&body)).await?;
                if global.json {
                    return reveal_json(output, &answer.raw);
                }
                let created: CreatedWebhook = answer.read()?;
                eprintln!(
                    "Webhook {}; the key that its events are signed with, shown this one time:",
                    created.item.id
                );
                output.reveal(&Zeroizing::new(format!("{}\n", *created.secret)))?;
                eprintln!("Try it out: muster webhook test {}", created.item.id);
                Ok(())
            }
            Self::List => {
                let webhooks = control.list(Call::get(ROUTE)).await?;
                let columns = [
                    column("ID", |webhook: &WebhookItem| &webhook.id),
                    column("URL", |webhook| &webhook.url),
                    made("EVENTS", events),
                    column("FORMAT", |webhook| &webhook.format),
                    made("TENANT", |webhook| tenant_or_all(webhook.tenant_id.as_deref())),
                    made("WAITING", |webhook| webhook.waiting.to_string()),
                    column("DROPPED", |webhook| &webhook.dropped),
                    made("LAST ANSWER", last_answer),
                    column("FAILING SINCE", |webhook| &webhook.failing_since),
                ];
                webhooks.print_list(global.json, &columns, "No webhooks. Add one: muster webhook add URL")
            }
            Self::Test { ids } => each(global, &control, &ids, Deed::Test).await,
            Self::Remove { ids } => each(global, &control, &ids, Deed::Remove).await,
        }
    }
}

fn read_ca(file: &std::path::Path) -> Result<String, CliError> {
    std::fs::read_to_string(file)
        .map_err(|error| CliError::new(format!("cannot read {}: {error}", file.display())))
}

fn events(webhook: &WebhookItem) -> String {
    let words = |kinds: &Vec<_>| kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    webhook.events.as_ref().map_or_else(|| "all".to_owned(), words)
}

fn last_answer(webhook: &WebhookItem) -> String {
    match (webhook.last_status, &webhook.last_error) {
        (_, Some(error)) => error.clone(),
        (Some(status), None) => status.to_string(),
        (None, None) => String::new(),
    }
}

/// What is done to webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Test,
    Remove,
}

impl Deed {
    /// Does it to one; a document and a line that say so.
    async fn to(self, control: &Control, id: &str) -> Result<(Value, String), CliError> {
        let path = format!("{ROUTE}/{}", escape(id));
        if self == Self::Remove {
            control.call(Call::delete(&path)).await?;
            return Ok((json!({ "id": id, "removed": true }), format!("Webhook {id} is removed.\n")));
        }
        let answer = control.call(Call::post(&format!("{path}/test"))).await?;
        let WebhookTestAnswer { delivered, status, error } = answer.read()?;
        if !delivered {
            let why = error.unwrap_or_else(|| "the receiver did not take it".to_owned());
            return Err(CliError::new(format!("the test of webhook {id} did not arrive: {why}"))
                .hint("see to the receiver; what is queued for it is tried again for a day"));
        }
        let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
        Ok((answer.raw, format!("Webhook {id} works{status}.\n")))
    }
}

/// Does it to each and says what became of each.
async fn each(global: &Global, control: &Control, ids: &[String], deed: Deed) -> Result<(), CliError> {
    let (mut documents, mut failed) = (Vec::new(), 0_usize);
    for id in ids {
        match deed.to(control, id).await {
            Ok((document, _)) if global.json => documents.push(document),
            Ok((_, line)) => print(&line)?,
            Err(error) if ids.len() == 1 => return Err(error),
            Err(error) => {
                if global.json {
                    documents.push(json!({ "id": id, "error": error.message }));
                } else {
                    eprintln!("{id}: {}", error.message);
                }
                failed += 1;
            }
        }
    }
    if global.json {
        match documents.as_slice() {
            [document] if ids.len() == 1 => print_json(document)?,
            several => print_json(&json!({ "items": several }))?,
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(CliError::new(format!("{failed} of {} failed", ids.len()))
            .hint("what went wrong with each is said above; the others are done")),
    }
}
