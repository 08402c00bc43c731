//! Files: what they hold and what they are called (`set`), and how a whole set of them takes the place of another one.

pub(crate) mod denied_json;
pub(crate) mod directory;
pub(crate) mod name_hash;
pub(crate) mod pkcs12;
pub(crate) mod set;
