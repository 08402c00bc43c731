//! What decides whether other agents are let in on this machine: the trust bundle and the denied serials, as the server
//! tells them and as they stand when it is away.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
pub(crate) mod kept;
pub(crate) mod noted;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod update;
pub(crate) mod watcher;
