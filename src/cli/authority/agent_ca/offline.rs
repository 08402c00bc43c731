//! A root that is kept offline: the request that goes there, what is signed there, and what is taken over of it

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::authority::{InstallSignedBody, InstalledAnswer, RootRequestAnswer, RootRequestBody};
use crate::ca::root::change;
use crate::ca::root::errand::{self, Errand, SigningPlan};
use crate::cli::Global;
use crate::cli::authority::agent_ca::change::say_next;
use crate::cli::authority::agent_ca::renew::{past_the_second_of, print_renewed, print_revoked};
use crate::cli::authority::agent_ca::root_key::Encryption;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::when;
use crate::cli::output::values::{print, print_json, print_whole};
use crate::clock::{Clock, SystemClock};
use crate::domain::identity::hierarchy::RootTask;
use crate::durable::{self, OWNER_ONLY, WORLD_READABLE};
use crate::pem::file::PrivateKey;
use crate::{ca, pem};

/// More than any of these files has.
const FILE_MAX: u64 = 64 * 1024;
/// How far the clocks of the two machines may be apart.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);

/// Where a request goes.
#[derive(Debug, Args)]
pub(crate) struct RequestFile {
    /// Write a request for a root key that is kept offline, to a file or with '-' to stdout, and sign nothing here
    ///
    /// Carry it to the machine that holds the key, sign it there ('muster agent-ca sign'), and take the answer over here
    /// ('muster agent-ca renew --install'). Nothing in it is secret.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
}

impl RequestFile {
    /// Where it goes, if it does. What is about a root key does not belong beside it: that key is elsewhere.
    pub(super) fn without(self, about_a_key: bool) -> Result<Option<PathBuf>, CliError> {
        if self.request.is_some() && about_a_key {
            return Err(CliError::usage("--request signs nothing, so it takes no root key and makes none")
                .hint("give the root key to 'muster agent-ca sign', where it is kept; --encrypt goes there, too"));
        }
        Ok(self.request)
    }
}

/// With what a request is signed.
#[derive(Debug, Args)]
pub(crate) struct Signing {
    /// The file with the root's private key: PKCS#8 or SEC 1 PEM, or an age file under a passphrase
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
    #[command(flatten)]
    encryption: Encryption,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

fn read_file(path: &Path) -> Result<String, CliError> {
    let failed = |error| CliError::new(format!("cannot read {}: {error}", path.display()));
    let mut content = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(FILE_MAX).read_to_end(&mut content)
    } else {
        std::fs::File::open(path).map_err(failed)?.take(FILE_MAX).read_to_end(&mut content)
    };
    read.map_err(failed)?;
    // What is no text is none of ours, and is said to be none.
    Ok(String::from_utf8_lossy(&content).into_owned())
}

pub(super) async fn request(
    global: &Global,
    task: &str,
    intermediate: Option<String>,
    now: bool,
    file: &Path,
) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    let body = RootRequestBody { task: task.to_owned(), intermediate, now };
    let answer = control.call(Call::post("/local/agent-ca/root/request").body(&body)).await?;
    let RootRequestAnswer { request, new_key } = answer.read()?;
    let to_stdout = file.as_os_str() == "-";
    if !to_stdout {
        durable::replace(file, WORLD_READABLE, request.as_bytes())
            .map_err(|error| CliError::cannot_write(file, &error))?;
    }
    match (global.json, to_stdout) {
        (true, true) => return print_json(&json!({ "request": request, "new_key": new_key })),
        (true, false) => return print_json(&json!({ "request_file": file, "new_key": new_key })),
        (false, true) => print_whole(request.as_bytes())?,
        (false, false) => {}
    }
    eprintln!(
        "Request for the key with the SHA-256 {new_key}. It is the one that is open; an earlier one counts no more."
    );
    eprintln!("Next, where the root key is: muster agent-ca sign REQUEST --root-key KEY > SIGNED");
    eprintln!("  then here: muster agent-ca renew --install SIGNED");
    Ok(())
}

pub(super) async fn install(global: &Global, signed: &Path, now: bool) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    let body = InstallSignedBody { signed: read_file(signed)?, now };
    let answer = control.call(Call::post("/local/agent-ca/root/install").body(&body)).await?;
    if global.json {
        return print_json(&answer.raw);
    }
    let InstalledAnswer { renewed, revoked, prepared } = answer.read()?;
    if let Some(renewed) = renewed {
        print_renewed(&renewed)?;
    }
    if let Some(revoked) = revoked {
        print_revoked(&revoked)?;
    }
    if let Some(prepared) = prepared {
        print(&format!("New root prepared, SHA-256 {}\n", prepared.root.sha256))?;
        say_next();
    }
    eprintln!("Where the bundle was exported, export it again.");
    Ok(())
}

/// Where the root's list of before is kept.
fn kept_list(root_key: &Path) -> PathBuf {
    let mut name = root_key.as_os_str().to_owned();
    name.push(".crl");
    PathBuf::from(name)
}

/// The list beside the key, DER. None where nothing was signed with it before.
fn read_kept(path: &Path) -> Result<Option<Vec<u8>>, CliError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text = read_file(path)?;
    let list = pem::single(&text, &[pem::CRL]).map_err(|error| {
        CliError::new(format!("{} is not the root's revocation list: {error}", path.display()))
            .hint("bring it back from a copy; without it nobody would notice what a request forgets")
    })?;
    Ok(Some(list))
}

/// The key, and its text where it is a new one that must be kept before anything is signed with it.
fn key_for(errand: &Errand, signing: &Signing) -> Result<(PrivateKey, Option<String>), CliError> {
    let Signing { root_key, encryption, .. } = signing;
    if errand.task != RootTask::Prepare || root_key.symlink_metadata().is_ok() {
        if encryption.encrypt {
            return Err(CliError::usage("--encrypt is for a root key that is made, and this one is there")
                .hint("leave it out; to encrypt a key that is there: age -p -a KEY > KEY.age"));
        }
        return Ok((encryption.open_file(root_key)?, None));
    }
    let lock = encryption.lock()?;
    let key = change::new_key()?;
    let text = lock.close(&key)?;
    Ok((ca::hierarchy::read_root_key(key.as_bytes())?, Some(text)))
}

pub(super) async fn sign(global: &Global, request: &Path, signing: &Signing) -> Result<(), CliError> {
    let errand = Errand::read(&read_file(request)?)?;
    let now = SystemClock.now();
    if errand.made_at.duration_since(now) > CLOCKS_APART {
        return Err(CliError::new(format!(
            "the request was made at {}, and this machine's clock says {}",
            when(errand.made_at),
            when(now)
        ))
        .hint("set this machine's clock, or the server's, and begin again where that one was wrong"));
    }
    let kept_at = kept_list(&signing.root_key);
    let kept = read_kept(&kept_at)?;
    let (key, new_key) = key_for(&errand, signing)?;
    let plan = errand::plan(&errand, &key, kept.as_deref(), now)?;
    show(&errand, &plan, kept.is_some(), new_key.is_some(), now);
    if !signing.yes && !agreed()? {
        return Err(CliError::new("nothing was signed"));
    }
    past_the_second_of(&errand.request).await;
    let signed = errand::sign(&errand, &key, kept.as_deref(), SystemClock.now())?;
    drop(key);
    if let Some(text) = new_key {
        let text = zeroize::Zeroizing::new(text);
        durable::create(&signing.root_key, OWNER_ONLY, text.as_bytes())
            .map_err(|error| CliError::cannot_write(&signing.root_key, &error))?;
        eprintln!(
            "Key of the new root: {}. Keep it offline, and a copy elsewhere.",
            signing.root_key.display()
        );
    }
    // Before the answer leaves: what it revokes must not be forgotten here.
    let list = pem::encode(pem::CRL, &signed.signed.root_list);
    durable::replace(&kept_at, WORLD_READABLE, list.as_bytes())
        .map_err(|error| CliError::cannot_write(&kept_at, &error))?;
    if global.json {
        print_whole(format!("{:#}\n", json!({ "signed": signed.to_pem() })).as_bytes())?;
    } else {
        print_whole(signed.to_pem().as_bytes())?;
    }
    eprintln!("Signed. The root's list is kept in {}.", kept_at.display());
    eprintln!("Next, on the server: muster agent-ca renew --install SIGNED");
    Ok(())
}

fn show(errand: &Errand, plan: &SigningPlan, has_kept: bool, makes_key: bool, now: Timestamp) {
    let SigningPlan { trust_domain, root, new_key, entries, crl_url } = plan;
    let what = match errand.task {
        RootTask::Renew => "another intermediate".to_owned(),
        RootTask::Revoke(serial) => format!("another intermediate, and the revocation of {serial}"),
        RootTask::Prepare => "another root, and an intermediate below it".to_owned(),
    };
    eprintln!("Asked for:     {what}");
    eprintln!("Asked at:      {}   (this machine's clock: {})", when(errand.made_at), when(now));
    eprintln!("Trust domain:  {trust_domain}");
    match root {
        Some(root) => eprintln!("Root:          SHA-256 {root}"),
        None if makes_key => eprintln!("Root:          will be made, with a new key"),
        None => eprintln!("Root:          will be made, with the key that is there"),
    }
    eprintln!("New key:       SHA-256 {new_key}");
    if let Some(url) = crl_url {
        eprintln!("Lists at:      {url}");
    }
    if entries.is_empty() {
        eprintln!("Root's list:   names nobody");
    } else {
        eprintln!("Root's list:");
        for entry in entries {
            let mark = if entry.is_new { "  NEW" } else { "" };
            eprintln!("  {}  revoked {}{mark}", entry.serial, when(entry.at));
        }
    }
    if root.is_some() && !has_kept {
        eprintln!("  There is no list beside the key to compare it with; that is so the first time only.");
    }
}

fn agreed() -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("nobody can be asked: standard input is no terminal")
            .hint("look at what it will sign, above, and run it again with --yes"));
    }
    eprint!("Compare the new key with what the server has said. Sign this? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().take(16).read_line(&mut answer);
    read.map_err(|error| CliError::new(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
