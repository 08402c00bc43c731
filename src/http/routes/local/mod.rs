//! What the local operator alone reaches.

pub(crate) mod keeping;
pub(crate) mod root;
