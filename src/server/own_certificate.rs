//! The server certificate that a server makes for itself, as `muster gen-cert` does, where it has none and nobody
//! depends on one yet.

use jiff::Timestamp;

use super::envelope_for_new_keys;
use crate::ca::envelope::EnvelopeError;
use crate::ca::server::{
    self, GeneratedServerCertificate, NewKey, NotAServerName, ServerCaError, ServerName,
};
use crate::config::Config;
use crate::domain::network::host_port::HostName;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum OwnCertificateError {
    #[error("the certificate can't be for {name}, which public_url or cert_names asks for")]
    Name { name: HostName, source: NotAServerName },
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Ca(#[from] ServerCaError),
}

/// Whether the settings leave the certificate to us.
pub fn is_ours(config: &Config) -> bool {
    let tls = config.data_dir.join("tls");
    config.tls_cert_file == tls.join("server.crt") && config.tls_key_file == tls.join("server.key")
}

/// Whether they do, and there is none.
pub fn is_missing(config: &Config) -> bool {
    is_ours(config) && !config.tls_cert_file.exists()
}

/// Makes it. Returns where the envelope key lies, if that had to be made, too.
pub fn make(
    config: &Config,
    has_agent_ca: bool,
    now: Timestamp,
) -> Result<(GeneratedServerCertificate, Option<std::path::PathBuf>), OwnCertificateError> {
    let mut names = asked_for(config)?;
    let listening = HostName::Ip(config.listen.ip());
    if !listening.is_unspecified() {
        names.push(server_name(listening)?);
    }
    names.extend(own_names());
    let (envelope, created) = envelope_for_new_keys(config, has_agent_ca, now)?;
    let made = server::generate(&config.data_dir.join("tls"), &names, &envelope, NewKey::IfNone, now)?;
    Ok((made, created))
}

/// The names that the settings want in the certificate: those of `public_url`, then `cert_names`.
pub fn asked_for(config: &Config) -> Result<Vec<ServerName>, OwnCertificateError> {
    let urls = config.public_url.as_slice().iter().map(|url| url.address().host.clone());
    urls.chain(config.cert_names.iter().cloned()).map(server_name).collect()
}

fn server_name(name: HostName) -> Result<ServerName, OwnCertificateError> {
    let text = match &name {
        HostName::Dns(name) => name.clone(),
        HostName::Ip(address) => address.to_string(),
    };
    text.parse().map_err(|source| OwnCertificateError::Name { name, source })
}

/// This machine's own name, as far as it is a DNS name.
pub fn machine() -> Option<HostName> {
    rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase().parse().ok()
}

/// Names under which this machine may be reached.
pub fn own_names() -> Vec<ServerName> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.push(rustix::system::uname().nodename().to_string_lossy().into_owned());
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let link_local = match interface.ip() {
            std::net::IpAddr::V4(v4) => v4.is_link_local(),
            std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if !interface.is_loopback() && !link_local {
            names.push(interface.ip().to_string());
        }
    }
    let mut kept: Vec<ServerName> = Vec::new();
    // A host name that is no DNS name is left out; addresses still lead here.
    for name in names.iter().filter_map(|name| name.parse().ok()) {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}
