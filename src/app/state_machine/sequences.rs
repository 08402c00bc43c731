//! Random sequences of steps, and the ones that once broke.

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

pub(crate) use crate::app::state_machine::world::{Beginning, Step, step, take_all};
use crate::domain::enroll::credential::CredentialKind;

/// Sequences that are tried unless the environment asks for more.
pub(crate) const SEQUENCES: u32 = 20;

/// The server answers a rotation, the answer is lost, and then the server is away for so long that it forgets
/// the successor's key as soon as it is back. The agent, which holds both keys, still comes back.
#[tokio::test]
pub(crate) async fn a_lost_answer_costs_no_identity_however_long_the_server_was_away() {
    let beginning = Beginning::new().await;
    let rotate = |from| Step::Rotate { from, key: 1 };
    let world = take_all(
        &beginning,
        &[
            Step::CreateSecret { max_uses: None, ttl: None },
            Step::Enroll { kind: CredentialKind::EnrollmentSecret, with: 0, key: 0 },
            rotate(0),
            Step::Away(1_000_000),
            Step::Tidy,
            rotate(1),
        ],
    )
    .await;
    assert_eq!(world.model.certificates.len(), 3, "enrolled, rotated, and rotated again from the first");
}

/// A key that was used before is refused after expiry as it is before.
#[tokio::test]
pub(crate) async fn who_comes_back_late_needs_a_new_key_too() {
    let beginning = Beginning::new().await;
    let rotate = |key| Step::Rotate { from: 0, key };
    let steps = [
        Step::CreateSecret { max_uses: None, ttl: None },
        Step::Enroll { kind: CredentialKind::EnrollmentSecret, with: 0, key: 0 },
        Step::Away(87_000),
        rotate(0),
        rotate(1),
    ];
    let world = take_all(&beginning, &steps).await;
    let keys: Vec<_> = world.model.certificates.iter().map(|certificate| certificate.key).collect();
    assert_eq!(keys, [0, 1]);
}

#[test]
pub(crate) fn the_registry_is_what_the_model_says_whatever_happens() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let beginning = runtime.block_on(Beginning::new());
    let cases = std::env::var_os("PROPTEST_CASES").map_or(SEQUENCES, |_| ProptestConfig::default().cases);
    let config =
        ProptestConfig { cases, max_shrink_iters: 1_000, ..ProptestConfig::with_source_file(file!()) };
    let mut runner = TestRunner::new(config);
    let sequences = proptest::collection::vec(step(), 1..100);
    let tried = runner.run(&sequences, |steps| {
        runtime.block_on(take_all(&beginning, &steps));
        Ok(())
    });
    match tried {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("{why}\nafter {steps:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
