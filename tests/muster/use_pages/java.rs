//! `docs/use/java.md` and `docs/use/java-plain.md`.

use super::account::whole;
use super::harness::machine::Machine;
use super::harness::programs::{self, Way};
use crate::support::toolchains::{found, has_java};

/// A JDK, wherever it is. Maven keeps what it has fetched in the home of whoever runs the tests.
fn is_there(Machine { stage, .. }: &Machine) {
    stage.say("/usr/bin/java", found("java", "docs/use/java.md").unwrap().to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn java_with_its_library_as_its_page_uses_it() {
    if has_java("docs/use/java.md", &["java", "mvn"]) {
        whole("java", async |page| {
            programs::keep_their_promises(page, Way::Asking, &[], is_there).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn java_alone_as_its_page_uses_it() {
    if has_java("docs/use/java-plain.md", &["java"]) {
        whole("java-plain", async |page| {
            programs::keep_their_promises(page, Way::ByFiles, &[], is_there).await;
        })
        .await;
    }
}
