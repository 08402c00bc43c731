//! Join links: everything a host needs to enroll, in one string to paste.
//!
//! `muster://HOST:PORT/?pin=<pin>#<token or secret>`. Read strictly: a link that is not exactly what the
//! server prints is refused with the reason, and what follows the `#` appears in no message.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::network::host_port::{HostPort, NotAHostPort};
use crate::domain::network::pin::{NotAPin, Pin};

const SCHEME: &str = "muster://";

/// A parsed join link. A bearer secret as long as its credential is good.
pub struct JoinLink {
    /// The server's HTTPS listener.
    pub server: HostPort,
    /// Without a pin the system's roots decide.
    pub pin: Option<Pin>,
    /// A join token or an enrollment secret.
    pub credential: Credential,
}

/// Why a join link was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAJoinLink {
    /// It does not begin with `muster://`.
    #[error("a join link starts with muster://")]
    Scheme,
    /// A character that no link has, as when a terminal has wrapped it.
    #[error(
        "a join link holds no white space and no control or non-ASCII characters; was it cut or wrapped?"
    )]
    Character,
    /// Nothing follows `#`.
    #[error("the join link has no credential after '#'; quote the link, or the shell drops that part")]
    NoCredential,
    /// What follows `#` is no credential.
    #[error(
        "what follows '#' in the join link is neither a join token nor an enrollment secret; was it cut?"
    )]
    Credential,
    /// Something stands before `@`.
    #[error("the join link names a user before '@', which join links never do")]
    UserInfo,
    /// The server's address is none.
    #[error("in the join link, {0}")]
    Server(#[from] NotAHostPort),
    /// Something follows the address as a path.
    #[error("after HOST:PORT a join link has '/' and no path")]
    Path,
    /// Something other than one pin follows `?`.
    #[error("the join link has something other than one 'pin' after '?'")]
    Query,
    /// The pin is none.
    #[error("in the join link, the pin is wrong: {0}")]
    Pin(#[from] NotAPin),
}

impl JoinLink {
    /// The whole link, credential and all, to hand to whoever asked for it, once.
    pub fn reveal(&self) -> Zeroizing<String> {
        let credential = self.credential.reveal();
        let pin = self.pin.map(|pin| format!("?pin={pin}")).unwrap_or_default();
        Zeroizing::new(format!("{SCHEME}{}/{pin}#{}", self.server, *credential))
    }
}

impl FromStr for JoinLink {
    type Err = NotAJoinLink;

    fn from_str(text: &str) -> Result<Self, NotAJoinLink> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(NotAJoinLink::Character);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(NotAJoinLink::Scheme)?;
        let (address, credential) = rest.split_once('#').ok_or(NotAJoinLink::NoCredential)?;
        let credential = parse_credential(credential)?;
        let (authority, query) = match address.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (address, None),
        };
        let (authority, path) = authority.split_once('/').ok_or(NotAJoinLink::Path)?;
        if authority.contains('@') {
            return Err(NotAJoinLink::UserInfo);
        }
        let server = authority.parse()?;
        if !path.is_empty() {
            return Err(NotAJoinLink::Path);
        }
        Ok(Self { server, pin: query.map(parse_pin).transpose()?, credential })
    }
}

fn parse_credential(text: &str) -> Result<Credential, NotAJoinLink> {
    if text.is_empty() {
        return Err(NotAJoinLink::NoCredential);
    }
    match Credential::claimed_kind(text) {
        Some(kind @ (CredentialKind::JoinToken | CredentialKind::EnrollmentSecret)) => {
            Credential::parse(kind, text).ok_or(NotAJoinLink::Credential)
        }
        Some(CredentialKind::ApiToken) | None => Err(NotAJoinLink::Credential),
    }
}

fn parse_pin(query: &str) -> Result<Pin, NotAJoinLink> {
    let pin = query.strip_prefix("pin=").ok_or(NotAJoinLink::Query)?;
    if pin.contains(['&', '=']) {
        return Err(NotAJoinLink::Query);
    }
    Ok(pin.parse()?)
}

impl fmt::Debug for JoinLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinLink")
            .field("server", &self.server)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::CredentialId;
    use crate::domain::testing::Dice;

    fn credential(kind: CredentialKind) -> Zeroizing<String> {
        Credential::new(kind, CredentialId::from_bytes([7; 10]), Zeroizing::new([9; 32])).reveal()
    }

    #[test]
    fn links_print_as_they_parse() {
        let token = credential(CredentialKind::JoinToken);
        let secret = credential(CredentialKind::EnrollmentSecret);
        let pin = "ab".repeat(32);
        for good in [
            format!("muster://control.example:8443/?pin={pin}#{}", *token),
            format!("muster://192.0.2.1:1/?pin={pin}#{}", *secret),
            format!("muster://[2001:db8::1]:8443/#{}", *token),
        ] {
            let link: JoinLink = good.parse().unwrap();
            assert_eq!(*link.reveal(), good);
            let shown = format!("{link:?}");
            assert!(!shown.contains(&token[22..]) && !shown.contains(&secret[22..]), "{shown}");
        }
        let link: JoinLink = format!("muster://[::1]:8443/#{}", *token).parse().unwrap();
        assert_eq!((link.server.to_string().as_str(), link.pin), ("[::1]:8443", None));
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        use NotAJoinLink as No;
        let token = credential(CredentialKind::JoinToken);
        let token = token.as_str();
        let api = credential(CredentialKind::ApiToken);
        let pin = "ab".repeat(32);
        let check = |link: String, why: NotAJoinLink| {
            assert_eq!(link.parse::<JoinLink>().map(|_| ()), Err(why), "{link:?}");
        };
        check(String::new(), No::Scheme);
        check(format!("https://h:1/?pin={pin}#{token}"), No::Scheme);
        check(format!("MUSTER://h:1/#{token}"), No::Scheme);
        check(format!("muster:h:1/#{token}"), No::Scheme);
        check(format!(" muster://h:1/#{token}"), No::Character);
        check(format!("muster://h:1/#{token}\n"), No::Character);
        check(format!("muster://h:1/\u{1b}#{token}"), No::Character);
        check(format!("muster://hö:1/#{token}"), No::Character);
        check(format!("muster://h:1/?pin={pin}"), No::NoCredential);
        check(format!("muster://h:1/?pin={pin}#"), No::NoCredential);
        check(format!("muster://h:1/#{}", *api), No::Credential);
        check(format!("muster://h:1/#{}", &token[..token.len() - 1]), No::Credential);
        check(format!("muster://h:1/#{token}#{token}"), No::Credential);
        check(format!("muster://user@h:1/#{token}"), No::UserInfo);
        check(format!("muster://user:pw@h:1/#{token}"), No::UserInfo);
        check(format!("muster://h/#{token}"), No::Server(NotAHostPort::Port));
        check(format!("muster://h:0/#{token}"), No::Server(NotAHostPort::Port));
        check(format!("muster://:1/#{token}"), No::Server(NotAHostPort::Host));
        check(format!("muster://a;b:1/#{token}"), No::Server(NotAHostPort::Host));
        check(format!("muster://a`id`:1/#{token}"), No::Server(NotAHostPort::Host));
        check(format!("muster://::1:1/#{token}"), No::Server(NotAHostPort::Host));
        check(format!("muster://h:1#{token}"), No::Path);
        check(format!("muster://h:1/x#{token}"), No::Path);
        check(format!("muster://h:1/x?pin={pin}#{token}"), No::Path);
        check(format!("muster://h:1/?#{token}"), No::Query);
        check(format!("muster://h:1/?pin={pin}&pin={pin}#{token}"), No::Query);
        check(format!("muster://h:1/?pin={pin}&x=1#{token}"), No::Query);
        check(format!("muster://h:1/?Pin={pin}#{token}"), No::Query);
        check(format!("muster://h:1/?pin=#{token}"), No::Pin(NotAPin));
        check(format!("muster://h:1/?pin={}#{token}", &pin[1..]), No::Pin(NotAPin));
    }

    #[test]
    fn whatever_is_read_means_one_thing() {
        let token = credential(CredentialKind::JoinToken);
        let good = format!("muster://[2001:db8::1]:8443/?pin={}#{}", "ab".repeat(32), *token);
        let mut dice = Dice::new(20_261_124);
        for _ in 0..20_000 {
            let mutated = dice.mutate_text(&good);
            if let Ok(link) = mutated.parse::<JoinLink>() {
                let printed = link.reveal();
                assert_eq!(*printed.parse::<JoinLink>().unwrap().reveal(), *printed);
                // Pins may be spelt in several ways, and addresses of IPv6 too; nothing else may.
                let same_credential = mutated.rsplit('#').next() == printed.rsplit('#').next();
                assert!(same_credential && mutated.starts_with(SCHEME), "{mutated}");
            }
        }
    }
}
