//! `muster agent-ca`

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::Global;
use crate::cli::authority::agent_ca::{change, create, offline, renew, reseal, root_key, show};
use crate::cli::output::error::CliError;
use crate::domain::identity::spiffe::TrustDomain;

/// Create, show, renew and change the CA that signs agents
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
        #[command(flatten)]
        encryption: root_key::Encryption,
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
        #[command(flatten)]
        root_key: root_key::RootKey,
        #[command(flatten)]
        travels: offline::RequestFile,
        /// Take over what a root that is kept offline has signed: a file of 'muster agent-ca sign', or '-' for stdin
        ///
        /// Takes what comes of each --request, of renew, revoke-intermediate and prepare-root.
        #[arg(long, value_name = "SIGNED", conflicts_with_all = ["root_key", "request"])]
        install: Option<PathBuf>,
    },
    /// Sign a request where the root key is, on a machine that need not know the server
    ///
    /// Shows what it will sign and asks. The new certificate is built from this program's own profile; nothing of the request
    /// gets in but the public key and the names. Needs no data directory. The root's list is written beside the root key,
    /// as KEY.crl, and a request whose list lacks an entry of that one is refused: nothing that was revoked is forgotten. What
    /// is signed goes to stdout.
    ///
    /// For a request of 'prepare-root', --root-key names the file of the new root's key, which is made where it is not there.
    Sign {
        /// The request, as --request has written it
        request: PathBuf,
        #[command(flatten)]
        signing: offline::Signing,
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
        #[command(flatten)]
        root_key: root_key::RootKey,
        #[command(flatten)]
        travels: offline::RequestFile,
    },
    /// Make another root, the first of three steps to replace the one before
    ///
    /// The new root, its revocation list, its intermediate and that one's list are public from now on, and nothing is issued
    /// from it. Agents are asked to rotate, so that they get to know it. Its private key is printed to stdout this one time, as
    /// 'init' does. Next comes 'activate-root'.
    PrepareRoot {
        #[command(flatten)]
        encryption: root_key::Encryption,
        #[command(flatten)]
        travels: offline::RequestFile,
    },
    /// Issue from the prepared root, the second step
    ///
    /// Refuses while an agent that was seen in the last week has not reported that it knows the new root. Relying parties
    /// that fetch files are not counted: look after them before. Next comes 'retire-root'.
    ActivateRoot {
        /// Don't wait for anybody: who does not know the new root refuses what it signs
        #[arg(long)]
        force: bool,
    },
    /// Take the old root away, the last step
    ///
    /// Refuses until a certificate's lifetime, rotation_grace and 24 hours after the second step, and while a certificate
    /// below the old root is on record that has not expired. Relying parties that fetch files are not counted.
    RetireRoot {
        /// Don't wait: whoever still shows a certificate of the old root is refused
        #[arg(long)]
        force: bool,
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
  muster agent-ca init --encrypt > root-key.age
  muster agent-ca export /etc/ssl/muster-agents.pem
  muster agent-ca renew < root-key.pem     # before the intermediate's year is over
  muster agent-ca renew --request request.pem     # the same, with a root key that never comes here:
  muster agent-ca sign request.pem --root-key root-key.age > signed.pem     # on the machine that holds it
  muster agent-ca renew --install signed.pem
  muster agent-ca revoke-intermediate 3f9a02c41d77 --root-key root-key.pem";

impl AgentCaCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Init { trust_domain, encryption } => create::init(global, &trust_domain, &encryption).await,
            Self::Export { roots, path } => show::export(global, roots, &path).await,
            Self::Show => show::show(global).await,
            Self::Renew { install: Some(signed), now, .. } => offline::install(global, &signed, now).await,
            Self::Renew { now, root_key, travels, install: None } => {
                match travels.without(root_key.is_given())? {
                    Some(file) => offline::request(global, "renew", None, now, &file).await,
                    None => renew::renew(global, now, &root_key).await,
                }
            }
            Self::Sign { request, signing } => offline::sign(global, &request, &signing).await,
            Self::RevokeIntermediate { id, now, root_key, travels } => {
                match travels.without(root_key.is_given())? {
                    Some(file) => offline::request(global, "revoke_intermediate", Some(id), now, &file).await,
                    None => renew::revoke_intermediate(global, id, now, &root_key).await,
                }
            }
            Self::PrepareRoot { encryption, travels } => match travels.without(encryption.encrypt)? {
                Some(file) => offline::request(global, "prepare_root", None, false, &file).await,
                None => change::prepare(global, &encryption).await,
            },
            Self::ActivateRoot { force } => change::activate(global, force).await,
            Self::RetireRoot { force } => change::retire(global, force).await,
            Self::Reseal { new_key_file } => reseal::reseal(global, new_key_file.as_deref()).await,
        }
    }
}
