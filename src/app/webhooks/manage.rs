//! Webhooks made, listed, removed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::app::access::caller::Caller;
use crate::app::access::sessions::renewed;
use crate::app::access::tenants::NO_TENANT;
use crate::app::{App, Unavailable, entropy};
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings};
use crate::domain::ids::{TenantId, WebhookId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::people::permission::Permission;
use crate::domain::webhook::event::WebhookEventKind;
use crate::domain::webhook::receiver::{WebhookUrl, is_outside_by_name};
use crate::domain::webhook::row::{WEBHOOKS_MAX, Webhook, WebhookFormat, WebhookQueue};
use crate::pem;
use crate::store::{Change, ReadError, Verdict, WebhookChange};

/// What begins a key's text, as Standard Webhooks have it.
pub const KEY_PREFIX: &str = "whsec_";
/// Longest list of certificates, in octets.
const CA_PEM_MAX: usize = 64 * 1024;

/// Whom somebody wants to have told of what.
#[derive(Debug)]
pub struct WebhookOrder {
    /// Where events go.
    pub url: WebhookUrl,
    /// `None`: all.
    pub events: Option<BTreeSet<WebhookEventKind>>,
    /// PEM, in place of the system's roots.
    pub ca_pem: Option<String>,
    /// How they are written.
    pub format: WebhookFormat,
    /// `None`: the caller's own reach.
    pub tenant: Option<TenantId>,
}

/// Why a webhook was not made or removed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Where a tenant's people may not have anything sent.
    #[error(
        "A webhook goes to an https:// address that is neither this machine, its link nor a metadata service; only people who belong to no tenant may choose others."
    )]
    Inside,
    /// It would be told of nothing.
    #[error("A list of events that a webhook is told of names at least one.")]
    NoEvents,
    /// It can't be read.
    #[error("What vouches for the receiver is PEM with one certificate or more, and at most 64 KiB long.")]
    BadCa,
    /// Of the same tenant.
    #[error("There are {WEBHOOKS_MAX} webhooks already. Remove one that nobody needs.")]
    TooMany,
    /// The caller is confined to another tenant, or there is none of this id.
    #[error("{NO_TENANT}")]
    NoTenant,
    /// It is not there, or is of a tenant that the caller can't see.
    #[error("There is no such webhook.")]
    NotFound,
    /// Who has lost the right since the request came.
    #[error("You are not allowed to do this.")]
    NotAllowed,
    /// Without one no key can be sealed or unsealed.
    #[error("there is no envelope to seal the webhook's key with")]
    NoEnvelope,
    /// It was found, and can't be used.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A webhook and how it goes.
#[derive(Debug, Clone)]
pub struct ListedWebhook {
    /// Its row.
    pub webhook: Webhook,
    /// What waits for it.
    pub queue: WebhookQueue,
    /// What came of attempts.
    pub health: WebhookHealth,
}

/// How the attempts of this process have gone.
#[derive(Debug, Clone, Default)]
pub struct WebhookHealth {
    /// How many events arrived.
    pub delivered: u64,
    /// When it was last tried.
    pub last_attempt_at: Option<jiff::Timestamp>,
    /// What the receiver answered last.
    pub last_status: Option<u16>,
    /// Why the last attempt came to nothing.
    pub last_error: Option<String>,
    /// Since when nothing has arrived.
    pub failing_since: Option<jiff::Timestamp>,
}

/// A webhook's key as it is shown once: `whsec_` and base64.
pub type WebhookKeyText = Zeroizing<String>;

impl App {
    /// Makes one; its key is returned once and kept sealed.
    pub async fn create_webhook(
        self: &Arc<Self>,
        caller: &Caller,
        order: WebhookOrder,
        envelope: &EnvelopeSettings,
        own: &[IpAddr],
    ) -> Result<(ListedWebhook, WebhookKeyText), WebhookError> {
        let WebhookOrder { url, events, ca_pem, format, tenant } = order;
        let tenant = match (caller.tenant(), tenant) {
            (Some(own), Some(asked)) if own != asked => return Err(WebhookError::NoTenant),
            (own, asked) => own.or(asked),
        };
        let may_go_inside = caller.tenant().is_none();
        if !may_go_inside && (!url.is_https() || !is_outside_by_name(&url.host().host, own)) {
            return Err(WebhookError::Inside);
        }
        if events.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(WebhookError::NoEvents);
        }
        let readable =
            |text: &String| text.len() <= CA_PEM_MAX && pem::file::certificates(text.as_bytes()).is_ok();
        if ca_pem.as_ref().is_some_and(|text| !readable(text)) {
            return Err(WebhookError::BadCa);
        }
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(entropy()?);
        let settings = envelope.clone();
        let sealing = {
            let key = key.clone();
            move || {
                let envelope = Envelope::find(&settings)?.ok_or(WebhookError::NoEnvelope)?;
                Ok::<_, WebhookError>(envelope.seal(key.as_slice())?)
            }
        };
        let sealed_key = self.pool.run(sealing).await??;
        let now = self.clock.now();
        let id = WebhookId::new(now, entropy()?);
        let webhook =
            Webhook { id, tenant, url, events, ca_pem, format, may_go_inside, sealed_key, created_at: now };
        let text = Zeroizing::new(format!("{KEY_PREFIX}{}", BASE64.encode(key.as_slice())));
        let caller = caller.clone();
        let created = self.decide(move |view, now| {
            let still = renewed(view, &caller, now)?;
            if !still.is_some_and(|caller| caller.may(Permission::WebhookWrite)) {
                return Ok(Verdict::refuse(WebhookError::NotAllowed));
            }
            if let Some(tenant) = webhook.tenant
                && !view.has_tenant(tenant)?
            {
                return Ok(Verdict::refuse(WebhookError::NoTenant));
            }
            let others = view.webhooks()?.into_iter().filter(|other| other.tenant == webhook.tenant);
            if others.count() >= WEBHOOKS_MAX {
                return Ok(Verdict::refuse(WebhookError::TooMany));
            }
            let mut event = caller.event(AuditAction::WebhookCreate, webhook.tenant, webhook.id);
            // What is behind the host may be a secret.
            event.detail.insert("receiver", webhook.url.host().to_string());
            let changes = vec![Change::Webhook(WebhookChange::Put(webhook.clone())), Change::Audit(event)];
            let (queue, health) = (WebhookQueue::default(), WebhookHealth::default());
            Ok(Verdict::accept(ListedWebhook { webhook, queue, health }, changes))
        });
        Ok((created.await?, text))
    }

    /// Webhooks that the caller may see: those of the tenant, or of all; the oldest first.
    pub fn webhooks(&self, scope: Option<TenantId>) -> Result<Vec<ListedWebhook>, Unavailable> {
        let health = self.webhook_health.lock();
        self.query(|view| {
            let listed = |webhook: Webhook| {
                let queue = view.webhook_queue(webhook.id)?;
                let health = health.get(&webhook.id).cloned().unwrap_or_default();
                Ok(ListedWebhook { webhook, queue, health })
            };
            let its = |webhook: &Webhook| scope.is_none() || webhook.tenant == scope;
            view.webhooks()?.into_iter().filter(its).map(listed).collect::<Result<_, ReadError>>()
        })
    }

    /// One that the caller may see.
    pub fn webhook(&self, scope: Option<TenantId>, id: WebhookId) -> Result<Webhook, WebhookError> {
        let found = self.query(|view| view.webhook(id))?;
        let its = |webhook: &Webhook| scope.is_none() || webhook.tenant == scope;
        found.filter(its).ok_or(WebhookError::NotFound)
    }

    /// Removes one with all that waits for it.
    pub async fn delete_webhook(&self, caller: &Caller, id: WebhookId) -> Result<(), WebhookError> {
        let (scope, caller) = (caller.tenant(), caller.clone());
        self.decide(move |view, _| {
            let found = view.webhook(id)?.filter(|webhook| scope.is_none() || webhook.tenant == scope);
            let Some(webhook) = found else { return Ok(Verdict::refuse(WebhookError::NotFound)) };
            let mut event = caller.event(AuditAction::WebhookDelete, webhook.tenant, id);
            event.detail.insert("receiver", webhook.url.host().to_string());
            let changes = vec![Change::Webhook(WebhookChange::Delete(id)), Change::Audit(event)];
            Ok(Verdict::accept((), changes))
        })
        .await
    }

    /// The key that a webhook's events are signed with.
    pub async fn webhook_key(
        &self,
        webhook: &Webhook,
        envelope: &EnvelopeSettings,
    ) -> Result<Zeroizing<Vec<u8>>, WebhookError> {
        let (sealed, settings) = (webhook.sealed_key.clone(), envelope.clone());
        let unsealing = move || {
            let envelope = Envelope::find(&settings)?.ok_or(WebhookError::NoEnvelope)?;
            Ok::<_, WebhookError>(envelope.unseal(&sealed)?)
        };
        self.pool.run(unsealing).await?
    }
}
