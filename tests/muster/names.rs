//! One word, one meaning: no two public types share a name.

use std::collections::BTreeMap;

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
