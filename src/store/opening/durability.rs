//! How a write transaction reaches the disk.

use redb::WriteTransaction;

/// How a write transaction reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Two-phase commit with quick repair: opening after a crash needs no walk over the file, and an
    /// attacker who chooses content can't forge a half-written commit. What the store uses.
    QuickRepair,
    /// Only for measuring against.
    TwoPhase,
    /// Only for measuring against.
    OnePhase,
}

impl Durability {
    /// Sets a transaction up to commit this way.
    pub fn prepare(self, transaction: &mut WriteTransaction) {
        match self {
            Self::QuickRepair => transaction.set_quick_repair(true),
            Self::TwoPhase => transaction.set_two_phase_commit(true),
            Self::OnePhase => {}
        }
    }
}
