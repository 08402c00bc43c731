//! What commands print: values, tables, errors, and what may be cut off.

pub mod error;
pub mod form;
pub(crate) mod stdout;
pub(crate) mod table;
pub(crate) mod values;
