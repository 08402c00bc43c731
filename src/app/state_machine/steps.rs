//! The steps of a sequence, and how they are drawn.

use jiff::SignedDuration;
use proptest::prelude::*;

use crate::domain::enroll::credential::CredentialKind;

/// Keys that machines choose from: few, so that they meet again.
pub(crate) const KEYS: usize = 6;

/// How far the clock may fall behind where it has been: well within what a chain's verification allows.
pub(crate) const BEHIND: SignedDuration = SignedDuration::from_mins(2);

/// One thing that happens. Numbers choose among what there is then, 0 being the newest.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Mint {
        named: Named,
        ttl: i64,
    },
    Void(usize),
    CreateSecret {
        max_uses: Option<i64>,
        ttl: Option<i64>,
    },
    RevokeSecret(usize),
    Enroll {
        kind: CredentialKind,
        with: usize,
        key: usize,
    },
    /// A machine comes again, with a token that names its agent.
    Return {
        host: usize,
        key: usize,
    },
    /// With a secret part that is wrong.
    Guess {
        kind: CredentialKind,
        with: usize,
    },
    /// Several at once, each with a key of its own.
    Race {
        kind: CredentialKind,
        with: usize,
        hands: usize,
    },
    Rotate {
        from: usize,
        key: usize,
    },
    Revoke(Named),
    Decommission(usize),
    ReEnable(usize),
    Delete(usize),
    Tidy,
    Wait(i64),
    /// The server is away for some seconds.
    Away(i64),
    Reopen,
    Crash,
}

/// An agent id.
#[derive(Debug, Clone)]
pub(crate) enum Named {
    Nobody,
    /// One that may be new.
    Fresh(u8),
    /// That of a host.
    Host(usize),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let some = || 0..5_usize;
    let kind = || prop_oneof![Just(CredentialKind::JoinToken), Just(CredentialKind::EnrollmentSecret)];
    let named = || {
        prop_oneof![
            2 => Just(Named::Nobody),
            2 => (0..3_u8).prop_map(Named::Fresh),
            3 => (0..5_usize).prop_map(Named::Host),
        ]
    };
    let ttl = || prop_oneof![1 => Just(60), 1 => Just(3_600), 3 => Just(86_400)];
    // Past what is told apart: a retry and a second try, an SVID expired, out of grace, forgotten.
    let seconds = proptest::sample::select(vec![1, -30, 90, 660, 4_000, 40_000, 87_000, 260_000]);
    prop_oneof![
        6 => (named(), ttl()).prop_map(|(named, ttl)| Step::Mint { named, ttl }),
        1 => some().prop_map(Step::Void),
        3 => (proptest::option::of(1..5_i64), proptest::option::of(ttl()))
            .prop_map(|(max_uses, ttl)| Step::CreateSecret { max_uses, ttl }),
        1 => some().prop_map(Step::RevokeSecret),
        12 => (kind(), some(), 0..KEYS).prop_map(|(kind, with, key)| Step::Enroll { kind, with, key }),
        6 => (some(), 0..KEYS).prop_map(|(host, key)| Step::Return { host, key }),
        1 => (kind(), some()).prop_map(|(kind, with)| Step::Guess { kind, with }),
        3 => (kind(), some(), 2..KEYS).prop_map(|(kind, with, hands)| Step::Race { kind, with, hands }),
        10 => (some(), 0..KEYS).prop_map(|(from, key)| Step::Rotate { from, key }),
        2 => named().prop_map(Step::Revoke),
        2 => some().prop_map(Step::Decommission),
        3 => some().prop_map(Step::ReEnable),
        1 => some().prop_map(Step::Delete),
        2 => Just(Step::Tidy),
        6 => seconds.prop_map(Step::Wait),
        2 => proptest::sample::select(vec![90, 87_000, 260_000]).prop_map(Step::Away),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}
