//! The options by which an agent command learns where to enroll, whom to trust there, and with what.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::agent::config::{EnrollConfig, process_environment};
use crate::agent::connect::server_url::ServerUrl;
use crate::agent::enroll::credential_source::{
    CredentialPlace, CredentialSource, SecretText, read_file, read_stdin,
};
use crate::cli::output::error::CliError;
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::enroll::join_link::{JoinLink, NotAJoinLink};
use crate::domain::network::pin::Pin;
use crate::tls::server_verifier::Trust;

#[derive(Debug, Args)]
pub(crate) struct ContactArgs {
    /// A join link, which holds server, pin and credential; '-' reads it from standard input
    #[arg(value_name = "JOIN-LINK", conflicts_with_all = ["server", "credential", "ca_pin", "ca_file"])]
    join_link: Option<SecretText>,

    /// A file with a join link, for one that holds an enrollment secret; '-' reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["join_link", "server", "credential", "ca_pin", "ca_file"])]
    link_file: Option<PathBuf>,

    /// The server's HTTPS address, https://HOST:PORT
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// A file with a join token; '-' reads standard input
    #[arg(long, value_name = "FILE", group = "credential")]
    token_file: Option<PathBuf>,

    /// A file with an enrollment secret; '-' reads standard input
    #[arg(long, value_name = "FILE", group = "credential")]
    secret_file: Option<PathBuf>,

    /// A join token. Other users of this machine may see it while the command runs, so use it for single-use tokens only
    #[arg(long, value_name = "TOKEN", group = "credential")]
    token: Option<SecretText>,

    /// The SHA-256 of the server's certificate or of its CA's, in hex
    #[arg(long, value_name = "HEX", conflicts_with = "ca_file")]
    ca_pin: Option<Pin>,

    /// PEM certificates of the CA that vouches for the server
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Where to enroll, whom to trust there, and with what.
pub(crate) struct Plan {
    pub server: ServerUrl,
    pub trust: Trust,
    pub credential: Option<Credential>,
}

pub(crate) fn no_credential() -> CliError {
    CliError::usage("there is no join token and no enrollment secret to enroll with")
        .hint("give --token-file FILE, --secret-file FILE or a join link; '-' reads standard input")
}

impl ContactArgs {
    /// From the options, else the environment.
    pub(crate) fn plan(self) -> Result<Plan, CliError> {
        if let Some(link) = self.join_link {
            return plan_of_link(&link);
        }
        if let Some(file) = self.link_file {
            let text = if file == Path::new("-") { read_stdin() } else { read_file(&file, "join link") };
            return plan_of_link(&text?);
        }
        let env = EnrollConfig::from_environment(&process_environment)?;
        let server = match self.server {
            Some(text) => text.parse().map_err(|error| {
                CliError::new(format!("--server: {error}")).hint("write it as https://HOST:PORT")
            })?,
            None => env.server.ok_or_else(|| {
                CliError::usage("it is not known where to enroll")
                    .hint("give --server https://HOST:PORT, or a join link")
            })?,
        };
        let trust = match (self.ca_pin, self.ca_file, env.pin) {
            (Some(pin), _, _) | (None, None, Some(pin)) => Trust::Pin(pin),
            (None, Some(file), _) => Trust::CaFile(file),
            (None, None, None) => Trust::SystemRoots,
        };
        let source = given(self.token_file, self.secret_file, self.token).or(env.credential);
        let credential = source.map(|source| source.read()).transpose().map_err(|error| {
            CliError::caused(&error).hint("copy the token or secret again, whole, from where it was created")
        })?;
        Ok(Plan { server, trust, credential })
    }
}

fn plan_of_link(link: &SecretText) -> Result<Plan, CliError> {
    let from_stdin = if link.reveal() == "-" { Some(read_stdin()?) } else { None };
    let text = from_stdin.as_ref().unwrap_or(link);
    let link: JoinLink = text.reveal().parse().map_err(|error: NotAJoinLink| {
        CliError::new(error.to_string())
            .hint("copy the whole link again and put it between single quotes: muster://HOST:PORT/?pin=…#…")
    })?;
    let trust = link.pin.map_or(Trust::SystemRoots, Trust::Pin);
    Ok(Plan { server: link.server.into(), trust, credential: Some(link.credential) })
}

fn given(
    token_file: Option<PathBuf>,
    secret_file: Option<PathBuf>,
    token: Option<SecretText>,
) -> Option<CredentialSource> {
    let (kind, place) = match (token_file, secret_file, token) {
        (Some(path), _, _) => (CredentialKind::JoinToken, CredentialPlace::named(path)),
        (_, Some(path), _) => (CredentialKind::EnrollmentSecret, CredentialPlace::named(path)),
        (_, _, Some(text)) => (CredentialKind::JoinToken, CredentialPlace::Given(text)),
        (None, None, None) => return None,
    };
    Some(CredentialSource { kind, place })
}
