//! What a request brings: who asks, the body, the query; bounded and read strictly.

pub(crate) mod body;
pub(crate) mod drain;
pub(crate) mod extract;
pub(crate) mod fair_slots;
pub(crate) mod page;
pub(crate) mod throttle;
