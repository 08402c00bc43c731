//! What one batch of decisions comes to for the journal: of several steps that concern the same, the last.

use std::collections::HashSet;

use crate::domain::identity::deny::Denial;
use crate::domain::withdrawal::Withdrawal;

/// What a batch comes to: of several uses of one secret, the last.
pub(crate) fn newest(withdrawals: Vec<Withdrawal>) -> Vec<Withdrawal> {
    let mut seen = HashSet::new();
    let mut net: Vec<_> = withdrawals.into_iter().rev().collect();
    net.retain(|withdrawal| match withdrawal {
        Withdrawal::SecretUses { id, .. } => seen.insert(*id),
        _ => true,
    });
    net.reverse();
    net
}

/// What a batch comes to: of several steps that concern one identity, the last.
pub(crate) fn coalesce(denials: Vec<Denial>) -> Vec<Denial> {
    let mut seen = HashSet::new();
    let mut net = Vec::with_capacity(denials.len());
    for denial in denials.into_iter().rev() {
        let settled = match &denial {
            Denial::Serial { .. } => false,
            Denial::Identity { identity, .. } | Denial::Lifted { identity, .. } => {
                !seen.insert(identity.clone())
            }
        };
        if !settled {
            net.push(denial);
        }
    }
    net.reverse();
    net
}
