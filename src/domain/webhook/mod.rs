//! Webhooks: who is told of what, where, and by which rules an address may be dialled.

pub mod event;
pub mod receiver;
pub mod row;
