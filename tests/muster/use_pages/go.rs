//! `docs/use/go.md` and `docs/use/go-plain.md`.

use super::account::whole;
use super::harness::machine::Machine;
use super::harness::programs::{self, Way, found, kept, own_home};

/// What Go hears of its surroundings: where modules come from, and who vouches for that.
const PASSED_ON: [&str; 7] =
    ["GOPROXY", "GOSUMDB", "GONOSUMDB", "GOFLAGS", "HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE"];

/// Go, with a cache of builds that stays, and the modules of whoever runs the tests.
fn is_there(Machine { stage, .. }: &Machine) {
    let go = found("go", "go").unwrap();
    let given = |name: &str| std::env::var_os(name).map(std::path::PathBuf::from);
    let builds = given("GOCACHE").unwrap_or_else(|| kept("go-build"));
    let modules = given("GOMODCACHE").unwrap_or_else(|| own_home().join("go/pkg/mod"));
    let passed = PASSED_ON.iter().filter_map(|name| Some(format!("{name}='{}'", std::env::var(name).ok()?)));
    let passed = passed.collect::<Vec<_>>().join(" ");
    let script = format!(
        "exec env {passed} GOCACHE='{}' GOMODCACHE='{}' GOTOOLCHAIN=local {} \"$@\"",
        builds.display(),
        modules.display(),
        go.display()
    );
    stage.stand_in("go", &script);
}

/// Whether there is a Go that is new enough.
fn can_run(page: &str) -> bool {
    let Some(go) = found("go", page) else { return false };
    let said = std::process::Command::new(go).arg("version").output().map(|output| output.stdout);
    let said = String::from_utf8(said.unwrap_or_default()).unwrap_or_default();
    let minor =
        said.split("go1.").nth(1).and_then(|rest| rest.split(['.', ' ', '\n', 'r']).next()?.parse().ok());
    let new_enough = minor.is_some_and(|minor: u32| minor >= 25);
    if !new_enough {
        eprintln!("docs/use/{page}.md was not run: it needs Go 1.25, and here is {said}");
    }
    new_enough
}

#[tokio::test(flavor = "multi_thread")]
async fn go_with_its_library_as_its_page_uses_it() {
    if can_run("go") {
        whole("go", async |page| programs::keep_their_promises(page, Way::Asking, &[], is_there).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn go_alone_as_its_page_uses_it() {
    if can_run("go-plain") {
        whole("go-plain", async |page| {
            programs::keep_their_promises(page, Way::ByFiles, &[], is_there).await;
        })
        .await;
    }
}
