//! One word, one meaning: no two public types share a name.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::source::{SourceFile, crate_files};

#[test]
fn no_two_public_types_share_a_name() {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for file in crate_files() {
        for found in &file.public_types {
            places.entry(&found.name).or_default().push(format!("{}:{}", file.name, found.line));
        }
    }
    assert!(places.len() > 500, "only {} types were found", places.len());
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn types_that_macros_declare_are_types() {
    let text = "vocabulary! { /// Doc.\n pub(crate) enum Word { A = \"a\" } }\nids!(pub struct Id, \"id\");\nmade! { struct Own; }
        macro_rules! ids { (pub struct $name:ident, $kind:expr) => { pub struct $name; } }";
    let file = SourceFile::parse("domain/words.rs", text);
    let names: Vec<_> = file.public_types.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["Word", "Id"]);
}

/// A type that is renamed must not take words with it that people read.
#[test]
fn no_text_has_the_name_of_a_type() {
    let types: BTreeSet<_> =
        crate_files().iter().flat_map(|file| &file.public_types).map(|found| found.name.as_str()).collect();
    let has_two_humps = |word: &str| word.chars().filter(char::is_ascii_uppercase).count() > 1;
    let mut found = Vec::new();
    for file in crate_files().iter().filter(|file| !file.test_only) {
        for (before, (line, text)) in file.tokens.iter().zip(file.tokens.iter().skip(2)) {
            // What serde and `Debug` are told is a name, and what stands between backticks is meant as one.
            let is_a_name = ["rename", "remote", "debug_struct", "debug_tuple"].contains(&before.1.as_str())
                || text.contains("([key])");
            let mut words =
                text.split('`').step_by(2).flat_map(|part| part.split(|c: char| !c.is_alphanumeric()));
            if text.starts_with('"')
                && !is_a_name
                && words.any(|word| has_two_humps(word) && types.contains(word))
            {
                found.push(format!("{}:{line}: {text}", file.name));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
