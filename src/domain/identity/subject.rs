//! An agent's name as programs want it that map the subject of a certificate: the same three parts, in the order and with the
//! separators of each.

use crate::domain::identity::spiffe::SpiffeId;

/// As RFC 2253 has the subject `CN=<agent id>,OU=<tenant id>,O=<trust domain>`, the last part first: NATS, mosquitto. None of
/// the parts needs escaping.
pub fn rfc2253(id: &SpiffeId) -> String {
    let SpiffeId { trust_domain, tenant, agent } = id;
    format!("O={trust_domain},OU={tenant},CN={agent}")
}

/// As OpenSSL's oldest form has it: MariaDB.
pub fn slashes(id: &SpiffeId) -> String {
    let SpiffeId { trust_domain, tenant, agent } = id;
    format!("/CN={agent}/OU={tenant}/O={trust_domain}")
}

/// In the certificate's own order: what `openssl x509 -subject` prints, and OpenVPN takes.
pub fn in_order(id: &SpiffeId) -> String {
    let SpiffeId { trust_domain, tenant, agent } = id;
    format!("CN={agent}, OU={tenant}, O={trust_domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_the_same_parts() {
        let tenant = "01890000-0000-7000-8000-000000000000";
        let id: SpiffeId = format!("spiffe://muster/tenant/{tenant}/agent/web-1").parse().unwrap();
        assert_eq!(rfc2253(&id), format!("O=muster,OU={tenant},CN=web-1"));
        assert_eq!(slashes(&id), format!("/CN=web-1/OU={tenant}/O=muster"));
        assert_eq!(in_order(&id), format!("CN=web-1, OU={tenant}, O=muster"));
    }
}
