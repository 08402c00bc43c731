//! The signature is the description: what a handler takes and what it answers say how its route stands in the document,
//! so neither can be told apart from the other.

use std::future::Future;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use schemars::JsonSchema;

use crate::http::Shared;
use crate::http::openapi::operation::Operation;
use crate::http::problem::Problem;

/// What a handler takes. Whatever does not show in the document describes nothing.
pub(crate) trait Input {
    fn describe(_: &mut Operation) {}
}

/// What a handler answers.
pub(crate) trait DescribedAnswer {
    fn describe(operation: &mut Operation);
}

/// A handler whose every input and answer can be described.
#[diagnostic::on_unimplemented(
    message = "one of this handler's inputs, or its answer, does not describe itself",
    label = "a handler with an input that is no `Input`, or an answer that is no `DescribedAnswer`",
    note = "of `Params`, `axum::Json` and the like, `T` has to derive `JsonSchema`",
    note = "an input or an answer of a new kind implements `Input` or `DescribedAnswer` of `http::openapi::describe`",
    note = "a handler has at most five inputs"
)]
pub(crate) trait Described<Inputs> {
    fn describe(operation: &mut Operation);
}

macro_rules! described {
    ($($input:ident)*) => {
        impl<H, F, A, $($input),*> Described<($($input,)*)> for H
        where
            H: Fn($($input),*) -> F,
            F: Future<Output = A>,
            A: DescribedAnswer,
            $($input: Input,)*
        {
            fn describe(operation: &mut Operation) {
                $($input::describe(operation);)*
                A::describe(operation);
            }
        }
    };
}

described!();
described!(A1);
described!(A1 A2);
described!(A1 A2 A3);
described!(A1 A2 A3 A4);
described!(A1 A2 A3 A4 A5);

impl Input for State<Shared> {}
impl Input for HeaderMap {}
impl Input for Method {}
impl<T> Input for Option<Extension<T>> {}
/// Somebody, or nobody: both are served.
impl<T: Input> Input for Result<T, Problem> {}

impl<T: JsonSchema> DescribedAnswer for axum::Json<T> {
    fn describe(operation: &mut Operation) {
        operation.answers_json::<T>(200);
    }
}

/// Refusals stand in the row of the route; see `Operation::refuses`.
impl<A: DescribedAnswer> DescribedAnswer for Result<A, Problem> {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
    }
}

/// An answer with headers of its own.
impl<H, A: DescribedAnswer> DescribedAnswer for (H, A) {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
    }
}
