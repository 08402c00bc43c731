//! The OpenAPI document, made from the routes.

pub(crate) mod examples;
pub(crate) mod operation;
