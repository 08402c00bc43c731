//! A route is registered once, for the router and for the document: what the handler's signature says is described, and in
//! a debug build a refusal that the document does not name is a fault of the server.

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};

use crate::domain::code::Code;
use crate::http::Shared;
use crate::http::openapi::describe::Described;
use crate::http::openapi::operation::Operation;
use crate::http::problem::Problem;

/// Routes with their descriptions.
#[derive(Debug, Default)]
pub(crate) struct Api {
    router: Router<Shared>,
    operations: Vec<Operation>,
}

impl Api {
    pub(crate) fn route<H, T, D>(mut self, mut operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Shared> + Described<D>,
        T: 'static,
    {
        H::describe(&mut operation);
        operation.check();
        let filter = MethodFilter::try_from(operation.method().clone()).expect("routes use ordinary methods");
        let mut route = on(filter, handler);
        if cfg!(debug_assertions) {
            let named = operation.all_refusals();
            let path = operation.path();
            route = route.layer(from_fn(move |request: Request, next: Next| {
                let named = named.clone();
                async move { refused_as_documented(path, &named, next.run(request).await) }
            }));
        }
        self.router = self.router.route(operation.path(), route);
        self.operations.push(operation);
        self
    }

    pub(crate) fn into_parts(self) -> (Router<Shared>, Vec<Operation>) {
        (self.router, self.operations)
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
