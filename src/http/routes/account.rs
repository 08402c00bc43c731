//! One's own account over the API.

use axum::extract::State;

use crate::api::page::Page;
use crate::api::people::{AccountAnswer, OwnPasswordAnswer, OwnPasswordBody, OwnToken, SessionItem};
use crate::app::access::account::{AccountError, OwnPassword};
use crate::domain::people::session::SessionId;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::{Id, Nothing, Params, SignedInPerson};
use crate::http::input::page::{ListRequest, PageParams};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

pub(crate) async fn show(
    SignedInPerson(oneself): SignedInPerson,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<axum::Json<AccountAnswer>, Problem> {
    let api_tokens = shared.app.own_api_tokens(&oneself)?;
    let user = &oneself.user;
    Ok(axum::Json(AccountAnswer {
        id: user.id.to_string(),
        username: user.username.to_string(),
        role: user.role,
        tenant_id: user.tenant.map(|tenant| tenant.to_string()),
        created_at: user.created_at,
        preferences: user.preferences.into(),
        permissions: oneself.caller.permissions().into_iter().collect(),
        api_tokens: api_tokens.into_iter().map(OwnToken::from).collect(),
    }))
}

pub(crate) async fn set_password(
    SignedInPerson(oneself): SignedInPerson,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
    Json(body): Json<OwnPasswordBody>,
) -> Result<axum::Json<OwnPasswordAnswer>, Problem> {
    let address = oneself.caller.address();
    // Whoever has found an open session must not be able to try passwords faster than at the front door.
    shared.throttle.admit_sign_in(address)?;
    let OwnPasswordBody { current, new, end_api_tokens } = body;
    let change = OwnPassword { current, new, end_api_tokens };
    match shared.app.change_own_password(&oneself, change).await {
        Ok(ended) => {
            let ended_api_tokens = ended.into_iter().map(OwnToken::from).collect();
            Ok(axum::Json(OwnPasswordAnswer { ended_api_tokens }))
        }
        Err(error) => {
            if matches!(error, AccountError::WrongPassword) {
                shared.throttle.wrong_password(address)?;
            }
            Err(error.into())
        }
    }
}

pub(crate) async fn sessions(
    SignedInPerson(oneself): SignedInPerson,
    State(shared): State<Shared>,
    listing: ListRequest<SessionId, PageParams>,
) -> Result<axum::Json<Page<SessionItem>>, Problem> {
    let sessions = shared.app.own_sessions(&oneself, listing.after, listing.rows())?;
    let item = |session| SessionItem::new(&session, oneself.session);
    Ok(listing.page(sessions, |session| session.key.id(), item))
}

pub(crate) async fn end_session(
    SignedInPerson(oneself): SignedInPerson,
    State(shared): State<Shared>,
    Id(id): Id<SessionId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<NoContent, Problem> {
    shared.app.end_own_session(&oneself, id).await?;
    Ok(NoContent)
}
