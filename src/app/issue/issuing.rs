//! What enrollment and rotation share: signing an SVID, and the answer that hands it out.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::app::{App, Unavailable, entropy};
use crate::ca::authority::{Authority, IssueError, IssuedSvid, SvidOrder};
use crate::ca::parse::csr::VerifiedCsr;
use crate::domain::enroll::enrollment::{Enrollment, Via};
use crate::domain::host::HostFacts;
use crate::domain::identity::dns_suffix::DnsSuffix;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::{AgentId, SpiffeId};
use crate::domain::ids::{HostId, TenantId};
use crate::domain::network::networks::UNKNOWN;
use crate::domain::version::AgentVersion;
use crate::pem;

/// An SVID as it is handed to its agent, with what the agent needs beside it.
#[derive(Debug, Clone)]
pub struct IssuedAnswer {
    /// The one URI name in the certificate.
    pub id: SpiffeId,
    /// The registry's row for the machine.
    pub host: HostId,
    /// The SVID alone.
    pub certificate_pem: String,
    /// What signed it, for the agent to present with it.
    pub intermediate_pem: String,
    /// The roots, one after the other: what the agent checks others against.
    pub trust_bundle_pem: String,
    /// As in the certificate, for those who do not parse it.
    pub serial: Serial,
    /// By the server's clock. Where an answer is given again, the moment of the first.
    pub issued_at: Timestamp,
    /// The last second in which it is valid.
    pub not_after: Timestamp,
}

/// Why no certificate could be issued, whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum IssuingError {
    /// Nothing is issued before an operator has made the agent CA and the server has unsealed its key.
    #[error("the agent CA has not been initialised or its key is sealed")]
    NoAuthority,
    /// Another server may have taken over.
    #[error("a replica has been out of reach for as long as 'fence' says")]
    Fenced,
    /// It has, or it ends before an SVID could be of any use.
    #[error("the agent CA's intermediate certificate has expired")]
    IntermediateExpired,
    /// An answer that was lost can't be given again.
    #[error("the intermediate that signed an earlier certificate is not on record")]
    NoIssuer,
    /// Nothing was signed, or what was signed is not as an SVID has to be, and was withheld.
    #[error("the agent CA could not sign")]
    Signing(#[source] IssueError),
}

/// A signed certificate that nobody has seen yet: it leaves the process only if the decision agrees.
pub(crate) struct SignedSvid {
    pub(crate) svid: IssuedSvid,
    pub(crate) order: SvidOrder,
    pub(crate) host: HostId,
    authority: Arc<Authority>,
}

impl SignedSvid {
    pub(crate) fn enrollment(
        &self,
        csr: &VerifiedCsr,
        via: Via,
        peer: Option<std::net::IpAddr>,
    ) -> Enrollment {
        Enrollment {
            serial: self.order.serial,
            host: self.host,
            tenant: self.order.id.tenant,
            via,
            issued_at: self.order.at,
            not_before: self.svid.not_before,
            not_after: self.svid.not_after,
            // Who came through a proxy that names nobody is on record as that.
            peer: peer.filter(|address| *address != UNKNOWN),
            spki: csr.spki(),
            revocation: None,
        }
    }

    pub(crate) fn into_svid(self) -> IssuedAnswer {
        IssuedAnswer {
            id: self.order.id,
            host: self.host,
            certificate_pem: pem::certificate(&self.svid.der),
            intermediate_pem: self.authority.intermediate_pem(self.order.at),
            trust_bundle_pem: self.authority.roots_pem().to_owned(),
            serial: self.order.serial,
            issued_at: self.order.at,
            not_after: self.svid.not_after,
        }
    }
}

/// How far serials may be ahead of a clock that was behind when the server came up, on another machine say.
const SERIALS_AHEAD_MAX: SignedDuration = SignedDuration::from_mins(10);

/// Signs an SVID for a host, with a serial that comes after the newest one that it had. Blocking.
pub(crate) fn sign(
    app: &App,
    csr: &VerifiedCsr,
    (host, newest): (HostId, Option<Serial>),
    tenant: TenantId,
    agent: AgentId,
    facts: &HostFacts,
) -> Result<Result<SignedSvid, IssuingError>, Unavailable> {
    if app.is_fenced() {
        return Ok(Err(IssuingError::Fenced));
    }
    let Some(authority) = app.authority() else {
        return Ok(Err(IssuingError::NoAuthority));
    };
    let dns_name = dns_name(app, tenant, &agent, facts)?;
    let at = app.clock.now();
    let id = SpiffeId { trust_domain: authority.trust_domain().clone(), tenant, agent };
    let order = SvidOrder {
        id,
        serial: Serial::new(serial_at(at, newest), entropy()?),
        at,
        lifetime: app.policy.svid_ttl,
        server_auth: app.policy.svid_server_auth,
        dns_name,
        crl_base: app.policy.crl_url.clone(),
    };
    Ok(match authority.issue(csr, &order) {
        Ok(svid) => Ok(SignedSvid { svid, order, host, authority }),
        Err(IssueError::IntermediateExpired { .. }) => Err(IssuingError::IntermediateExpired),
        Err(error) => Err(IssuingError::Signing(error)),
    })
}

/// What is shown later has the higher serial, although the clock may be behind that of the machine before.
fn serial_at(now: Timestamp, newest: Option<Serial>) -> Timestamp {
    let after = newest.and_then(|newest| newest.made_at().checked_add(SignedDuration::from_millis(1)).ok());
    after.filter(|after| after.duration_since(now) <= SERIALS_AHEAD_MAX).map_or(now, |after| after.max(now))
}

/// The DNS name that an agent's SVID has beside its id, if its tenant has a suffix. Agents of before refuse such a certificate,
/// and would be left without one.
fn dns_name(
    app: &App,
    tenant: TenantId,
    agent: &AgentId,
    facts: &HostFacts,
) -> Result<Option<String>, Unavailable> {
    if app.policy.svid_dns_suffixes.is_empty() || !takes_dns_names(facts) {
        return Ok(None);
    }
    Ok(app.dns_suffix(tenant)?.and_then(|suffix| suffix.name_of(agent)))
}

/// Whether the agent of a machine accepts an SVID with a DNS name, by the version that it states.
pub(crate) fn takes_dns_names(facts: &HostFacts) -> bool {
    AgentVersion::stated(facts.agent_version.as_deref()) >= AgentVersion::TAKES_DNS_NAMES
}

impl App {
    /// The suffix of the DNS names of a tenant's agents.
    pub(crate) fn dns_suffix(&self, tenant: TenantId) -> Result<Option<DnsSuffix>, Unavailable> {
        let suffixes = &self.policy.svid_dns_suffixes;
        if suffixes.is_empty() {
            return Ok(None);
        }
        let (tenants, default) = self.query(|view| Ok((view.tenants()?, view.default_tenant()?)))?;
        let tenant = tenants.iter().find(|known| known.id == tenant);
        Ok(tenant.and_then(|tenant| suffixes.of(tenant, default)).cloned())
    }

    /// What stands in the setting as a tenant and is none.
    pub(crate) fn unknown_in_dns_suffixes(&self) -> Result<Vec<String>, Unavailable> {
        let tenants = self.query(|view| view.tenants())?;
        Ok(self.policy.svid_dns_suffixes.unknown_among(&tenants))
    }
}

/// What a request that proves a right comes to.
pub(crate) enum Entitlement<New> {
    /// It was answered before; this is the answer.
    Retry(Box<PastAnswer>),
    /// It gets a certificate of its own.
    Fresh(New),
}

/// A certificate issued before, for a request whose answer was lost.
#[derive(Debug)]
pub(crate) struct PastAnswer {
    pub(crate) enrollment: Enrollment,
    pub(crate) agent: AgentId,
    /// DER.
    pub(crate) certificate: Vec<u8>,
}

/// The same answer again, with the intermediate that signed it then: another may sign by now.
pub(crate) fn reissue(app: &App, answered: PastAnswer) -> Result<IssuedAnswer, IssuingError> {
    let authority = app.authority().ok_or(IssuingError::NoAuthority)?;
    let PastAnswer { enrollment, agent, certificate } = answered;
    let intermediate_pem = authority.intermediate_pem_of(&certificate).ok_or(IssuingError::NoIssuer)?;
    Ok(IssuedAnswer {
        id: SpiffeId { trust_domain: authority.trust_domain().clone(), tenant: enrollment.tenant, agent },
        host: enrollment.host,
        certificate_pem: pem::certificate(&certificate),
        intermediate_pem,
        trust_bundle_pem: authority.roots_pem().to_owned(),
        serial: enrollment.serial,
        issued_at: enrollment.issued_at,
        not_after: enrollment.not_after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_of_a_host_grow_through_a_clock_that_is_a_little_behind() {
        let at = |second: i64| Timestamp::from_second(1_790_000_000 + second).unwrap();
        let newest = |second| Some(Serial::new(at(second), [255; 10]));
        assert_eq!(serial_at(at(0), None), at(0));
        assert_eq!(serial_at(at(0), newest(-5)), at(0));
        for ahead in [0, 180, 599] {
            let next = Serial::new(serial_at(at(0), newest(ahead)), [0; 10]);
            assert!(Some(next) > newest(ahead), "{ahead} s");
        }
        // A clock that was ahead for long is no measure.
        assert_eq!(serial_at(at(0), newest(3_600)), at(0));
    }
}
