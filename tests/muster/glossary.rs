//! `docs/GLOSSARY.md` has a line for every word of the product and every public type of `domain`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::source::crate_files;

/// The words that users see and the code is built from.
const WORDS: &[&str] = &[
    "trust domain",
    "tenant",
    "host",
    "agent id",
    "enrollment",
    "join token",
    "enrollment secret",
    "join link",
    "relying party",
    "trust update",
    "restore epoch",
    "term",
    "replica",
    "tag",
    "SVID",
    "agent CA",
    "envelope",
    "server certificate",
    "pin",
    "deny list",
];

/// The cells of each row of a table.
fn rows() -> Vec<Vec<String>> {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/GLOSSARY.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn every_word_has_one_line() {
    let rows = rows();
    for word in WORDS {
        let found = rows.iter().filter(|row| row[0] == *word).count();
        assert_eq!(found, 1, "lines for {word}");
    }
    for row in rows {
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

#[test]
fn every_public_type_of_domain_has_one_line() {
    let mut lines = BTreeMap::<String, usize>::new();
    for row in rows() {
        // The types stand in the last column, and those of refusals in the first.
        let types = if row.len() == 2 { &row[0] } else { row.last().unwrap() };
        for name in types.split('`').skip(1).step_by(2) {
            *lines.entry(name.to_owned()).or_default() += 1;
        }
    }
    lines.retain(|name, _| name != "domain");
    let types = crate_files().iter().filter(|file| file.room() == Some("domain"));
    for found in types.flat_map(|file| &file.public_types) {
        let count = lines.remove(&found.name).unwrap_or_default();
        assert_eq!(count, 1, "lines for {} of {}", found.name, found.module.join("::"));
    }
    assert!(lines.is_empty(), "types that are not in domain any more: {:?}", lines.keys());
}
