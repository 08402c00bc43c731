//! People over the API.

use axum::extract::State;

use crate::api::page::Page;
use crate::api::people::{ChangedUserAnswer, UserBody, UserItem, UserPatch};
use crate::app::access::users::{UserChange, UserOrder};
use crate::domain::code::Code;
use crate::domain::ids::UserId;
use crate::http::Shared;
use crate::http::input::body::{Json, text};
use crate::http::input::extract::{Allowed, Id, Nothing, Params, UserWrite, scope, tenant};
use crate::http::input::page::ListRequest;
use crate::http::problem::Problem;
use crate::http::reply::Created;

pub(crate) async fn list(
    allowed: Allowed<UserWrite>,
    State(shared): State<Shared>,
    listing: ListRequest<UserId>,
) -> Result<axum::Json<Page<UserItem>>, Problem> {
    let scope = scope(&shared, &allowed.caller, listing.query.tenant.as_deref())?;
    let users = shared.app.users(scope, listing.after, listing.rows())?;
    Ok(listing.page(users, |user| user.id, UserItem::from))
}

pub(crate) async fn create(
    allowed: Allowed<UserWrite>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
    Json(body): Json<UserBody>,
) -> Result<Created<UserItem>, Problem> {
    let username = text(Code::InvalidUsername, &body.username)?;
    let asked = body.tenant_id.as_deref();
    let tenant = asked.map(|asked| tenant(&shared, &allowed.caller, Some(asked))).transpose()?;
    let order = UserOrder { username, password: body.password, role: body.role, tenant };
    let user = shared.app.create_user(&allowed.caller, order).await?;
    Ok(Created(UserItem::from(user)))
}

pub(crate) async fn change(
    allowed: Allowed<UserWrite>,
    State(shared): State<Shared>,
    Id(id): Id<UserId>,
    Params(Nothing {}): Params<Nothing>,
    Json(body): Json<UserPatch>,
) -> Result<axum::Json<ChangedUserAnswer>, Problem> {
    let change = UserChange { role: body.role, disabled: body.disabled, password: body.password };
    let changed = shared.app.change_user(&allowed.caller, id, change).await?;
    Ok(axum::Json(ChangedUserAnswer::from(changed)))
}
