//! Webhooks over the API.

use axum::extract::State;

use crate::api::page::Page;
use crate::api::webhooks::{CreatedWebhook, WebhookBody, WebhookItem, WebhookTestAnswer};
use crate::app::webhooks::manage::WebhookOrder;
use crate::app::webhooks::message::test_body;
use crate::domain::code::Code;
use crate::domain::ids::WebhookId;
use crate::domain::webhook::receiver::NotAWebhookUrl;
use crate::domain::webhook::row::WebhookFormat;
use crate::error_chain::chain;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::{Allowed, Id, InTenant, Nothing, Params, WebhookWrite, scope, tenant};
use crate::http::input::page::ListRequest;
use crate::http::problem::Problem;
use crate::http::reply::{Created, NoContent};
use crate::webhook::send::{Message, own_addresses, send};

pub(crate) async fn list(
    allowed: Allowed<WebhookWrite>,
    State(shared): State<Shared>,
    listing: ListRequest<WebhookId>,
) -> Result<axum::Json<Page<WebhookItem>>, Problem> {
    let scope = scope(&shared, &allowed.caller, listing.query.tenant.as_deref())?;
    let mut webhooks = shared.app.webhooks(scope)?;
    webhooks.retain(|listed| listing.after.is_none_or(|after| listed.webhook.id > after));
    webhooks.truncate(listing.rows());
    Ok(listing.page(webhooks, |listed| listed.webhook.id, WebhookItem::from))
}

pub(crate) async fn create(
    allowed: Allowed<WebhookWrite>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
    Json(body): Json<WebhookBody>,
) -> Result<Created<CreatedWebhook>, Problem> {
    let url = body.url.parse();
    let url = url.map_err(|why: NotAWebhookUrl| Problem::new(Code::InvalidUrl, format!("{why}.")))?;
    let asked = params.tenant.as_deref();
    let tenant = asked.map(|asked| tenant(&shared, &allowed.caller, Some(asked))).transpose()?;
    let order = WebhookOrder {
        url,
        events: body.events.map(|events| events.into_iter().collect()),
        ca_pem: body.ca_pem,
        format: body.format.unwrap_or(WebhookFormat::Json),
        tenant,
    };
    let envelope = &shared.facts.envelope;
    let created = shared.app.create_webhook(&allowed.caller, order, envelope, &own_addresses()).await;
    let (listed, secret) = created?;
    Ok(Created(CreatedWebhook { item: listed.into(), secret }))
}

pub(crate) async fn delete(
    allowed: Allowed<WebhookWrite>,
    State(shared): State<Shared>,
    Id(id): Id<WebhookId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<NoContent, Problem> {
    shared.app.delete_webhook(&allowed.caller, id).await?;
    Ok(NoContent)
}

/// Sends a message at once, beside the queue.
pub(crate) async fn test(
    allowed: Allowed<WebhookWrite>,
    State(shared): State<Shared>,
    Id(id): Id<WebhookId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<axum::Json<WebhookTestAnswer>, Problem> {
    let webhook = shared.app.webhook(allowed.caller.tenant(), id)?;
    let key = shared.app.webhook_key(&webhook, &shared.facts.envelope).await?;
    let now = shared.app.clock.now();
    let body = test_body(&webhook, now);
    let message = Message { id: format!("msg_test_{}", now.as_nanosecond()), body };
    let sent = send(&webhook, &key, &message, now, &own_addresses()).await;
    Ok(axum::Json(match sent {
        Ok(status) => WebhookTestAnswer { delivered: true, status: Some(status), error: None },
        Err(error) => {
            WebhookTestAnswer { delivered: false, status: error.status(), error: Some(chain(&error)) }
        }
    }))
}
