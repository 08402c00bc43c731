//! What to do about a refusal, in commands that can be pasted.

use std::path::Path;

use crate::agent::connect::server_url::ServerUrl;
use crate::agent::enroll::requests::ServerRefusal;
use crate::domain::code::Code;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::ids::HostId;
use crate::shell::quoted;

/// Whose identity was refused, and where it lives.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub identity: &'a SpiffeId,
    /// The host's row in the registry, where that is known.
    pub host: Option<HostId>,
    pub dir: &'a Path,
    pub server: Option<&'a ServerUrl>,
    /// Whether `server-ca.pem` says what vouches for the server; else the system's roots do.
    pub server_ca: bool,
}

/// What to do about a refusal that no retry will cure; `None` when the refusal's own hint says it all.
pub fn way_back(code: &str, case: Case<'_>) -> Option<String> {
    let code: Code = code.parse().ok()?;
    let why = match code {
        Code::IdentityRevoked => "this identity was revoked",
        Code::SvidExpired => "this identity has expired, and not because the server was away",
        Code::UnknownSerial | Code::BadChain | Code::BadProof => "the server does not know this certificate",
        _ => return None,
    };
    let advice = code.advice().unwrap_or_default();
    let Case { identity: SpiffeId { tenant, agent, .. }, host, dir, server, server_ca } = case;
    // A log is read elsewhere than in the directory that the agent was started from.
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string();
    let aside = quoted(format!("{dir}.old"));
    let trust = if server_ca {
        format!(" --ca-file {}", quoted(format!("{dir}.old/server-ca.pem")))
    } else {
        String::new()
    };
    let dir = quoted(&dir);
    let server = server.map_or_else(|| "https://HOST:PORT".to_owned(), ToString::to_string);
    let revoked = code == Code::IdentityRevoked;
    let re_enable = match host.filter(|_| revoked) {
        Some(host) => format!("muster host re-enable {host} --tenant {tenant} && "),
        None if revoked => format!("muster host re-enable HOST-ID --tenant {tenant} && "),
        None => String::new(),
    };
    Some(format!(
        "{why}: {advice}. (1) On the server: {re_enable}muster enroll-token --tenant {tenant} --agent {agent} (2) Here, with the agent stopped and the token in a file: mv {dir} {aside} && muster agent enroll --server {server}{trust} --token-file FILE --dir {dir} (3) Start the agent again; as a service it must own the new directory"
    ))
}

/// What to do about any refusal.
pub fn after(refusal: &ServerRefusal, case: Case<'_>) -> String {
    way_back(&refusal.code, case).unwrap_or_else(|| refusal.hint().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_names_the_agent_and_can_be_pasted() {
        let tenant = "01890000-0000-7000-8000-000000000000";
        let identity = format!("spiffe://muster/tenant/{tenant}/agent/web-1").parse().unwrap();
        let server = "https://control.example:8443".parse().unwrap();
        let case = Case {
            identity: &identity,
            host: Some(HostId::from_bytes([7; 16])),
            dir: Path::new("/srv/it's here"),
            server: Some(&server),
            server_ca: true,
        };
        for code in ["identity_revoked", "svid_expired", "unknown_serial"] {
            let text = way_back(code, case).unwrap();
            assert!(
                text.contains(&format!("muster enroll-token --tenant {tenant} --agent web-1 ")),
                "{text}"
            );
            assert!(text.contains(r"mv '/srv/it'\''s here' '/srv/it'\''s here.old' &&"), "{text}");
            assert!(text.contains("--server https://control.example:8443 "), "{text}");
        }
        let text = way_back("svid_expired", Case { server_ca: false, ..case }).unwrap();
        assert!(text.contains("--server https://control.example:8443 --token-file FILE "), "{text}");
        let text = way_back("identity_revoked", case).unwrap();
        let re_enable =
            format!("muster host re-enable {} --tenant {tenant} && ", HostId::from_bytes([7; 16]));
        assert!(text.contains(&re_enable), "{text}");
        assert!(!way_back("svid_expired", case).unwrap().contains("re-enable"));
        assert_eq!(way_back("throttled", case), None);
    }
}
