//! One word, one meaning: no two public types share a name.

use std::collections::BTreeMap;

use crate::support::source::crate_files;

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
