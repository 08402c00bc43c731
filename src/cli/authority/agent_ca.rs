//! `muster agent-ca`

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use data_encoding::BASE64;
use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use crate::api::authority::{
    AgentCaAnswer, AgentCaBody, CaCertificateItem, IntermediateBody, RenewBody, RequestRevocationBody,
    RequestedIntermediate, RevokeIntermediateBody, RevokedIntermediateAnswer,
};
use crate::api::local::AgentCaPresence;
use crate::app::access::caller::{Caller, LocalVia};
use crate::app::keep::agent_ca::InitAgentCaError;
use crate::app::keep::reseal::{ResealError, Resealed};
use crate::ca::envelope::EnvelopeError;
use crate::ca::hierarchy::{self, IntermediateRequest, SignedIntermediate};
use crate::cli::Global;
use crate::cli::authority::custody::Custody;
use crate::cli::authority::gen_cert::envelope_for_new_keys;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made, print_table, when};
use crate::cli::output::values::{SecretOutput, print, print_json, print_whole};
use crate::cli::received::Received;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::identity::spiffe::TrustDomain;
use crate::pem::file::PrivateKey;
use crate::pem::{self, PemError};
use crate::secret_file::SecretReader;
use crate::server;
use crate::store::{self, OpenError};
use crate::tls::live::LivePeers;

/// Create, export, show, renew, revoke and reseal the CA that signs agents
///
/// It has two parts: a root, whose private key is printed once and goes offline, and an intermediate, which the
/// root signs for a year and which issues certificates to agents. The intermediate's key is sealed with the
/// envelope key. Nobody else's certificates come from this CA; the server's own is another matter ('muster
/// gen-cert').
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AgentCaCommand {
    /// Create root and intermediate, once
    ///
    /// The root's private key is printed to stdout this one time and kept nowhere. Store it offline: it is
    /// needed to renew the intermediate. Everything else this command says goes to stderr.
    Init {
        /// The SPIFFE trust domain of this deployment; it can't be changed later
        #[arg(long, value_name = "NAME", default_value = "muster")]
        trust_domain: TrustDomain,
    },
    /// Write root and intermediates (certificates only) to a file, or to stdout with '-'
    Export {
        /// The roots alone: what relying parties take as their CA
        ///
        /// An intermediate that is taken as an anchor is never checked against the root's revocation list.
        #[arg(long)]
        roots: bool,
        /// The file to write, readable by everybody; an existing one is replaced
        path: PathBuf,
    },
    /// Show the CA's certificates
    Show,
    /// Make a new intermediate with the root's key, before the old one expires
    ///
    /// The root's private key is read from stdin or --root-key. It signs in this command's own process and goes
    /// nowhere else, not even to the server. The new intermediate and its revocation list are public at once, and it
    /// issues 24 hours later, when everybody who fetches bundle and lists once a day knows it. What the old one signed
    /// stays good until it expires.
    Renew {
        /// Issue from the new intermediate at once; where one is waiting, from that one, without the root's key
        #[arg(long)]
        now: bool,
        /// A file with the root's private key, PKCS#8 or SEC 1 PEM [default: stdin]
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
    /// Revoke an intermediate whose key may be known to somebody else
    ///
    /// A new intermediate is made and issues at once, every agent in session is asked to rotate, and the root's revocation list
    /// names the old one: it is signed at once, and published when the agents in session have rotated, after 10 minutes at the
    /// latest. From then on relying parties refuse whoever has not rotated. Agents whose certificates are on record
    /// still rotate at this server, without a token.
    ///
    /// The root's private key is read from stdin or --root-key. It signs in this command's own process and goes nowhere
    /// else, not even to the server.
    RevokeIntermediate {
        /// The intermediate's serial or SHA-256 as 'muster agent-ca show' prints it, or the first 8 digits or more
        #[arg(value_name = "ID")]
        id: String,
        /// Publish the root's list first of all: agents are refused by relying parties until they have rotated; where one
        /// that names this intermediate is waiting, publish that one, without the root's key
        #[arg(long)]
        now: bool,
        /// A file with the root's private key, PKCS#8 or SEC 1 PEM [default: stdin]
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
    /// Seal the CA keys with another envelope key, while the server is stopped
    ///
    /// Makes a new key in the data directory and keeps the old one beside it as envelope.key.old: destroy it when
    /// the backups that it opens are not needed any more. Where the envelope key is kept elsewhere, give the new
    /// one as a file and point the server's settings at it afterwards.
    Reseal {
        /// An age identity file with the new key, as age-keygen writes it
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
    },
}

const EXAMPLES: &str = "Examples:
  muster agent-ca init --trust-domain example.org > root-key.pem
  muster agent-ca export /etc/ssl/muster-agents.pem
  muster agent-ca renew < root-key.pem     # before the intermediate's year is over
  muster agent-ca revoke-intermediate 3f9a02c41d77 --root-key root-key.pem";

impl AgentCaCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Init { trust_domain } => init(global, &trust_domain).await,
            Self::Export { roots, path } => export(global, roots, &path).await,
            Self::Show => show(global).await,
            Self::Renew { now, root_key } => renew(global, now, root_key.as_deref()).await,
            Self::RevokeIntermediate { id, now, root_key } => {
                revoke_intermediate(global, id, now, root_key.as_deref()).await
            }
            Self::Reseal { new_key_file } => reseal(global, new_key_file.as_deref()).await,
        }
    }
}

async fn init(global: &Global, trust_domain: &TrustDomain) -> Result<(), CliError> {
    let config = global.local_config()?;
    global.log(Some(&config))?;
    let mut output = SecretOutput::open()?;
    server::prepare_data_dir(&config.data_dir)?;
    let _custody = Custody::of(&config.data_dir);
    let app = match server::open_app(&config, &LivePeers::default()) {
        Err(server::StartError::Store(OpenError::InUse(_))) => {
            return init_on_running(global, &config, trust_domain, output).await;
        }
        opened => opened?,
    };
    if app.hierarchy()?.is_some() {
        return Err(CliError::caused(&InitAgentCaError::Exists).hint("'muster agent-ca show' shows it"));
    }
    let envelope = envelope_for_new_keys(&config, false)?;
    let caller = Caller::Local { uid: rustix::process::getuid().as_raw(), via: LocalVia::Process };
    let keep = |key: &str| hand_out(&mut output, global.json, key);
    app.init_agent_ca(&caller, trust_domain, &envelope, keep).await?;
    say_created(trust_domain);
    Ok(())
}

/// The same where a server serves without an agent CA: made here, so that the root key goes nowhere else, and handed to
/// the server as certificates and a sealed key.
async fn init_on_running(
    global: &Global,
    config: &Config,
    trust_domain: &TrustDomain,
    mut output: SecretOutput,
) -> Result<(), CliError> {
    const ROUTE: &str = "/local/agent-ca";
    let control = Control::open_local(global).await?;
    if control.call(Call::get(ROUTE)).await?.read::<AgentCaPresence>()?.exists {
        return Err(CliError::caused(&InitAgentCaError::Exists).hint("'muster agent-ca show' shows it"));
    }
    let envelope = envelope_for_new_keys(config, false)?;
    let made = hierarchy::init(trust_domain, &envelope, config.crl_url.as_ref(), SystemClock.now())?;
    hand_out(&mut output, global.json, &made.root_key_pem)
        .map_err(|error| CliError::caused(&InitAgentCaError::RootKey(error)))?;
    let base64 = |octets: &[u8]| BASE64.encode(octets);
    let intermediates = made.hierarchy.intermediates.iter().map(|intermediate| IntermediateBody {
        certificate: base64(&intermediate.certificate),
        sealed_key: base64(intermediate.sealed_key.as_deref().unwrap_or_default()),
    });
    let body = AgentCaBody {
        trust_domain: trust_domain.to_string(),
        roots: made.hierarchy.roots.iter().map(|root| base64(root)).collect(),
        root_lists: made.hierarchy.root_lists.iter().map(|list| base64(list)).collect(),
        intermediates: intermediates.collect(),
    };
    // The server reads the envelope key, so it must be the server's before the server is asked.
    drop(Custody::of(&config.data_dir));
    control.call(Call::post(ROUTE).body(&body)).await?;
    say_created(trust_domain);
    Ok(())
}

/// Prints the root key. It is handed out before the CA becomes real: a CA whose root key nobody holds is worse than
/// none.
fn hand_out(output: &mut SecretOutput, json: bool, key: &str) -> std::io::Result<()> {
    let text = if json { format!("{:#}\n", json!({ "root_key": key })) } else { key.to_owned() };
    output.print(&Zeroizing::new(text))
}

fn say_created(trust_domain: &TrustDomain) {
    eprintln!("Agent CA for trust domain '{trust_domain}' created.");
    eprintln!(
        "The root key above is kept nowhere. Store it offline; it is needed to renew the intermediate."
    );
}

async fn export(global: &Global, roots: bool, path: &Path) -> Result<(), CliError> {
    let control = Control::open(global).await?;
    let document = if roots { "/agent-ca-root.crt" } else { "/agent-ca.crt" };
    let bundle = control.bytes(Call::get(document)).await?;
    if path.as_os_str() == "-" {
        return print_whole(&bundle);
    }
    crate::durable::replace(path, crate::durable::WORLD_READABLE, &bundle)
        .map_err(|error| CliError::cannot_write(path, &error))?;
    if global.json {
        return print_json(&json!({ "path": path }));
    }
    eprintln!("Agent CA bundle: {}", path.display());
    Ok(())
}

async fn show(global: &Global) -> Result<(), CliError> {
    let answer = Control::open(global).await?.call(Call::get("/v1/agent-ca")).await?;
    if global.json {
        return print_json(&answer.raw);
    }
    let agent_ca: AgentCaAnswer = answer.read()?;
    print(&format!("Trust domain: {}\n", agent_ca.trust_domain))?;
    let columns = [
        column("ROLE", |certificate: &CaCertificateItem| &certificate.role),
        column("SUBJECT", |certificate| &certificate.subject),
        column("VALID FROM", |certificate| &certificate.not_before),
        column("VALID UNTIL", |certificate| &certificate.not_after),
        column("ISSUES FROM", |certificate| &certificate.issuing_from),
        made("STATE", |certificate| state_of(certificate).to_owned()),
        column("SHA-256", |certificate| &certificate.sha256),
    ];
    print_table(&agent_ca.certificates, &columns, "No certificates.")
}

/// What is to be said of an intermediate that does not simply issue, or has issued.
fn state_of(certificate: &CaCertificateItem) -> &'static str {
    match (certificate.revoked_at, certificate.revocation_published) {
        (Some(_), true) => "revoked",
        (Some(_), false) => "revoked, not published",
        (None, _) if certificate.issuing_from.is_some_and(|from| from > SystemClock.now()) => "waits",
        (None, _) => "",
    }
}

/// A root key is a few hundred octets.
const ROOT_KEY_MAX: u64 = 16 * 1024;

/// More roots than a change of roots has at one time.
const ROOTS_MAX: usize = 8;

async fn renew(global: &Global, now: bool, root_key: Option<&Path>) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    if now && waits(&control).await? {
        let answer = control.call(Call::post("/local/agent-ca/issue-now")).await?;
        return say_renewed(global, &answer);
    }
    let root_key = read_root_key(root_key)?;
    let root_key = hierarchy::read_root_key(&root_key)?;
    let request: RequestedIntermediate = control.call(Call::post("/local/agent-ca/request")).await?.read()?;
    let signed = sign(&request, &root_key).await?;
    drop(root_key);
    let body = RenewBody {
        certificate: pem::certificate(&signed.certificate),
        root_list: pem::encode(pem::CRL, &signed.root_list),
        sealed_key: request.sealed_key,
        now,
    };
    let answer = control.call(Call::post("/local/agent-ca/renew").body(&body)).await?;
    eprintln!("Take the root key offline again. Where the bundle was exported, export it again.");
    say_renewed(global, &answer)
}

async fn revoke_intermediate(
    global: &Global,
    id: String,
    now: bool,
    root_key: Option<&Path>,
) -> Result<(), CliError> {
    let control = Control::open_local(global).await?;
    let wanted = RequestRevocationBody { intermediate: id };
    if now && is_revoked_and_waits(&control, &wanted.intermediate).await? {
        let answer = control.call(Call::post("/local/agent-ca/publish-revocation").body(&wanted)).await?;
        return say_revoked(global, &answer);
    }
    let root_key = read_root_key(root_key)?;
    let root_key = hierarchy::read_root_key(&root_key)?;
    let request = control.call(Call::post("/local/agent-ca/request-revocation").body(&wanted)).await?;
    let request: RequestedIntermediate = request.read()?;
    let signed = sign(&request, &root_key).await?;
    drop(root_key);
    let body = RevokeIntermediateBody {
        certificate: pem::certificate(&signed.certificate),
        root_list: pem::encode(pem::CRL, &signed.root_list),
        sealed_key: request.sealed_key,
        revoked: request.revoked.unwrap_or_default(),
        now,
    };
    let answer = control.call(Call::post("/local/agent-ca/revoke-intermediate").body(&body)).await?;
    eprintln!("Take the root key offline again. Where the bundle was exported, export it again.");
    say_revoked(global, &answer)
}

/// Whether the list that names this intermediate has been signed and is not published. Whether the id is one is for the server to
/// say.
async fn is_revoked_and_waits(control: &Control, id: &str) -> Result<bool, CliError> {
    let agent_ca: AgentCaAnswer = control.call(Call::get("/v1/agent-ca")).await?.read()?;
    let digits = id.replace(':', "").to_ascii_lowercase();
    let meant = |it: &CaCertificateItem| it.serial.starts_with(&digits) || it.sha256.starts_with(&digits);
    let waits = |it: &CaCertificateItem| it.revoked_at.is_some() && !it.revocation_published;
    Ok(agent_ca.certificates.iter().any(|it| meant(it) && waits(it)))
}

fn say_revoked(global: &Global, answer: &Received) -> Result<(), CliError> {
    if global.json {
        return print_json(&answer.raw);
    }
    let answer: RevokedIntermediateAnswer = answer.read()?;
    let told = answer.publish_by.map_or_else(
        || "Relying parties are told now: they refuse its agents until these have rotated.".to_owned(),
        |by| {
            format!(
                "Relying parties are told when the agents in session have rotated, at {} at the latest.",
                when(by)
            )
        },
    );
    print(&format!(
        "Revoked intermediate, SHA-256 {}\nNew intermediate until {}, SHA-256 {}\n{told}\n",
        answer.revoked.sha256,
        when(answer.issuing.not_after),
        answer.issuing.sha256
    ))
}

/// Whether an intermediate that was made before does not issue yet.
async fn waits(control: &Control) -> Result<bool, CliError> {
    let agent_ca: AgentCaAnswer = control.call(Call::get("/v1/agent-ca")).await?.read()?;
    let newest = agent_ca.certificates.iter().rfind(|certificate| certificate.revoked_at.is_none());
    let newest = newest.and_then(|newest| newest.issuing_from);
    Ok(newest.is_some_and(|from| from > SystemClock.now()))
}

fn say_renewed(global: &Global, answer: &Received) -> Result<(), CliError> {
    if global.json {
        return print_json(&answer.raw);
    }
    let renewed: CaCertificateItem = answer.read()?;
    let (from, until) = (when(renewed.issuing_from.unwrap_or(renewed.not_before)), when(renewed.not_after));
    print(&format!("New intermediate until {until}, SHA-256 {}\nIt issues from {from} on.\n", renewed.sha256))
}

fn read_root_key(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, CliError> {
    if let Some(file) = file.filter(|file| file.as_os_str() != "-") {
        return Ok(SecretReader::named().read(file, ROOT_KEY_MAX)?);
    }
    if std::io::stdin().is_terminal() {
        eprintln!("Paste the root's private key (PEM), then press Ctrl-D:");
    }
    let mut root_key = Zeroizing::new(Vec::with_capacity(usize::try_from(ROOT_KEY_MAX).unwrap_or(0)));
    let read = std::io::stdin().lock().take(ROOT_KEY_MAX).read_to_end(&mut root_key);
    read.map_err(|error| CliError::new(format!("cannot read the root key from stdin: {error}")))?;
    Ok(root_key)
}

/// Signs what the server asks for. The root key stays in this process.
async fn sign(
    request: &RequestedIntermediate,
    root_key: &PrivateKey,
) -> Result<SignedIntermediate, CliError> {
    let unclear = || {
        CliError::new("the server's request can't be understood").hint("update both, and restart the server")
    };
    let octets = |base64: &str| BASE64.decode(base64.as_bytes()).map_err(|_| unclear());
    let request = IntermediateRequest {
        trust_domain: request.trust_domain.parse().map_err(|_| unclear())?,
        roots: pem::file::certificates(request.roots.as_bytes()).map_err(|_| unclear())?,
        root_lists: root_lists(&request.root_lists).map_err(|_| unclear())?,
        public_key: octets(&request.public_key)?,
        sealed_key: octets(&request.sealed_key)?,
        revoked: request.revoked.as_deref().map(str::parse).transpose().map_err(|_| unclear())?,
        crl_base: request.crl_url.as_deref().map(str::parse).transpose().map_err(|_| unclear())?,
    };
    // Programs tell the newer of two lists by whole seconds.
    let newest = hierarchy::newest_root_list(&request).map(Timestamp::as_second);
    while newest == Some(SystemClock.now().as_second()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(hierarchy::sign(&request, root_key, SystemClock.now())?)
}

/// A store of before 0.2.0 has none.
fn root_lists(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    if text.is_empty() { Ok(Vec::new()) } else { pem::sequence(text, pem::CRL, ROOTS_MAX) }
}

async fn reseal(global: &Global, new_key_file: Option<&std::path::Path>) -> Result<(), CliError> {
    let config = global.local_config()?;
    global.log(Some(&config))?;
    if !config.data_dir.join(store::FILE_NAME).exists() {
        return Err(CliError::new(format!("there is no store in {}", config.data_dir.display()))
            .hint("point --data-dir at the server's data directory"));
    }
    let _custody = Custody::of(&config.data_dir);
    let app = server::open_app(&config, &LivePeers::default())?;
    let caller = Caller::Local { uid: rustix::process::getuid().as_raw(), via: LocalVia::Process };
    let settings = server::envelope_settings(&config);
    let resealed = app.reseal(&caller, &settings, new_key_file).await;
    let Resealed { old_key: kept, recovery_line } = resealed.map_err(|error| match error {
        ResealError::Envelope(EnvelopeError::KeptElsewhere) => {
            CliError::caused(&error).hint("make one with age-keygen and give it with --new-key-file")
        }
        error => CliError::caused(&error),
    })?;
    if global.json {
        return print_json(&json!({ "old_key_file": kept, "recovery_line": recovery_line }));
    }
    eprintln!("The CA keys are sealed with the new envelope key.");
    match kept {
        Some(old) => {
            eprintln!("Old envelope key: {}", old.display());
            eprintln!("  It still opens earlier backups. DESTROY IT when they are not needed any more.");
        }
        None => eprintln!(
            "  Point envelope_key_file, or the unit's credential, at the new key before the next start."
        ),
    }
    if let Some(line) = recovery_line {
        eprintln!("Put this line into the files of the recovery identities, beside the one that is there:");
        eprintln!("  {line}");
    }
    Ok(())
}
