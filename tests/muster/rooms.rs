//! The rooms of the code keep to `src/ARCHITECTURE.md`: who may name whom, and which crates, as the source is parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::source::{NamedPath, SourceFile, crate_files};

/// A top-level module of `src/` with what it may name.
struct Room {
    name: &'static str,
    rooms: Rooms,
    /// Of the crates that any room lists; all others are for everybody.
    crates: &'static [&'static str],
}

enum Rooms {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

const fn room(name: &'static str, rooms: &'static [&'static str], crates: &'static [&'static str]) -> Room {
    Room { name, rooms: Rooms::Only(rooms), crates }
}

const ROOMS: &[Room] = &[
    room("domain", &[], &[]),
    room("clock", &[], &[]),
    room("durable", &[], &[]),
    room("error_chain", &[], &[]),
    room("process", &[], &[]),
    room("request_id", &[], &[]),
    room("shell", &[], &[]),
    room("secret_file", &["shell"], &[]),
    room("pem", &[], &[]),
    room("svid", &["domain"], &["x509_parser"]),
    // Of rustls only the container of a key that is handed to it.
    room(
        "ca",
        &["domain", "durable", "secret_file", "pem", "svid"],
        &["rcgen", "x509_parser", "age", "rustls"],
    ),
    room("store", &["domain", "clock", "durable", "error_chain", "request_id"], &["redb"]),
    room(
        "tls",
        &["domain", "clock", "secret_file", "shell", "pem", "svid"],
        &["rustls", "tokio_rustls", "rustls_native_certs", "x509_parser", "hyper"],
    ),
    // Of rustls only the types that it shares with webpki.
    room("vouch", &["domain", "pem", "svid"], &["webpki", "x509_parser", "rustls"]),
    room(
        "replica",
        &["domain", "ca", "store", "tls", "clock", "durable", "error_chain", "secret_file"],
        &["object_store", "reqwest"],
    ),
    room("webhook", &["domain", "tls"], &["rustls", "tokio_rustls", "hyper"]),
    room(
        "app",
        &["domain", "ca", "store", "replica", "clock", "pem", "vouch", "error_chain", "request_id"],
        &[],
    ),
    room("api", &["domain"], &[]),
    room(
        "http",
        &[
            "api",
            "app",
            "domain",
            "tls",
            "pem",
            "clock",
            "error_chain",
            "vouch",
            "process",
            "request_id",
            "webhook",
        ],
        &["axum", "tower_http", "hyper"],
    ),
    room(
        "grpc",
        &["app", "domain", "tls", "clock", "request_id"],
        &["tonic", "tonic_prost", "prost", "hyper"],
    ),
    room("config", &["domain"], &[]),
    room("telemetry", &["config", "request_id"], &[]),
    Room { name: "server", rooms: Rooms::AllBut(&["cli", "agent"]), crates: &[] },
    // The agent makes its own key and its own request, and checks what a server answers before installing it.
    room(
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
            "process",
            "vouch",
        ],
        &[
            "rustls",
            "tokio_rustls",
            "webpki",
            "rcgen",
            "x509_parser",
            "prost",
            "tonic",
            "hyper",
            "axum",
            "p12_keystore",
        ],
    ),
    Room { name: "fuzzing", rooms: Rooms::AllBut(&[]), crates: &[] },
    // The command line calls the router in process, so it knows what the router is made of.
    Room { name: "cli", rooms: Rooms::AllBut(&[]), crates: &["axum", "clap", "reqwest", "hyper"] },
];

#[test]
fn rooms_name_only_the_rooms_below_them() {
    let files = crate_files();
    let trespasses: Vec<_> = files.iter().flat_map(rooms_named_wrongly).collect();
    assert!(trespasses.is_empty(), "{trespasses:#?}");
    let seen: BTreeSet<_> = files.iter().filter_map(SourceFile::room).collect();
    let listed: BTreeSet<_> = ROOMS.iter().map(|room| room.name).collect();
    assert_eq!(seen, listed, "the table and the folders under src are the same");
}

#[test]
fn crates_are_named_only_in_their_rooms() {
    let files = crate_files();
    let trespasses: Vec<_> = files.iter().flat_map(crates_named_wrongly).collect();
    assert!(trespasses.is_empty(), "{trespasses:#?}");
    let named: BTreeSet<_> = files
        .iter()
        .filter_map(|file| Some((file.room()?.to_owned(), file)))
        .flat_map(|(room, file)| crates_named(file).into_iter().map(move |(_, name)| (room.clone(), name)))
        .collect();
    for room in ROOMS {
        for name in room.crates {
            let used = named.contains(&(room.name.to_owned(), (*name).to_owned()));
            assert!(used, "{} no longer names {name}: take it out of the table", room.name);
        }
    }
}

#[test]
fn the_architecture_shows_this_table() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ARCHITECTURE.md")).unwrap();
    let mut shown = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [rooms, _, may_name, crates] = cells[..] else { continue };
        for room in quoted(rooms) {
            shown.insert(room, (may_name.to_owned(), quoted(crates)));
        }
    }
    for room in ROOMS {
        let (may_name, crates) =
            shown.remove(room.name).unwrap_or_else(|| panic!("no row for {}", room.name));
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(crates, names(room.crates), "crates of {}", room.name);
        match room.rooms {
            Rooms::Only(rooms) => assert_eq!(quoted(&may_name), names(rooms), "rooms of {}", room.name),
            Rooms::AllBut(rooms) => {
                assert!(may_name.starts_with("everything"), "{}: {may_name}", room.name);
                assert_eq!(quoted(&may_name), names(rooms), "rooms of {}", room.name);
            }
        }
    }
    assert!(shown.is_empty(), "rows for rooms that are not there: {shown:?}");
}

/// What stands between backquotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Rooms that the file names and may not, by line.
fn rooms_named_wrongly(file: &SourceFile) -> BTreeSet<String> {
    let Some(room) = file.room() else { return BTreeSet::new() };
    let mut wrong = BTreeSet::new();
    for named in &file.named {
        let NamedPath::Ours(path) = &named.path else { continue };
        let (name, line) = (&file.name, named.line);
        match path.first().map(String::as_str) {
            None | Some("*") => {
                wrong.insert(format!("{name}:{line} takes the whole crate by another name"));
            }
            Some(other) if other != room && !may_name(room, other) => {
                wrong.insert(format!("{name}:{line} names {other}"));
            }
            Some(_) => {}
        }
    }
    wrong
}

fn may_name(room: &str, other: &str) -> bool {
    ROOMS.iter().find(|entry| entry.name == room).is_some_and(|entry| match entry.rooms {
        Rooms::Only(rooms) => rooms.contains(&other),
        Rooms::AllBut(rooms) => !rooms.contains(&other),
    })
}

/// Crates that the file names and may not, by line. What is compiled for tests alone may name any.
fn crates_named_wrongly(file: &SourceFile) -> BTreeSet<String> {
    let Some(room) = file.room() else { return BTreeSet::new() };
    let of_room = ROOMS.iter().find(|entry| entry.name == room).map_or(&[][..], |entry| entry.crates);
    crates_named(file)
        .into_iter()
        .filter(|(_, name)| !of_room.contains(&name.as_str()))
        .map(|(line, name)| format!("{}:{line} names the crate {name}", file.name))
        .collect()
}

/// Of the crates that the table knows.
fn crates_named(file: &SourceFile) -> Vec<(usize, String)> {
    if file.test_only {
        return Vec::new();
    }
    let known = |name: &str| ROOMS.iter().any(|room| room.crates.contains(&name));
    file.named
        .iter()
        .filter_map(|named| match &named.path {
            NamedPath::Other(path) => Some((named.line, path.first()?.clone())),
            NamedPath::Ours(_) => None,
        })
        .filter(|(_, name)| known(name))
        .collect()
}

/// Checks what rooms and crates a text names wrongly that stands in `src/` under this name.
#[track_caller]
fn check(name: &str, text: &str, wrong: &[&str]) {
    let file = SourceFile::parse(name, text);
    let mut found = rooms_named_wrongly(&file);
    found.extend(crates_named_wrongly(&file));
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), wrong, "{text}");
}

#[test]
fn grouped_and_relative_imports_are_seen() {
    let grouped = "use crate::{http::wire::X, cli::Y};";
    check(
        "app/issue/enroll.rs",
        grouped,
        &["app/issue/enroll.rs:1 names cli", "app/issue/enroll.rs:1 names http"],
    );
    check("cli/control.rs", grouped, &[]);
    check("app/issue/enroll.rs", "use crate::{domain::{ids::A, code}, store};\nuse super::tokens;", &[]);
    check("app/issue/enroll.rs", "use super::super::super::http;", &["app/issue/enroll.rs:1 names http"]);
    check("app/mod.rs", "use self::super::{store::View, http as web};", &["app/mod.rs:1 names http"]);
    check("app/state.rs", "use super::super::*;", &["app/state.rs:1 takes the whole crate by another name"]);
    check("app/state.rs", "use crate as all;", &["app/state.rs:1 takes the whole crate by another name"]);
    check(
        "store/view.rs",
        "mod inner { use super::super::record; use super::super::super::app; }",
        &["store/view.rs:1 names app"],
    );
}

#[test]
fn full_paths_are_seen_wherever_they_stand() {
    let in_app = |code: &str| check("app/state.rs", code, &["app/state.rs:2 names http"]);
    in_app("fn f() {\n crate::http::wire::shown() }");
    in_app("fn f(\n shape: Vec<crate::http::Shape>) {}");
    in_app("fn f(x: X) { match x {\n crate::http::Kind::A => {} } }");
    in_app("impl\n crate::http::Describe for X {}");
    in_app("\n#[serde(with = \"crate::http::words\")] struct S;");
    in_app("\n#[derive(crate::http::Describe)] struct S;");
    in_app("fn f() {\n info!(kind = crate::http::kind(), \"said\") }");
    in_app("made! { it\n use crate::{domain::A, http::{B, C}}; }");
    in_app("pub(in crate::app) fn f() {\n super::super::http::f() }");
    check(
        "app/state.rs",
        "// crate::http\n/// [`crate::http`]\nfn f() { g(\"crate::http\"); self.http(); }",
        &[],
    );
    check("app/state.rs", "#[cfg(test)]\nmod tests { use crate::http::X; }", &[]);
}

#[test]
fn crates_are_seen_wherever_they_stand() {
    check("app/state.rs", "use redb::{Database, ReadTransaction};", &["app/state.rs:1 names the crate redb"]);
    check("http/ui.rs", "fn f() -> ::rcgen::KeyPair { panic!() }", &["http/ui.rs:1 names the crate rcgen"]);
    check("http/ui.rs", "use {std::io, tonic as t};", &["http/ui.rs:1 names the crate tonic"]);
    check(
        "server/serve.rs",
        "fn f() { assert!(rustls::crypto::ok()); }",
        &["server/serve.rs:1 names the crate rustls"],
    );
    check("grpc/server.rs", "extern crate axum;", &["grpc/server.rs:1 names the crate axum"]);
    check("store/view.rs", "use redb::Database;\nfn f(redb: u8) -> u8 { redb }", &[]);
    check(
        "agent/run/session.rs",
        "use tonic::Status; use rcgen::KeyPair; use tokio_rustls::TlsConnector;",
        &[],
    );
    check("app/state.rs", "#[cfg(test)]\nfn key() -> rcgen::KeyPair { made() }", &[]);
}

/// What is done in one place, because the second place gets it wrong: the words of the code that do it.
const ONLY_IN: &[(&[&str], &str, &str)] = &[
    (&["PemObject"], "pem/", "PEM is read by `pem`, which drops nothing and quotes nothing"),
    (&["KeyPair", "::", "from_pem"], "pem/", "PEM is read by `pem`, which drops nothing and quotes nothing"),
    (&["\"-----BEGIN …"], "pem/", "PEM is written by `pem`"),
    (
        &["println", "!"],
        "cli/output/stdout.rs",
        "print with `cli::output`, which knows what may be cut off and what is a secret",
    ),
    (
        &["stdout", "(", ")"],
        "cli/output/stdout.rs",
        "print with `cli::output`, which knows what may be cut off and what is a secret",
    ),
    (&["sd_notify", "::"], "process/", "`process::notify` is the one way to the service manager"),
    (&["process", "::", "umask"], "process/", "`process` sets up the process"),
    (&["replace", "(", r"'\''"], "shell.rs", "`shell::quoted` quotes what is printed to be pasted"),
];

#[test]
fn what_is_done_in_one_place_is_done_nowhere_else() {
    let trespasses: Vec<_> = crate_files().iter().flat_map(done_elsewhere).collect();
    assert!(trespasses.is_empty(), "{trespasses:#?}");
}

fn done_elsewhere(file: &SourceFile) -> Vec<String> {
    if file.test_only {
        return Vec::new();
    }

    let same = |token: &str, word: &str| match word.strip_suffix('…') {
        Some(beginning) => token.starts_with(beginning),
        None => token == word,
    };
    let mut found = Vec::new();
    for (words, place, why) in ONLY_IN {
        for at in file.tokens.windows(words.len()) {
            if !file.name.starts_with(place)
                && at.iter().zip(*words).all(|((_, token), word)| same(token, word))
            {
                found.push(format!("{}:{} {}: {why}", file.name, at[0].0, words.concat()));
            }
        }
    }
    found
}

#[test]
fn what_is_done_elsewhere_is_seen() {
    let elsewhere = |code: &str| done_elsewhere(&SourceFile::parse("app/state.rs", code)).len();
    assert_eq!(elsewhere("fn f() { println!(\"{}\", 1); }"), 1);
    assert_eq!(elsewhere("fn f() { std::io::stdout ().lock(); }"), 1);
    assert_eq!(elsewhere("fn f() { text.replace('\\'', \"\"); }"), 1);
    assert_eq!(elsewhere("fn f() { g(\"-----BEGIN CERTIFICATE-----\"); }"), 1);
    assert_eq!(
        elsewhere(
            "/// println!()\nfn f() { eprintln!(); }\n#[cfg(test)]\nmod tests { fn f() { println!(); } }"
        ),
        0
    );
}

/// A file does one thing: its tests aside it has at most this many lines.
const LINES_MAX: usize = 500;
/// As many files stand side by side as one can look over.
const SIDE_BY_SIDE_MAX: usize = 16;
/// Longer, and about to be divided.
const LONG: &[&str] = &[];

#[test]
fn files_are_small_and_folders_can_be_looked_over() {
    let files = crate_files();
    let mut wrong = Vec::new();
    let mut folders = BTreeMap::<_, usize>::new();
    for file in files {
        let lines = file.lines;
        if lines > LINES_MAX && !LONG.contains(&file.name.as_str()) {
            wrong.push(format!("{} has {lines} lines beside its tests", file.name));
        }
        let folder = Path::new(&file.name).parent().unwrap().to_owned();
        *folders.entry(folder).or_default() += 1;
    }
    for (folder, files) in folders {
        if files > SIDE_BY_SIDE_MAX {
            wrong.push(format!("{} has {files} files side by side", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_mod_file_declares_and_names_again() {
    let wrong: Vec<_> =
        crate_files().iter().filter(|file| file.name.ends_with("mod.rs") && !file.declares_only).collect();
    let wrong: Vec<_> = wrong.iter().map(|file| &file.name).collect();
    assert!(wrong.is_empty(), "only `mod x;` and `use` stand in a mod.rs: {wrong:?}");
    let declares_only = |text: &str| SourceFile::parse("a/mod.rs", text).declares_only;
    assert!(declares_only("//! A.\n#[cfg(test)]\nmod b;\npub use b::C;"));
    assert!(!declares_only("mod b { fn f() {} }"));
    assert!(!declares_only("pub struct A;"));
}
