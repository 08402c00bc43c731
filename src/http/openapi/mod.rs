//! The OpenAPI document, made from the routes.

pub(crate) mod describe;
pub(crate) mod document;
mod examples;
pub(crate) mod operation;
pub(crate) mod registration;
