//! What handlers reply with, where it is more than JSON with 200: each kind says its status and media type once, for the
//! answer and for the document.

use std::marker::PhantomData;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::openapi::describe::DescribedAnswer;
use crate::http::openapi::operation::Operation;

/// 201, and what was created.
#[derive(Debug)]
pub(crate) struct Created<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, axum::Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> DescribedAnswer for Created<T> {
    fn describe(operation: &mut Operation) {
        operation.answers_json::<T>(201);
    }
}

/// 204: it is done, and there is nothing to say.
#[derive(Debug)]
pub(crate) struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl DescribedAnswer for NoContent {
    fn describe(operation: &mut Operation) {
        operation.answers(204, "It is done", "");
    }
}

/// An answer, or 204 where there is none.
#[derive(Debug)]
pub(crate) struct IfAny<A>(pub(crate) Option<A>);

impl<A: IntoResponse> IntoResponse for IfAny<A> {
    fn into_response(self) -> Response {
        self.0.map_or_else(|| NoContent.into_response(), A::into_response)
    }
}

impl<A: DescribedAnswer> DescribedAnswer for IfAny<A> {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
        operation.answers(204, "There is none", "");
    }
}

/// What a document is.
pub(crate) trait Medium {
    fn describe(operation: &mut Operation);
}

/// A document of one medium.
#[derive(Debug)]
pub(crate) struct Media<M>(Response, PhantomData<M>);

impl<M> Media<M> {
    pub(crate) fn new(answer: impl IntoResponse) -> Self {
        Self(answer.into_response(), PhantomData)
    }
}

impl<M> IntoResponse for Media<M> {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<M: Medium> DescribedAnswer for Media<M> {
    fn describe(operation: &mut Operation) {
        M::describe(operation);
    }
}

/// A document that caches keep and ask about: 304 where they have the newest one.
#[derive(Debug)]
pub(crate) struct Cached<M>(PhantomData<M>);

impl<M: Medium> Medium for Cached<M> {
    fn describe(operation: &mut Operation) {
        M::describe(operation);
        operation.answers(304, "The client has the newest one", "");
    }
}

/// A stream of server-sent events, whose `data` has the shape of `T`.
#[derive(Debug)]
pub(crate) struct EventsOf<T>(PhantomData<T>);

impl<T: JsonSchema> Medium for EventsOf<T> {
    fn describe(operation: &mut Operation) {
        operation.streams::<T>();
    }
}

/// JSON of the shape of `T`.
#[derive(Debug)]
pub(crate) struct JsonOf<T>(PhantomData<T>);

impl<T: JsonSchema> Medium for JsonOf<T> {
    fn describe(operation: &mut Operation) {
        operation.answers_json::<T>(200);
    }
}

macro_rules! media {
    ($($(#[$doc:meta])* pub(crate) struct $name:ident = $media_type:literal, $meaning:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) struct $name;

            impl Medium for $name {
                fn describe(operation: &mut Operation) {
                    operation.answers(200, $meaning, $media_type);
                }
            }
        )*
    };
}

media! {
    pub(crate) struct Pem = "application/x-pem-file", "Certificates";
    /// RFC 5280 5.
    pub(crate) struct Crl = "application/pkix-crl", "A certificate revocation list";
    pub(crate) struct CrlPem = "application/x-pem-file", "The certificate revocation lists of all issuers";
    pub(crate) struct Program = "application/octet-stream", "The program";
    pub(crate) struct OpenMetrics = "application/openmetrics-text", "Figures";
}
