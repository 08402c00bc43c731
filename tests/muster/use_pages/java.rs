//! `docs/use/java.md` and `docs/use/java-plain.md`.

use super::account::whole;
use super::harness::machine::Machine;
use super::harness::programs::{self, Way, found};

/// A JDK, wherever it is. Maven keeps what it has fetched in the home of whoever runs the tests.
fn is_there(Machine { stage, .. }: &Machine) {
    stage.say("/usr/bin/java", found("java", "java").unwrap().to_str().unwrap());
}

/// Whether there is all that a page needs.
fn can_run(page: &str, programs: &[&str]) -> bool {
    let Some(javac) = found("javac", page) else { return false };
    let said = std::process::Command::new(javac).arg("-version").output().map(|output| output.stdout);
    let said = String::from_utf8(said.unwrap_or_default()).unwrap_or_default();
    let version =
        said.strip_prefix("javac ").and_then(|rest| rest.split(['.', '\n', '-']).next()?.parse().ok());
    if version.is_none_or(|version: u32| version < 17) {
        eprintln!("docs/use/{page}.md was not run: it needs a JDK 17, and here is {said}");
        return false;
    }
    programs.iter().all(|program| found(program, page).is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn java_with_its_library_as_its_page_uses_it() {
    if can_run("java", &["java", "mvn"]) {
        whole("java", async |page| {
            programs::keep_their_promises(page, Way::Asking, &[], is_there).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn java_alone_as_its_page_uses_it() {
    if can_run("java-plain", &["java"]) {
        whole("java-plain", async |page| {
            programs::keep_their_promises(page, Way::ByFiles, &[], is_there).await;
        })
        .await;
    }
}
