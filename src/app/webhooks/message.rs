//! An event as its receiver reads it: in the fields of Standard Webhooks, or as one sentence.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::app::{App, Unavailable};
use crate::domain::webhook::event::{WebhookEvent, WebhookEventKind};
use crate::domain::webhook::row::{Webhook, WebhookFormat};

/// What the receiver is told to try whether it listens.
pub const TEST: &str = "webhook.test";
/// Longest name in a sentence, in characters.
const NAME_MAX: usize = 128;

impl App {
    /// The body of an event, with names as they are now: a host that was deleted meanwhile has none.
    pub fn webhook_body(&self, webhook: &Webhook, event: &WebhookEvent) -> Result<String, Unavailable> {
        let host = event.host.and_then(|id| self.fleet.host(id));
        let hostname = host.as_ref().and_then(|host| host.host.facts.hostname.clone());
        let agent = host.as_ref().map(|host| host.host.agent.to_string());
        let tenant = event
            .tenant
            .map(|tenant| {
                self.query(|view| {
                    Ok(view.tenants()?.into_iter().find(|it| it.id == tenant).map(|it| it.name.to_string()))
                })
            })
            .transpose()?
            .flatten();
        let body = match webhook.format {
            WebhookFormat::Text => {
                let name = hostname.or(agent).or_else(|| event.host.map(|id| id.to_string()));
                json!({ "text": sentence(event, name.as_deref(), tenant.as_deref()) })
            }
            WebhookFormat::Json => {
                let mut data = json!({ "tenant_id": event.tenant.map(|id| id.to_string()) });
                let fields =
                    event.detail.iter().map(|(name, value)| (name.clone(), Value::from(value.clone())));
                if let Some(members) = data.as_object_mut() {
                    members.extend(fields);
                    members.extend(event.host.map(|id| ("host_id".to_owned(), Value::from(id.to_string()))));
                    members.extend(agent.map(|agent| ("agent_id".to_owned(), Value::from(agent))));
                    members.extend(hostname.map(|name| ("hostname".to_owned(), Value::from(name))));
                }
                json!({ "type": event.kind.as_str(), "timestamp": event.at.to_string(), "data": data })
            }
        };
        Ok(body.to_string())
    }
}

/// The body of a test.
pub fn test_body(webhook: &Webhook, now: Timestamp) -> String {
    let body = match webhook.format {
        WebhookFormat::Text => json!({ "text": "Muster tries out this webhook: it works." }),
        WebhookFormat::Json => {
            let data = json!({ "tenant_id": webhook.tenant.map(|tenant| tenant.to_string()) });
            json!({ "type": TEST, "timestamp": now.to_string(), "data": data })
        }
    };
    body.to_string()
}

/// A text of somebody else's, in one line that reads in one direction.
fn one_line(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| !c.is_control() && !turns(*c)).take(NAME_MAX).collect()
}

/// What has happened, in one sentence. Names come from strangers: they bring no line of their own.
fn sentence(event: &WebhookEvent, host: Option<&str>, tenant: Option<&str>) -> String {
    let host = one_line(host.unwrap_or("a host"));
    let of = |name: &str| one_line(event.detail.get(name).map_or("", String::as_str));
    let said = match event.kind {
        WebhookEventKind::HostEnrolled => format!("{host} has enrolled."),
        WebhookEventKind::HostSilent => format!("{host} has not reported since {}.", of("last_seen")),
        WebhookEventKind::HostDecommissioned => format!("{host} was decommissioned by {}.", of("actor")),
        WebhookEventKind::IdentityRevoked => {
            format!("The identity of {host} was revoked by {}.", of("actor"))
        }
        WebhookEventKind::CloneSuspected => {
            format!("The identity of {host} may be in use on two machines ({}).", of("signal"))
        }
        WebhookEventKind::SecretExhausted => {
            format!(
                "The enrollment secret “{}” has let in as many hosts as it may ({}).",
                of("name"),
                of("uses")
            )
        }
        WebhookEventKind::EnrollmentRefused => {
            format!("An enrollment from {} was refused: {}.", of("source"), of("reason"))
        }
        WebhookEventKind::ExpiryNear => format!("{} expires at {}.", of("what"), of("not_after")),
        WebhookEventKind::BackupFailed => format!("The server could not back itself up: {}.", of("why")),
        WebhookEventKind::ReplicaBehind => format!("A replica is behind: {}.", of("why")),
    };
    match tenant {
        Some(tenant) if tenant != "default" => format!("[{}] {said}", one_line(tenant)),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_one_sentence_whatever_names_say() {
        let name = "web-1\nBcc: you\u{202e}";
        for kind in WebhookEventKind::ALL {
            let detail = [("actor", "root".to_owned()), ("why", name.to_owned()), ("name", name.to_owned())];
            let event = WebhookEvent::of_all(*kind, Timestamp::UNIX_EPOCH, &detail);
            for host in [None, Some(name)] {
                let said = sentence(&event, host, Some("acme"));
                assert!(said.starts_with("[acme] ") && said.ends_with('.'), "{said}");
                assert!(!said.contains('\n') && !said.contains('\u{202e}'), "{said}");
            }
        }
    }
}
