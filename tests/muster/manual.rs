//! The manual that is in the program.

use std::path::Path;

use crate::support::cli::Cli;

fn markdown_below(folder: &Path, pages: &mut usize) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown_below(&path, pages);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            *pages += 1;
        }
    }
}

#[test]
fn every_page_is_in_the_program_and_is_found_by_what_it_is_called() {
    let room = tempfile::tempdir().unwrap();
    let docs = |words: &[&str]| Cli::new(room.path(), &[&["docs"], words].concat()).run();
    let mut pages = 0;
    markdown_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"), &mut pages);
    let listed = docs(&["--json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), pages);
    assert_eq!(listed[0]["topic"], "index");
    let list = docs(&[]).ok();
    assert_eq!(list.stdout.lines().count(), pages, "{}", list.stdout);
    assert!(docs(&["nginx"]).ok().stdout.starts_with("# nginx\n"));
    assert!(docs(&["runbooks"]).ok().stdout.starts_with("# Runbooks"));
    assert_eq!(docs(&["disk-full", "--json"]).ok().json()["topic"], "runbooks/disk-full");
    let refused = docs(&["levitation"]).failed();
    assert!(refused.stderr.contains("\nhint: muster docs lists"), "{}", refused.stderr);
}
