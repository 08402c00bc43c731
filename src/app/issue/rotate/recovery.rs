//! Coming back after a restore: an SVID that is on no record, because its record was lost with the server that issued it.
//!
//! Who may is decided by [`recovery`]; what it asks is read here, and what follows is written. An SVID that nothing explains
//! says that the store is older than it was.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::error::RotateError;
use super::{CurrentSvid, ProvenBy, Renewal, Right, ShownCertificate, answered_before};
use crate::app::issue::issuing::{Entitlement, PastAnswer};
use crate::app::{App, Unavailable};
use crate::ca::parse::csr::VerifiedCsr;
use crate::ca::parse::presented::PresentedChain;
use crate::domain::enroll::enrollment::Via;
use crate::domain::host::{Host, HostFacts};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::outage::Outage;
use crate::domain::identity::restore_epoch::{Recovery, RestoreEpoch, RolledBack, UnrecordedSvid, recovery};
use crate::domain::identity::serial::Serial;
use crate::domain::ids::HostId;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::people::tenant::Tenant;
use crate::domain::sha256::sha256;
use crate::store::{Change, ReadError, RestoredChange, Verdict, View};

/// Decides what the holder of an SVID gets that is on no record.
pub(super) fn standing(
    view: &View<'_>,
    shown: &CurrentSvid,
    csr: &VerifiedCsr,
    now: Timestamp,
) -> Result<Entitlement<Renewal>, RotateError> {
    let ProvenBy::Signature(certificate) = &shown.by else { return Err(RotateError::UnknownSerial) };
    let epochs = view.restore_epochs()?;
    if epochs.is_empty() {
        return Err(RotateError::UnknownSerial);
    }
    let host = match view.host_of(&shown.holder)? {
        Some(host) => host,
        None => registered(view, shown, certificate, now)?,
    };
    let returned = view.has_returned(host.id, shown.serial)?;
    let successor = view.holder_of_key(csr.spki())?;
    let is_its = successor.as_ref().is_some_and(|it| it.via == Via::Rotation { from: shown.serial });
    let svid = UnrecordedSvid {
        serial: shown.serial,
        not_after: certificate.not_after,
        issuer_revoked: !is_believed(view, certificate, &epochs)?,
        serial_denied: view.serial_denied_for(shown.serial)?,
        identity_denied: view.identity_denied(&shown.holder)?.is_some() || host.decommissioned_at.is_some(),
        bar: view.recovery_bar(&shown.holder)?,
        spent: returned && !is_its,
        others_returned: view.others_returned(host.id, shown.serial)?,
    };
    let (restored_at, perhaps_cloned) = match recovery(&epochs, &svid, now) {
        Recovery::Granted { restored_at, perhaps_cloned } => (restored_at, perhaps_cloned),
        Recovery::Revoked => return Err(RotateError::IdentityRevoked),
        Recovery::Expired => return Err(RotateError::SvidExpired),
        Recovery::Unknown => return Err(RotateError::UnknownSerial),
    };
    if let Some(answered) = answered_before(view, shown.serial, csr.spki(), now)? {
        let certificate = view.certificate(answered.serial)?.ok_or(RotateError::UnknownSerial)?;
        let answered = PastAnswer { enrollment: answered, agent: host.agent, certificate };
        return Ok(Entitlement::Retry(Box::new(answered)));
    }
    let taken = successor.is_some_and(|successor| !successor.expired(now));
    if taken || csr.spki() == certificate.key {
        return Err(RotateError::KeyReused);
    }
    let by = Right::Returned { restored_at, perhaps_cloned };
    Ok(Entitlement::Fresh(Renewal { host: Box::new(host), by, lost: is_its }))
}

/// Whether what a certificate was signed with is not revoked. One that is on no record, as a root of ours has signed it, may
/// have been made in the time that was lost. Nobody can revoke that one by its name, so none of these counts any more once
/// any intermediate was revoked after the restore.
fn is_believed(
    view: &View<'_>,
    certificate: &ShownCertificate,
    epochs: &[RestoreEpoch],
) -> Result<bool, ReadError> {
    let Some(hierarchy) = view.hierarchy()? else { return Ok(false) };
    let denied = certificate.issuer_serial.map(|serial| view.serial_denied(serial)).transpose()?;
    if denied == Some(true) {
        return Ok(false);
    }
    let mut known = hierarchy.intermediates.iter();
    if let Some(known) = known.find(|known| known.certificate == certificate.issuer) {
        return Ok(known.revocation.is_none());
    }
    let Some(serial) = certificate.issuer_serial else { return Ok(false) };
    let Some(epoch) = epochs.iter().rev().find(|epoch| epoch.covers(serial)) else { return Ok(false) };
    let revocations = hierarchy.intermediates.iter().filter_map(|known| known.revocation);
    let revoked_since = revocations.into_iter().any(|revocation| revocation.at > epoch.restored_at);
    Ok(!revoked_since)
}

/// A host of which only a certificate tells: without facts, tags and a credential. It has the id that it had, where that is
/// the name in its certificate.
fn registered(
    view: &View<'_>,
    shown: &CurrentSvid,
    certificate: &ShownCertificate,
    now: Timestamp,
) -> Result<Host, RotateError> {
    let AgentRef { tenant, agent } = shown.holder.clone();
    let mut id = agent.as_str().parse().ok();
    if let Some(own) = id
        && view.any_tenant().host(own)?.is_some()
    {
        id = None;
    }
    // The same whoever asks, so that what is signed before it is decided is signed for the host that it is decided of.
    let digest = sha256(&[tenant.as_bytes(), agent.as_str().as_bytes()]);
    let mut entropy = [0; 10];
    entropy.copy_from_slice(&digest[..10]);
    Ok(Host {
        id: id.unwrap_or_else(|| HostId::new(shown.serial.made_at(), entropy)),
        tenant,
        agent,
        facts: HostFacts::default(),
        first_enrolled_at: now,
        last_seen: None,
        newest_shown: None,
        trust: crate::domain::host::HostTrust::default(),
        decommissioned_at: None,
        revoked_at: None,
        let_in_by: None,
        newest_serial: shown.serial,
        svid_not_after: certificate.not_after,
        flags: BTreeSet::new(),
        marks: crate::domain::host::tag::HostMarks::default(),
    })
}

/// What else is written of a rotation: that the host has come back, and what has to be there for it.
pub(super) fn changes(
    view: &View<'_>,
    host: &Host,
    from: Serial,
    by: Right,
    now: Timestamp,
    event: &mut AuditEvent,
) -> Result<Vec<Change>, ReadError> {
    let mut changes = Vec::new();
    let returned =
        |restored_at| Change::Restored(RestoredChange::Returned { host: host.id, with: from, restored_at });
    let Right::Returned { restored_at, .. } = by else {
        let epochs = view.restore_epochs()?;
        let Some(epoch) = epochs.last().filter(|epoch| epoch.in_force(now)) else { return Ok(changes) };
        // Whoever shows another one now, of the time that was lost, is perhaps another machine.
        let newest = view.others_returned(host.id, Serial::from_bytes([0; 16]))?;
        changes.extend((newest < Some(epoch.restored_at)).then(|| returned(epoch.restored_at)));
        return Ok(changes);
    };
    event.detail.insert("restored_at", restored_at.to_string());
    if !view.has_tenant(host.tenant)? {
        let name = host.tenant.to_string().parse().ok();
        let mut made =
            AuditEvent::by_muster("server", AuditAction::TenantCreate, Some(host.tenant), host.tenant);
        made.detail.insert("because", "an agent of it came back after a restore".to_owned());
        let tenant = name.map(|name| Tenant { id: host.tenant, name, created_at: now });
        changes.extend(tenant.map(Change::PutTenant));
        changes.push(Change::Audit(made));
    }
    if view.any_tenant().host(host.id)?.is_none() {
        event.detail.insert("registered", "true".to_owned());
        // What follows stands in its timeline, and the row comes with it.
        changes.push(Change::PutHost(host.clone()));
    }
    changes.push(returned(restored_at));
    Ok(changes)
}

impl App {
    /// Takes note of an SVID that is on no record, whose holder is proved. Where it was made while this store's server was not
    /// alive, another history of the store has it, which came further than this one: the store is older than it was.
    pub(super) fn note_unrecorded(&self, chain: &PresentedChain, now: Timestamp) -> Result<(), Unavailable> {
        let (serial, identity) =
            (chain.serial(), AgentRef { tenant: chain.id().tenant, agent: chain.id().agent.clone() });
        let woke = self.woke;
        let found = move |view: &View<'_>, now| noticed(view, serial, &identity, woke, now);
        if self.query(|view| found(view, now))?.is_none() {
            return Ok(());
        }
        // Nobody waits for it: that it is on record changes no answer.
        drop(self.begin_decision(move |view, now| {
            let Some(found) = found(view, now)? else {
                return Ok(Verdict::<_, Unavailable>::accept((), Vec::new()));
            };
            let mut event = AuditEvent::by_muster("server", AuditAction::StoreRolledBack, None, serial);
            event.detail.insert("woke_from", found.woke_from.to_string());
            event.detail.insert("woke_at", found.woke_at.to_string());
            tracing::error!(
                %serial, woke_from = %found.woke_from, woke_at = %found.woke_at,
                "THE STORE IS OLDER THAN IT WAS: an agent shows a certificate that was issued after the store's last sign of life \
                 and is on no record. A virtual machine was set back, or an older copy of the files was put in place. \
                 Let its agents come back, and nobody who was revoked: muster restore declare --journal FILE"
            );
            let found = Change::Restored(RestoredChange::RolledBack(found));
            Ok(Verdict::accept((), vec![found, Change::Audit(event)]))
        }));
        Ok(())
    }
}

/// What an SVID says about the store's age that is on no record, if that is news.
fn noticed(
    view: &View<'_>,
    serial: Serial,
    identity: &AgentRef,
    woke: Option<Outage>,
    now: Timestamp,
) -> Result<Option<RolledBack>, ReadError> {
    let explained = view.rolled_back()?.is_some()
        || view.any_tenant().enrollment(serial)?.is_some()
        || view.serial_denied(serial)?
        || view.recovery_bar(identity)?.is_some_and(|bar| serial.made_at() < bar.made_before)
        || view.restore_epochs()?.iter().any(|epoch| epoch.covers(serial));
    if explained {
        return Ok(None);
    }
    let made_at = serial.made_at();
    let lost = |outage: &Outage| outage.from < made_at && made_at < outage.until;
    let mut found = woke.filter(lost);
    view.outages(|outage| {
        found = found.or(Some(outage).filter(lost));
        if found.is_some() { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    })?;
    Ok(found.map(|Outage { from, until }| RolledBack {
        noticed_at: now,
        serial,
        woke_from: from,
        woke_at: until,
    }))
}
