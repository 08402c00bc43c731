//! `docs/use/python.md`.

use std::path::Path;

use super::account::whole;
use super::harness::machine::Machine;
use super::harness::programs::{self, Way};

/// A Python that has the page's library already, as `.ci/prepare` has set it up: `pip` finds nothing left to do.
fn is_there(Machine { stage, .. }: &Machine) {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin");
    assert!(installed.exists(), "{} is missing: run .ci/prepare first", installed.display());
    stage.say("python3 -m venv /opt/app/venv\n", "");
    stage.say("/opt/app/venv/bin/", format!("{}/", installed.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn python_as_its_page_uses_it() {
    whole("python", async |page| {
        programs::keep_their_promises(page, Way::Asking, &[("MUSTER_SVID_SERVER_AUTH", "true")], is_there)
            .await;
    })
    .await;
}
