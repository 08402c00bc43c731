//! Words from closed sets, so that the document lists every one of them: what goes over the wire, made from what the use cases answer.

use crate::api::words::IssuedVia;
use crate::domain::enroll::enrollment::Via;

impl From<Via> for IssuedVia {
    fn from(via: Via) -> Self {
        match via {
            Via::Token { .. } => Self::Token,
            Via::Secret { .. } => Self::Secret,
            Via::Rotation { .. } => Self::Rotation,
        }
    }
}
