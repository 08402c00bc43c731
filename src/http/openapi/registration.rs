//! A route is registered once, for the router and for the document: what the handler's signature says is described, and in
//! a debug build a refusal that the document does not name is a fault of the server.

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::domain::code::Code;
use crate::http::Shared;
use crate::http::openapi::describe::Described;
use crate::http::openapi::operation::Operation;
use crate::http::problem::Problem;

/// Routes with their descriptions.
#[derive(Debug, Default)]
pub(crate) struct Api {
    rows: Vec<(Operation, MethodRouter<Shared>)>,
}

/// An operation that has a name and no place yet.
#[derive(Debug)]
pub(crate) struct Unplaced {
    api: Api,
    id: &'static str,
    summary: &'static str,
}

impl Unplaced {
    /// Where it is, and what answers there.
    pub(crate) fn at<H, T, D>(self, method: Method, path: &'static str, handler: H) -> Api
    where
        H: Handler<T, Shared> + Described<D>,
        T: 'static,
    {
        let Self { mut api, id, summary } = self;
        let filter = MethodFilter::try_from(method.clone()).expect("routes use ordinary methods");
        let mut operation = Operation::new(method, path, id, summary);
        H::describe(&mut operation);
        operation.check();
        api.rows.push((operation, on(filter, handler)));
        api
    }
}

impl Api {
    pub(crate) const fn operation(self, id: &'static str, summary: &'static str) -> Unplaced {
        Unplaced { api: self, id, summary }
    }

    /// Why the operation before this refuses, besides what follows from its inputs.
    pub(crate) fn refuses(self, codes: &[Code]) -> Self {
        codes.iter().fold(self, |api, code| api.refuses_with(code.status(), *code))
    }

    /// The same, with another status than the code's own.
    pub(crate) fn refuses_with(mut self, status: u16, code: Code) -> Self {
        let (operation, _) = self.rows.last_mut().expect("refusals follow their operation");
        operation.refusals.push((status, code));
        self
    }

    /// The same, all of them with 403.
    pub(crate) fn forbids(self, codes: &[Code]) -> Self {
        codes.iter().fold(self, |api, code| api.refuses_with(403, *code))
    }

    pub(crate) fn into_parts(self) -> (Router<Shared>, Vec<Operation>) {
        let mut router = Router::new();
        let mut operations = Vec::new();
        for (operation, mut route) in self.rows {
            let (path, named) = (operation.path, operation.all_refusals());
            if cfg!(debug_assertions) {
                route = route.layer(from_fn(move |request: Request, next: Next| {
                    let named = named.clone();
                    async move { refused_as_documented(path, &named, next.run(request).await) }
                }));
            }
            router = router.route(path, route);
            operations.push(operation);
        }
        (router, operations)
    }
}

fn refused_as_documented(path: &str, named: &[(u16, Code)], answer: Response) -> Response {
    let status = answer.status().as_u16();
    match answer.extensions().get::<Code>() {
        Some(code) if !named.contains(&(status, *code)) => {
            let code = code.as_str();
            let detail = format!(
                "{path} answers {status} {code}, which its row in http/routes/table.rs does not name with `refuses`."
            );
            tracing::error!("{detail}");
            // The answer says it, because a test shows answers and no logs.
            Problem { detail, ..Problem::internal() }.into_response()
        }
        _ => answer,
    }
}
