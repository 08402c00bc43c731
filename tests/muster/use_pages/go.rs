//! `docs/use/go.md` and `docs/use/go-plain.md`.

use super::account::whole;
use super::harness::machine::Machine;
use super::harness::programs::{self, Way};
use crate::support::toolchains::Go;

/// The Go that a page is to find.
fn known(go: &Go) -> impl Fn(&Machine) {
    |Machine { stage, .. }| stage.stand_in("go", &go.script())
}

#[tokio::test(flavor = "multi_thread")]
async fn go_with_its_library_as_its_page_uses_it() {
    if let Some(go) = Go::found("docs/use/go.md") {
        whole("go", async |page| programs::keep_their_promises(page, Way::Asking, &[], known(&go)).await)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn go_alone_as_its_page_uses_it() {
    if let Some(go) = Go::found("docs/use/go-plain.md") {
        whole("go-plain", async |page| {
            programs::keep_their_promises(page, Way::ByFiles, &[], known(&go)).await;
        })
        .await;
    }
}
