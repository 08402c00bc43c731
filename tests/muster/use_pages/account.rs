//! What was run of each page, and what was not, with the reason.

use std::path::Path;

use super::harness::page::{Page, folder};
use crate::support::files::below;

/// Blocks that no test runs: page, a text that stands in the block, why.
const NOT_RUN: &[(&str, &str, &str)] = &[];

/// Runs a page's test and demands that it has left out no block.
pub async fn whole(name: &str, test: impl AsyncFnOnce(&Page)) {
    let page = Page::open(name);
    test(&page).await;
    for block in page.not_run() {
        let excused = |&(page, text, _): &(&str, &str, &str)| page == name && block.text.contains(text);
        assert!(NOT_RUN.iter().any(excused), "docs/use/{name}.md: nobody has run this block: {block:#?}");
    }
}

/// The index is no page, and has nothing to run.
#[test]
fn every_page_is_run_by_a_test() {
    let tests = below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/muster/use_pages"));
    let tests = tests.iter().filter(|path| path.is_file());
    let tests: String = tests.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut pages = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let name = file.strip_suffix(".md").unwrap_or_else(|| panic!("docs/use/{file} is no page"));
        let blocks = Page::open(name).blocks;
        let run = tests.contains(&format!("whole(\"{name}\""));
        assert!(run || blocks.is_empty(), "no test runs docs/use/{file}");
        pages += usize::from(run);
    }
    assert!(pages > 0);
}

#[test]
fn what_is_not_run_is_there() {
    for (page, text, reason) in NOT_RUN {
        let found = Page::open(page).blocks.iter().any(|block| block.text.contains(text));
        assert!(found, "docs/use/{page}.md has no such block any more: {text}");
        assert!(!reason.is_empty(), "{page}: {text}");
    }
}

/// The index leads to every page, and nowhere else.
#[test]
fn the_index_links_every_page() {
    let index = Page::open("README").text;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            file == "README.md" || index.contains(&format!("]({file})")),
            "README.md does not link {file}"
        );
    }
    for link in index.split("](").skip(1) {
        let target = link.split([')', '#']).next().unwrap();
        let there = target.is_empty() || target.starts_with("https://") || folder().join(target).exists();
        assert!(there, "README.md links {target}");
    }
}

/// What a reader looks for on every page with something to run.
const ROWS: [&str; 5] = [
    "Who it is",
    "What keeps tenants apart",
    "How a revocation gets in",
    "A standing connection",
    "A resumed session",
];

#[test]
fn pages_say_what_a_reader_looks_for_and_nothing_that_opens_a_door() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let page = Page::open(file.strip_suffix(".md").unwrap());
        if page.blocks.is_empty() {
            continue;
        }
        for row in ROWS {
            assert!(page.text.contains(&format!("\n| {row} |")), "{file}: the table has no row {row:?}");
        }
        page.part("After a revocation");
        for block in &page.blocks {
            assert!(
                !returns_in_a_location(&block.text),
                "{file}: it runs before auth_request: {}",
                block.text
            );
            for bundle in ["agent-ca.crt", "bundle.pem"] {
                assert!(
                    !block.text.contains(bundle),
                    "{file}: the CA file is the roots alone: {}",
                    block.text
                );
            }
        }
    }
}

/// Whether nginx would answer by itself in a location.
fn returns_in_a_location(config: &str) -> bool {
    let (mut depth, mut location) = (0, None);
    for line in config.lines().map(str::trim) {
        let enters = line.starts_with("location ");
        if location.is_some() && line.starts_with("return ") || enters && line.contains(" return ") {
            return true;
        }
        if enters && location.is_none() {
            location = Some(depth);
        }
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
        location = location.filter(|outside| depth > *outside);
    }
    false
}

#[test]
fn answers_of_a_location_are_found() {
    for (config, wrong) in [
        (
            "server {\n  if ($x) {\n    return 403;\n  }\n  location / {\n    proxy_pass http://a;\n  }\n}",
            false,
        ),
        ("server {\n  location / {\n    auth_request /m;\n    return 200;\n  }\n}", true),
        ("location / { auth_request /m; return 200; }", true),
        ("location / {\n  if ($x) {\n    return 200;\n  }\n}", true),
        ("location / { a; }\nreturn 403;", false),
    ] {
        assert_eq!(returns_in_a_location(config), wrong, "{config}");
    }
}
