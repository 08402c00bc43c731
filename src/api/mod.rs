//! What goes over the wire: the shapes of requests and answers, and nothing else. `http` fills them, the command line and
//! the agent read them, so a field that is renamed here fails the build of all three. Times are RFC 3339 in UTC.

#![warn(missing_docs)]

pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod credentials;
pub mod encoding;
pub(crate) mod enroll;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod hosts;
pub(crate) mod local;
pub(crate) mod overview;
pub(crate) mod page;
pub(crate) mod people;
pub(crate) mod problem;
pub(crate) mod vouch;
pub(crate) mod webhooks;
pub(crate) mod words;
