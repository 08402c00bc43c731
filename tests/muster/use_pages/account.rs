//! What was run of each page, and what was not, with the reason.

use std::path::Path;

use super::harness::page::{Block, Kind, Page, folder};
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

/// Where programs of pages ask the agent.
const SOCKET: &str = "/run/muster-agent/workload.sock";

/// The settings that a text adds to the agent's.
fn agent_settings(page: &Page) -> Vec<serde_json::Value> {
    let adds = |block: &&Block| block.kind == Kind::AddTo("/etc/muster/agent.yml".to_owned());
    page.blocks.iter().filter(adds).map(|block| yaml_serde::from_str(&block.text).unwrap()).collect()
}

#[test]
fn pages_open_the_sockets_that_they_use() {
    let opens = |page: &Page| agent_settings(page).iter().any(|all| all["workload_api"]["socket"] == SOCKET);
    assert!(opens(&Page::of_outputs()), "docs/outputs.md does not say how the socket is opened");
    let mut used = 0;
    for name in names() {
        let page = Page::open(&name);
        let uses = |what: &str| {
            let beside = |block: &&Block| block.kind != Kind::AddTo("/etc/muster/agent.yml".to_owned());
            page.blocks.iter().filter(beside).any(|block| block.text.contains(what))
        };
        if uses(SOCKET) {
            assert!(opens(&page) || page.text.contains("](../outputs.md)"), "{name}: who opens {SOCKET}?");
            used += 1;
        }
        for (socket, listen) in [
            ("/run/muster-agent/vouch.sock", "unix:/run/muster-agent/vouch.sock"),
            ("127.0.0.1:944", "127.0.0.1:944"),
        ] {
            let listens = |all: &serde_json::Value| all["relying_party"]["listen"] == listen;
            assert!(
                !uses(socket) || agent_settings(&page).iter().any(listens),
                "{name}: who opens {socket}?"
            );
        }
        for settings in agent_settings(&page) {
            let listen = settings["relying_party"]["listen"].as_str().unwrap_or("unix:");
            let port = listen.strip_prefix("127.0.0.1:").map(|port| port.parse::<u16>().unwrap());
            assert!(
                listen.starts_with("unix:") || port.is_some_and(|port| port < 1024),
                "{name}: {listen} is anybody's"
            );
            let binds = "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n";
            assert!(port.is_none() || uses(binds), "{name}: the agent may not have that port");
        }
    }
    assert!(used > 15, "{used}");
}

/// systemd refuses a dynamic user whose name is a group's, and gives up on a program that fails five times in ten seconds.
#[test]
fn units_of_pages_can_start() {
    let mut units = 0;
    for name in names() {
        for block in Page::open(&name).blocks {
            let Kind::File(place) = &block.kind else { continue };
            let Some(unit) =
                place.strip_suffix(".service").filter(|place| place.starts_with("/etc/systemd/"))
            else {
                continue;
            };
            let has = |line: &str| block.text.lines().any(|have| have == line);
            let values = |key: &str| {
                let lines = block
                    .text
                    .lines()
                    .filter_map(|line| line.split_once('='))
                    .filter(|(name, _)| *name == key);
                lines.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
            };
            let own = unit.rsplit('/').next().unwrap().to_owned();
            let user = values("User").pop().unwrap_or(own);
            assert!(
                !has("DynamicUser=yes") || !values("SupplementaryGroups").contains(&user),
                "{name}: the dynamic user {user} has a group's name"
            );
            if has("Restart=on-failure") {
                assert_eq!(values("RestartSec"), ["5"], "{name}");
                assert!(!values("After").is_empty() && values("After") == values("Wants"), "{name}");
            }
            units += 1;
        }
    }
    assert!(units > 6, "{units}");
}

/// The pages, and their index.
fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    files.map(|file| file.into_string().unwrap().trim_end_matches(".md").to_owned()).collect()
}
