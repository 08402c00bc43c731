//! What a page protects, whatever it speaks: who comes in and who does not.

use std::time::{Duration, Instant};

use super::cast::Visitor;
use crate::support::wait::{PATIENCE, until_answered};

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The application behind the door has answered.
    LetIn,
    /// The door answered itself.
    Refused(u16),
    /// There was no answer: no connection, no handshake, or an end before the answer.
    Closed(String),
}

impl Outcome {
    pub fn is_let_in(&self) -> bool {
        *self == Self::LetIn
    }
}

/// A program that lets agents in.
pub trait Entrance {
    /// One try, on a connection of its own.
    async fn knock(&self, who: &Visitor) -> Outcome;

    /// Waits until somebody is let in, as after a start.
    async fn opens_for(&self, who: &Visitor) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = self.knock(who).await;
            if outcome.is_let_in() {
                return;
            }
            assert!(Instant::now() < deadline, "{} is never let in: {outcome:?}", who.name);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until somebody is kept out, as after a revocation.
    async fn shuts_for(&self, who: &Visitor) {
        let shut = async || (!self.knock(who).await.is_let_in()).then_some(());
        until_answered(&format!("{} is kept out", who.name), shut).await;
    }

    /// Demands that each of them is let in.
    async fn lets_in(&self, whom: &[&Visitor]) {
        for who in whom {
            let outcome = self.knock(who).await;
            assert!(outcome.is_let_in(), "{}: {outcome:?}", who.name);
        }
    }

    /// Demands that none of them is let in.
    async fn keeps_out(&self, whom: &[&Visitor]) {
        for who in whom {
            let outcome = self.knock(who).await;
            assert!(!outcome.is_let_in(), "{} was let in", who.name);
        }
    }
}

const PAUSE: Duration = Duration::from_millis(20);
