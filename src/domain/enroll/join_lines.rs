//! The lines that people paste on a machine to bring it into the fleet. Each is one line for a POSIX shell, and holds
//! nothing that such a shell could take for anything but text.

use std::fmt;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::domain::enroll::join_link::JoinLink;
use crate::domain::network::host_port::{HostName, HostPort};
use crate::domain::octets::octets;
use crate::domain::text::debug_as_text;

octets! {
    /// SHA-256 of a certificate's SubjectPublicKeyInfo, as curl pins it (`--pinnedpubkey`, from 7.44).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct KeyPin([u8; 32]);
}

debug_as_text!(KeyPin);

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256//{}", BASE64.encode(&self.0))
    }
}

/// Brings the program from the server itself, which is known by its key where there is a pin.
pub fn download(server: &HostPort, key: Option<KeyPin>) -> String {
    let flags = key.map(|key| format!("-fsSk --pinnedpubkey '{key}'")).unwrap_or_else(|| "-fsS".to_owned());
    let address = format!("https://{server}/install/linux-$(uname -m)/muster");
    let address = match server.host {
        // Brackets are a pattern to a shell.
        HostName::Ip(ip) if ip.is_ipv6() => format!("\"{address}\""),
        _ => address,
    };
    format!("curl {flags} {address} -o muster && chmod +x muster")
}

/// Program, identity and service in one line.
pub fn install(link: &JoinLink, key: Option<KeyPin>) -> Zeroizing<String> {
    let link_text = link.reveal();
    Zeroizing::new(format!("{} && ./muster agent install '{}'", download(&link.server, key), *link_text))
}

/// The identity alone, for a machine that has the program.
pub fn enroll(link: &JoinLink) -> Zeroizing<String> {
    Zeroizing::new(format!("muster agent enroll '{}' --dir ./identity", *link.reveal()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::domain::enroll::credential::{Credential, CredentialKind};
    use crate::domain::ids::CredentialId;

    fn link(server: &str) -> JoinLink {
        let credential = Credential::new(
            CredentialKind::JoinToken,
            CredentialId::from_bytes([7; 10]),
            Zeroizing::new([9; 32]),
        );
        JoinLink { server: server.parse().unwrap(), pin: None, credential }
    }

    #[test]
    fn the_lines_are_as_documented() {
        let link_text = link("control.example:8443").reveal();
        let line = install(&link("control.example:8443"), Some(KeyPin::from_bytes([0; 32])));
        assert_eq!(
            *line,
            format!(
                "curl -fsSk --pinnedpubkey 'sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=' \
                 https://control.example:8443/install/linux-$(uname -m)/muster -o muster && chmod +x muster && \
                 ./muster agent install '{}'",
                *link_text
            )
        );
        let line = install(&link("control.example:8443"), None);
        assert!(line.starts_with("curl -fsS https://control.example:8443/install/"), "{}", *line);
        assert_eq!(
            *enroll(&link("a:1")),
            format!("muster agent enroll '{}' --dir ./identity", *link("a:1").reveal())
        );
    }

    #[test]
    fn a_shell_takes_them_apart_as_meant() {
        for server in ["control.example:8443", "192.0.2.1:8443", "[2001:db8::1]:8443"] {
            for line in [install(&link(server), Some(KeyPin::from_bytes([0xfb; 32]))), enroll(&link(server))]
            {
                // Each program says its arguments in place of doing something.
                let script = format!(
                    "curl() {{ printf '%s\\n' curl \"$@\"; }}; chmod() {{ :; }}; muster() {{ printf '%s\\n' \"$@\"; }}; {}",
                    line.replace("./muster", "muster")
                );
                let output = Command::new("sh").args(["-c", &script]).output().unwrap();
                let said = String::from_utf8(output.stdout).unwrap();
                let words: Vec<_> = said.lines().collect();
                assert!(words.contains(&link(server).reveal().as_str()), "{script}: {said}");
                if line.starts_with("curl") {
                    let address = format!("https://{server}/install/linux-");
                    assert!(words.iter().any(|word| word.starts_with(&address)), "{script}: {said}");
                }
            }
        }
    }
}
