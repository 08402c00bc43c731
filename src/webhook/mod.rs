//! Sending events to receivers: to whom it was judged that they may go, signed, and without a look at what comes back.

pub mod send;
pub mod signature;
