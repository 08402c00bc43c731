//! `docs/use/rust.md`.

use std::path::Path;

use super::account::whole;
use super::harness::machine::Machine;
use super::harness::programs::{self, Way};
use crate::support::process::MUSTER;
use crate::support::toolchains::own_home;

/// The Cargo that has built the tests, which finds most crates built already: the versions are Muster's, and so is the place.
/// Optimising would take minutes and tell nothing.
fn is_there(Machine { stage, .. }: &Machine) {
    let given = |name: &str, usual: &str| {
        std::env::var_os(name).map_or_else(|| own_home().join(usual), std::path::PathBuf::from)
    };
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let builds = Path::new(MUSTER).parent().and_then(Path::parent).unwrap();
    let built = builds.join("debug").display().to_string();
    let script = format!(
        "cp '{}' Cargo.lock\nexec env CARGO_HOME='{}' RUSTUP_HOME='{}' CARGO_TARGET_DIR='{}' '{}' \
         --config 'profile.dev.package.\"*\".debug = false' \"$@\"",
        lock.display(),
        given("CARGO_HOME", ".cargo").display(),
        given("RUSTUP_HOME", ".rustup").display(),
        builds.display(),
        env!("CARGO"),
    );
    stage.stand_in("cargo", &script);
    stage.say("cargo build --release", "cargo build");
    // What runs stays as it is when another machine's program is built.
    for program in ["server", "client"] {
        let line = format!(" --bin {program}\n");
        let kept = format!("{line}mkdir -p target/release\ncp '{built}/{program}' target/release/\n");
        stage.say(&line, kept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_as_its_page_uses_it() {
    whole("rust", async |page| {
        programs::keep_their_promises(page, Way::Asking, &[], is_there).await;
    })
    .await;
}
