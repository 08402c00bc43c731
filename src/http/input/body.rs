//! Request bodies: JSON of a known shape, bounded in size and time.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::api::encoding::strict::Object;
use crate::domain::code::Code;
use crate::domain::host::tag::{InvalidTag, TAGS_MAX, Tag};
use crate::http::Shared;
use crate::http::input::extract::client_of;
use crate::http::input::fair_slots::FairSlots;
use crate::http::openapi::describe::Input;
use crate::http::openapi::operation::Operation;
use crate::http::problem::Problem;

/// Largest request body, in bytes.
pub(crate) const BODY_MAX: usize = 64 * 1024;

/// Bodies that may be arriving at the same time, held in memory, from everybody together: 32 MiB at most.
pub(crate) type BodySlots = FairSlots<512>;

/// How long a client may take to send its body.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// A JSON body, read only after everything else about the request has been accepted.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        if !is_json(&request) {
            let detail = "Send the body as JSON, with \"Content-Type: application/json\".";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let bytes = read(request, shared).await?;
        serde_json::from_slice::<Object<T>>(&bytes)
            .map(|object| Self(object.0))
            .map_err(|error| Problem::bad_request(explain(&error)))
    }
}

impl<T: JsonSchema> Input for Json<T> {
    fn describe(operation: &mut Operation) {
        operation.body::<T>(true);
    }
}

/// A JSON body that may be left out altogether.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<Shared> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        if !request.headers().contains_key(header::CONTENT_TYPE) {
            return if read(request, shared).await?.is_empty() {
                Ok(Self(T::default()))
            } else {
                Err(Problem::bad_request("A body needs \"Content-Type: application/json\"."))
            };
        }
        Json::from_request(request, shared).await.map(|Json(value)| Self(value))
    }
}

impl<T: JsonSchema> Input for OptionalJson<T> {
    fn describe(operation: &mut Operation) {
        operation.body::<T>(false);
    }
}

fn is_json(request: &Request) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

async fn read(request: Request, shared: &Shared) -> Result<axum::body::Bytes, Problem> {
    let too_large = || {
        let detail = format!("The body is larger than {} KiB.", BODY_MAX / 1024);
        Problem::new(Code::PayloadTooLarge, detail)
    };
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > BODY_MAX as u64) {
        return Err(too_large());
    }
    let from = client_of(shared, request.extensions(), request.headers());
    let place = shared.bodies.place(from);
    let collecting = tokio::time::timeout(BODY_WITHIN, Limited::new(request.into_body(), BODY_MAX).collect());
    let collected = tokio::select! {
        biased;
        collected = collecting => collected.ok(),
        () = place.pushed_out.cancelled() => None,
    };
    match collected {
        Some(Ok(body)) => Ok(body.to_bytes()),
        Some(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Some(Err(_)) => Err(Problem::bad_request("The body could not be read to its end.")),
        None => Err(Problem::new(Code::Timeout, "The body took too long to arrive.")),
    }
}

/// A text of the body that has a form of its own.
pub(crate) fn text<T: FromStr<Err: Display>>(otherwise: Code, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::new(otherwise, error.to_string()))
}

/// The tags of a body: at most as many as a host may have.
pub(crate) fn tags(texts: &[String]) -> Result<BTreeSet<Tag>, Problem> {
    let tags: BTreeSet<Tag> =
        texts.iter().map(|tag| text(Code::InvalidTag, tag)).collect::<Result<_, _>>()?;
    match tags.len() {
        0..=TAGS_MAX => Ok(tags),
        _ => Err(Problem::new(Code::InvalidTag, InvalidTag::TooMany.to_string())),
    }
}

/// What is wrong with a body, without repeating any of it: values may be secrets.
fn explain(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => {
            let text = error.to_string();
            // serde's messages for these kinds name fields, never values.
            let named = ["missing field", "unknown field", "duplicate field", "exactly one of"];
            let message = text.split(" at line").next().unwrap_or_default();
            if named.iter().any(|kind| message.starts_with(kind)) && !message.starts_with("unknown field") {
                format!("{message} ({place}).")
            } else if message.starts_with("unknown field") {
                format!("There is a field that does not belong here ({place}).")
            } else {
                format!("A value has the wrong type ({place}).")
            }
        }
        _ => format!("The body is not valid JSON ({place})."),
    }
}
