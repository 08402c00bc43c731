//! Signing in and out over the API.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;

use crate::api::people::{PreferencesBody, SessionAnswer, SessionUser, SignInBody};
use crate::app::access::caller::Caller;
use crate::app::access::sessions::{SignInError, SignedIn};
use crate::domain::people::session::ABSOLUTE;
use crate::domain::people::user::Preferences;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::{COOKIE, ClientAddress, Known, own_page, session_cookie};
use crate::http::openapi::describe::Input;
use crate::http::problem::Problem;
use crate::http::reply::{IfAny, NoContent};

/// Proof that a browser which names its page's origin names ours: nobody else's page may sign anybody in.
#[derive(Debug)]
pub(crate) struct OwnPage;

impl FromRequestParts<Shared> for OwnPage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::ORIGIN) {
            own_page(shared, parts)?;
        }
        Ok(Self)
    }
}

/// Anybody may sign in: the document has nothing to say of it.
impl Input for OwnPage {}

pub(crate) async fn sign_in(
    State(shared): State<Shared>,
    ClientAddress(address): ClientAddress,
    _: OwnPage,
    headers: HeaderMap,
    Json(body): Json<SignInBody>,
) -> Result<([(HeaderName, HeaderValue); 1], axum::Json<SessionAnswer>), Problem> {
    // Hashing costs us, so an address that has used up its allowance does not get that far.
    shared.throttle.admit_sign_in(address)?;
    let (signed_in, token) = match shared.app.sign_in(&body.username, body.password, address).await {
        Ok(opened) => opened,
        Err(error @ SignInError::Wrong) => {
            shared.throttle.wrong_password(address)?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    // The browser's cookie is about to be replaced, so nobody could end the session that it stands for.
    if let Some(replaced) = session_cookie(&headers)
        && let Some(before) = shared.app.caller_of_session(&replaced, address).await?
    {
        shared.app.sign_out(&before).await?;
    }
    let seconds = ABSOLUTE.as_secs();
    let cookie =
        format!("{COOKIE}={}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict", *token.reveal());
    let mut cookie = HeaderValue::from_str(&cookie).map_err(|_| Problem::internal())?;
    cookie.set_sensitive(true);
    let SignedIn { user, session } = signed_in;
    let expires_at = session.expires_at();
    let caller = Caller::User { user: Box::new(user), session: session.key, address };
    Ok(([(header::SET_COOKIE, cookie)], answer(&caller, Some(expires_at))))
}

pub(crate) async fn show(
    State(shared): State<Shared>,
    Known(caller): Known,
) -> Result<axum::Json<SessionAnswer>, Problem> {
    Ok(answer(&caller, expiry(&shared, &caller)?))
}

/// When the session ends that somebody asks with.
fn expiry(shared: &Shared, caller: &Caller) -> Result<Option<Timestamp>, Problem> {
    let Caller::User { session, .. } = caller else { return Ok(None) };
    Ok(shared.app.signed_in(*session)?.map(|signed_in| signed_in.session.expires_at()))
}

/// The same without a refusal. A page can't know beforehand whether anybody is signed in, since the cookie is
/// out of its reach, and browsers report every refusal as an error of the page.
pub(crate) async fn show_if_any(
    State(shared): State<Shared>,
    caller: Result<Known, Problem>,
) -> Result<IfAny<axum::Json<SessionAnswer>>, Problem> {
    match caller {
        Ok(known) => Ok(IfAny(Some(show(State(shared), known).await?))),
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => Ok(IfAny(None)),
        Err(problem) => Err(problem),
    }
}

pub(crate) async fn sign_out(
    State(shared): State<Shared>,
    Known(caller): Known,
) -> Result<([(HeaderName, HeaderValue); 2], NoContent), Problem> {
    shared.app.sign_out(&caller).await?;
    let cookie = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    let headers = [
        (header::SET_COOKIE, HeaderValue::from_str(&cookie).map_err(|_| Problem::internal())?),
        (
            header::HeaderName::from_static("clear-site-data"),
            HeaderValue::from_static("\"cache\", \"storage\""),
        ),
    ];
    Ok((headers, NoContent))
}

pub(crate) async fn set_preferences(
    State(shared): State<Shared>,
    Known(mut caller): Known,
    Json(body): Json<PreferencesBody>,
) -> Result<axum::Json<SessionAnswer>, Problem> {
    let preferences = Preferences { time_zone: body.time_zone, clock: body.clock };
    shared.app.set_preferences(&caller, preferences).await?;
    if let Caller::User { user, .. } = &mut caller {
        user.preferences = preferences;
    }
    Ok(answer(&caller, expiry(&shared, &caller)?))
}

fn answer(caller: &Caller, expires_at: Option<Timestamp>) -> axum::Json<SessionAnswer> {
    let (user, preferences) = match caller {
        Caller::User { user, .. } => {
            let shown = SessionUser {
                id: user.id.to_string(),
                username: user.username.to_string(),
                role: user.role,
                tenant_id: user.tenant.map(|tenant| tenant.to_string()),
            };
            (Some(shown), user.preferences)
        }
        _ => (None, Preferences::default()),
    };
    axum::Json(SessionAnswer {
        user,
        preferences: preferences.into(),
        permissions: caller.permissions().into_iter().collect(),
        expires_at,
    })
}
