//! Invariants of the architecture and promises of `SECURITY.md` name the tests that hold them, and those exist.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use crate::support::source::{SourceFile, crate_files, files_of};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every test by its module and name: `revoke::…` of the black-box tests, `store::rows::…` of the crate's own.
pub fn tests() -> &'static BTreeSet<String> {
    static TESTS: OnceLock<BTreeSet<String>> = OnceLock::new();
    TESTS.get_or_init(gathered)
}

fn gathered() -> BTreeSet<String> {
    let black_box = files_of(&root().join("tests/muster"));
    let named = |file: &SourceFile| file.tests.clone();
    let all = crate_files().iter().chain(&black_box).flat_map(named);
    // Where in its file a test stands says nothing.
    all.map(|path| path.into_iter().filter(|part| part != "tests").collect::<Vec<_>>().join("::")).collect()
}

/// The points of a list, each as one line.
fn points(text: &str) -> Vec<String> {
    let mut points = Vec::<String>::new();
    let mut within = false;
    for line in text.lines() {
        match line.strip_prefix("- ") {
            Some(first) => points.push(first.to_owned()),
            None if within && line.starts_with("  ") => {
                let last = points.last_mut().unwrap();
                *last = format!("{last} {}", line.trim());
            }
            None => {}
        }
        within = line.starts_with("- ") || (within && line.starts_with("  "));
    }
    points
}

/// The names in the brackets that the text ends with.
fn names_at_the_end(point: &str) -> Vec<String> {
    let Some(inner) = point.trim_end_matches(['.', ';']).strip_suffix(')') else { return Vec::new() };
    let Some((_, inner)) = inner.rsplit_once('(') else { return Vec::new() };
    let names =
        inner.split(',').map(|name| name.trim().strip_prefix('`')?.strip_suffix('`').map(str::to_owned));
    names.collect::<Option<_>>().unwrap_or_default()
}

fn check(file: &str, section: impl Fn(&str) -> bool, at_least: usize) {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let tests = tests();
    let mut found = 0;
    for part in text.split("\n## ").filter(|part| section(part.lines().next().unwrap_or_default())) {
        for point in points(part) {
            let names = names_at_the_end(&point);
            assert!(!names.is_empty(), "{file}: no test is named by: {point}");
            for name in names {
                assert!(tests.contains(&name), "{file}: there is no test {name}, named by: {point}");
            }
            found += 1;
        }
    }
    assert!(found >= at_least, "{file}: {found}");
}

#[test]
fn every_invariant_of_the_architecture_names_its_tests() {
    check("src/ARCHITECTURE.md", |title| title == "Invariants", 15);
}

#[test]
fn every_promise_about_security_names_its_tests() {
    check("SECURITY.md", |title| title.starts_with('W') && title != "What is not promised", 15);
}

#[test]
fn every_module_of_the_black_box_tests_has_its_sentence() {
    let text = std::fs::read_to_string(root().join("tests/muster/main.rs")).unwrap();
    let mut before = "";
    for line in text.lines() {
        if line.starts_with("mod ") {
            assert!(before.starts_with("/// ") && before.ends_with('.'), "no sentence for {line}");
        }
        before = line;
    }
}
