//! Puts the web UI into the binary: installs its packages, builds it, compresses it, and writes the list of
//! its files as Rust. The same of the manual, `docs/`.
//!
//! Everything happens in `OUT_DIR`; the source tree stays clean. Without npm the binary gets a page that says
//! how to have the UI. `MUSTER_WEB_DIST=DIR` takes a UI that was built already, `MUSTER_SKIP_WEB=1` leaves it
//! out on purpose.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use sha2::{Digest, Sha256};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the build of the UI reads. Named one by one, so that tests and installed packages do not count.
const SOURCES: &[&str] = &[
    "src",
    "public",
    "index.html",
    "package.json",
    "package-lock.json",
    "svelte.config.js",
    "tsconfig.json",
    "vite.config.ts",
];

/// The oldest Node that the UI's tools run on.
const NODE_MIN: (u32, u32) = (20, 19);

const WAYS_OUT: &str = "Install Node 20.19 or newer with npm and build again, or set MUSTER_WEB_DIST to the folder \
                        of a UI that was built elsewhere ('npm ci && npm run build' in web/ makes web/dist).";

fn main() -> Outcome<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let web = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("web");
    println!("cargo::rerun-if-env-changed=MUSTER_WEB_DIST");
    println!("cargo::rerun-if-env-changed=MUSTER_SKIP_WEB");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", web.join(source).display());
    }
    manual(&PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("docs"), &out)?;
    let dist = out.join("dist");
    match built_ui(&web, &out, &dist)? {
        Ui::At(dir) => embed(&dir, &out),
        Ui::None { why } => {
            replace_with_stub(&dist, why)?;
            embed(&dist, &out)
        }
    }
}

/// Writes the list of the manual's pages as Rust, by their paths below the folder, the index of each folder first.
fn manual(docs: &Path, out: &Path) -> Outcome<()> {
    println!("cargo::rerun-if-changed={}", docs.display());
    let mut files = Vec::new();
    collect(docs, "", &mut files)?;
    let mut pages = Vec::new();
    for (path, file) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
        let text = fs::read_to_string(file)?;
        let title = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let title = title.ok_or_else(|| format!("{path} has no title"))?.to_owned();
        let topic = path.trim_start_matches('/').trim_end_matches(".md").to_lowercase();
        let topic = match topic.strip_suffix("readme") {
            Some("") => "index".to_owned(),
            Some(folder) => folder.trim_end_matches('/').to_owned(),
            None => topic,
        };
        pages.push((topic != "index", topic.contains('/'), topic, title, file));
    }
    pages.sort();
    let mut list = String::from("&[\n");
    for (_, _, topic, title, file) in pages {
        writeln!(list, "    Page {{ topic: {topic:?}, title: {title:?}, text: include_str!({file:?}) }},")?;
    }
    list.push_str("]\n");
    Ok(fs::write(out.join("manual.rs"), list)?)
}

enum Ui {
    At(PathBuf),
    None { why: &'static str },
}

fn built_ui(web: &Path, out: &Path, dist: &Path) -> Outcome<Ui> {
    if let Some(dir) = env::var_os("MUSTER_WEB_DIST") {
        let dir = fs::canonicalize(dir)?;
        println!("cargo::rerun-if-changed={}", dir.display());
        return Ok(Ui::At(dir));
    }
    if env::var_os("MUSTER_SKIP_WEB").is_some_and(|skip| skip != "0") {
        return Ok(Ui::None { why: "It was left out of this build with MUSTER_SKIP_WEB." });
    }
    if !node_is_there() {
        println!(
            "cargo::warning=the web UI is not built, because npm or Node is missing or too old. {WAYS_OUT}"
        );
        // A file that never exists makes cargo ask again at the next build, when npm may be there.
        println!("cargo::rerun-if-changed={}", out.join("never").display());
        return Ok(Ui::None { why: "Node and npm were not at hand when this binary was built." });
    }
    let copy = out.join("web");
    for source in SOURCES {
        mirror(&web.join(source), &copy.join(source))?;
    }
    install(&copy)?;
    let vite = npm(&copy)
        .args(["exec", "--offline", "--", "vite", "build", "--emptyOutDir", "--outDir"])
        .arg(dist)
        .output()?;
    if !vite.status.success() {
        return Err(
            format!("the web UI could not be built:\n{}", String::from_utf8_lossy(&vite.stderr)).into()
        );
    }
    Ok(Ui::At(dist.to_owned()))
}

fn node_is_there() -> bool {
    let answers = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let version = answers("node").as_deref().and_then(parse_version);
    version.is_some_and(|version| version >= NODE_MIN) && answers("npm").is_some()
}

/// `v20.19.4` → `(20, 19)`
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn npm(dir: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(dir).env("npm_config_update_notifier", "false");
    npm
}

/// Installs exactly what the lock names, when it is not what is installed already.
fn install(copy: &Path) -> Outcome<()> {
    let lock = fs::read(copy.join("package-lock.json"))?;
    let installed = copy.join("installed-lock.json");
    if fs::read(&installed).is_ok_and(|before| before == lock) {
        return Ok(());
    }
    let ci = npm(copy).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).output()?;
    if !ci.status.success() {
        let said = String::from_utf8_lossy(&ci.stderr);
        let ways = "Is the npm registry within reach? MUSTER_WEB_DIST takes a UI that was built elsewhere, and \
                    MUSTER_SKIP_WEB=1 builds without one.";
        return Err(format!("the packages of the web UI could not be installed. {ways}\n{said}").into());
    }
    Ok(fs::write(installed, lock)?)
}

/// Makes `to` what `from` is; what was deleted there goes here too.
fn mirror(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        return fs::copy(from, to).map(drop);
    }
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        mirror(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn replace_with_stub(dist: &Path, why: &str) -> io::Result<()> {
    if dist.exists() {
        fs::remove_dir_all(dist)?;
    }
    fs::create_dir_all(dist)?;
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Muster</title>\n\
         <h1>Muster is running, without its web UI</h1>\n<p>{why} {WAYS_OUT}</p>\n\
         <p>Everything else works: the <code>muster</code> command can do what the web UI does.</p>\n</html>\n"
    );
    fs::write(dist.join("index.html"), page)
}

/// Writes `assets.rs`: every file with its compressed forms.
fn embed(dist: &Path, out: &Path) -> Outcome<()> {
    let packed = out.join("packed");
    if packed.exists() {
        fs::remove_dir_all(&packed)?;
    }
    fs::create_dir_all(&packed)?;
    let mut files = Vec::new();
    collect(dist, "", &mut files)?;
    files.sort();
    if !files.iter().any(|(path, _)| path == "/index.html") {
        return Err(format!("{} has no index.html. {WAYS_OUT}", dist.display()).into());
    }
    let mut list = String::from("&[\n");
    for (number, (path, file)) in files.iter().enumerate() {
        let content = fs::read(file)?;
        let tag = hex(&Sha256::digest(&content)[..16]);
        let forms = [("identity", content.clone()), ("gzip", gzip(&content)?), ("brotli", brotli(&content)?)];
        writeln!(list, "    Asset {{ path: {path:?}, tag: {tag:?},")?;
        for (form, bytes) in forms {
            let target = packed.join(format!("{number}.{form}"));
            fs::write(&target, bytes)?;
            writeln!(list, "        {form}: include_bytes!({target:?}),")?;
        }
        list.push_str("    },\n");
    }
    list.push_str("]\n");
    Ok(fs::write(out.join("assets.rs"), list)?)
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Outcome<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name =
            entry.file_name().into_string().map_err(|name| format!("{name:?} is not a name for a URL"))?;
        let path = format!("{prefix}/{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else {
            files.push((path, entry.path()));
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

fn brotli(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    let params = brotli::enc::BrotliEncoderParams { quality: 11, ..Default::default() };
    brotli::BrotliCompress(&mut &*content, &mut packed, &params)?;
    Ok(packed)
}
