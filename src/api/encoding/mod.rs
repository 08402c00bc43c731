//! How values stand in JSON: read strictly where they are asked for, leniently where another version wrote them.

pub(crate) mod hints;
pub(crate) mod patterns;
pub(crate) mod strict;
pub(crate) mod word;
