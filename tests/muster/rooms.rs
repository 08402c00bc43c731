//! The rooms of the code keep to `src/ARCHITECTURE.md`: who may name whom.

use std::collections::BTreeSet;
use std::path::Path;

/// Rooms that may name every room below them are bounded by what they must not name.
const ANYTHING_BUT: &[(&str, &[&str])] = &[("server", &["cli", "agent"]), ("cli", &[])];

const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &[]),
    ("durable", &[]),
    ("error_chain", &[]),
    ("process", &[]),
    ("shell", &[]),
    ("secret_file", &["shell"]),
    ("pem", &[]),
    ("svid", &["domain"]),
    ("ca", &["domain", "durable", "secret_file", "pem", "svid"]),
    ("store", &["domain", "clock", "durable"]),
    ("tls", &["domain", "clock", "secret_file", "shell", "pem", "svid"]),
    ("app", &["domain", "ca", "store", "clock", "pem"]),
    ("api", &["domain"]),
    ("http", &["api", "app", "domain", "tls", "pem", "error_chain"]),
    ("grpc", &["app", "domain", "tls", "clock"]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    (
        "agent",
        &[
            "api",
            "domain",
            "secret_file",
            "shell",
            "pem",
            "svid",
            "tls",
            "grpc",
            "clock",
            "durable",
            "error_chain",
        ],
    ),
];

#[test]
fn rooms_name_only_the_rooms_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeSet::new();
    let mut trespasses = Vec::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if room == "main" || room == "lib" {
            continue;
        }
        for named in named_rooms(&std::fs::read_to_string(&file).unwrap()) {
            if named != room && !allowed(&room, &named) {
                trespasses.push(format!("{} names {named}", inside.display()));
            }
        }
        seen.insert(room);
    }
    assert!(trespasses.is_empty(), "{trespasses:#?}");
    let listed: BTreeSet<_> =
        MAY_NAME.iter().chain(ANYTHING_BUT).map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(seen, listed, "the table and the folders under src are the same");
}

/// What is done in one place, because the second place gets it wrong.
const ONLY_IN: &[(&str, &str, &str)] = &[
    ("PemObject", "pem/", "PEM is read by `pem`, which drops nothing and quotes nothing"),
    ("KeyPair::from_pem", "pem/", "PEM is read by `pem`, which drops nothing and quotes nothing"),
    ("-----BEGIN ", "pem/", "PEM is written by `pem`"),
    ("println!", "cli/output/stdout.rs", "`cli::stdout` knows what may be cut off and what is a secret"),
    ("io::stdout()", "cli/output/stdout.rs", "`cli::stdout` knows what may be cut off and what is a secret"),
    ("sd_notify::", "process/", "`process::notify` is the one way to the service manager"),
    ("process::umask", "process/", "`process` sets up the process"),
    (r"replace('\''", "shell.rs", "`shell::quoted` quotes what is printed to be pasted"),
];

#[test]
fn what_is_done_in_one_place_is_done_nowhere_else() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut trespasses = Vec::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        // Whole files that exist for tests alone.
        if ["specimens.rs", "testing.rs", "test_server.rs"].iter().any(|name| inside.ends_with(name)) {
            continue;
        }
        let source = std::fs::read_to_string(&file).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let line = line.replace("eprintln!", "");
            for (text, place, why) in ONLY_IN {
                if line.contains(text) && !inside.starts_with(place) {
                    trespasses.push(format!("{inside}: {text}: {why}"));
                }
            }
        }
    }
    assert!(trespasses.is_empty(), "{trespasses:#?}");
}

fn allowed(room: &str, named: &str) -> bool {
    let entry = |table: &[(&str, &'static [&'static str])]| {
        table.iter().find(|(name, _)| *name == room).map(|(_, rooms)| *rooms)
    };
    match (entry(MAY_NAME), entry(ANYTHING_BUT)) {
        (Some(may), _) => may.contains(&named),
        (None, Some(but)) => !but.contains(&named),
        (None, None) => false,
    }
}

/// Rooms named as `crate::room` outside of tests.
fn named_rooms(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    code.split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>())
        .filter(|room| !room.is_empty())
        .collect()
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "generated") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
