//! What a journal says beside denials, in the end: whose it is, when its server last lived, and what was taken from whom.
//! What the store has lost of that it learns from here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use crate::domain::enroll::enrollment::{Revocation, RevocationReason, SVID_LIFETIME_MAX};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::identity::clock_marks::{ClockMarks, DENIALS_KEPT};
use crate::domain::identity::deny::{AgentRef, Denial};
use crate::domain::identity::restore_epoch::{CLOCKS_APART, RecoveryBar};
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, HostId, UserId, WebhookId};
use crate::domain::people::user::User;
use crate::domain::withdrawal::{PersonStanding, StoreId, Suspended, Withdrawal};
use crate::store::ReadError;
use crate::store::change::{Change, RestoredChange, WebhookChange};
use crate::store::journal::line::Line;
use crate::store::view::View;

/// A server that lives says so again within this time, with room to spare.
const ALIVE_AGAIN_WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct JournalFacts {
    pub(crate) store: Option<StoreId>,
    /// Lines of which a later one may say all: they go when the journal is written anew.
    pub(crate) spare: usize,
    /// When the server last said that it was alive, by a clock that may have been wrong.
    alive: Option<Timestamp>,
    /// When it last took something from somebody.
    took: Option<Timestamp>,
    /// A time of which is asked whether the server said that it was alive.
    lost: Option<(Timestamp, Timestamp)>,
    /// The last moment of that time at which it did.
    alive_then: Option<Timestamp>,
    lifts: BTreeMap<AgentRef, Timestamp>,
    revoked_secrets: BTreeSet<CredentialId>,
    uses: BTreeMap<CredentialId, u32>,
    api_tokens: BTreeSet<CredentialId>,
    webhooks: BTreeSet<WebhookId>,
    hosts: BTreeMap<HostId, (AgentRef, Timestamp)>,
    people: BTreeMap<UserId, PersonStanding>,
}

/// What a store has lost of what was taken from somebody, and what gives it back.
#[derive(Debug, Default)]
pub struct Withdrawn {
    /// What the store has to do about it.
    pub changes: Vec<Change>,
    /// Revoked enrollment secrets.
    pub secrets: usize,
    /// Capped secrets with used-up slots.
    pub secret_uses: usize,
    /// Revoked API tokens.
    pub api_tokens: usize,
    /// Removed webhooks.
    pub webhooks: usize,
    /// Deleted hosts.
    pub hosts: usize,
    /// People who were disabled, or had their roles lowered.
    pub people: usize,
    /// People whose passwords were changed: nobody knows to what.
    pub passwords: usize,
}

impl Withdrawn {
    /// Whether the store has lost nothing.
    pub const fn is_empty(&self) -> bool {
        let Self { changes: _, secrets, secret_uses, api_tokens, webhooks, hosts, people, passwords } = self;
        *secrets + *secret_uses + *api_tokens + *webhooks + *hosts + *people + *passwords == 0
    }

    /// How many of each, by names for records.
    pub const fn counts(&self) -> [(&'static str, usize); 7] {
        [
            ("secrets_revoked", self.secrets),
            ("secrets_used", self.secret_uses),
            ("api_tokens_revoked", self.api_tokens),
            ("webhooks_removed", self.webhooks),
            ("hosts_deleted", self.hosts),
            ("people_restricted", self.people),
            ("passwords_void", self.passwords),
        ]
    }
}

impl JournalFacts {
    /// Asks whether the server said that it was alive between two moments.
    pub(crate) fn asking(lost: (Timestamp, Timestamp)) -> Self {
        Self { lost: Some(lost), ..Self::default() }
    }

    pub(crate) fn add(&mut self, line: &Line) {
        match line {
            Line::Denial(Denial::Serial { since, .. } | Denial::Identity { since, .. }) => {
                self.took = Some(*since);
            }
            Line::Denial(Denial::Lifted { identity, at }) => {
                self.took = Some(*at);
                self.lifts.insert(identity.clone(), *at);
            }
            Line::Mark(_) => {}
            // The first one counts: whatever else a journal is added to, it is this store's.
            Line::Store(id) => {
                self.store.get_or_insert(*id);
            }
            Line::Alive(at) => {
                self.spare += 1;
                self.alive = Some(*at);
                if self.lost.is_some_and(|(from, until)| from < *at && *at < until) {
                    self.alive_then = self.alive_then.max(Some(*at));
                }
            }
            Line::Withdrawal(withdrawal, at) => {
                self.took = Some(*at);
                self.withdraw(withdrawal, *at);
            }
        }
    }

    fn withdraw(&mut self, withdrawal: &Withdrawal, at: Timestamp) {
        match withdrawal {
            Withdrawal::Secret(id) => {
                self.revoked_secrets.insert(*id);
            }
            Withdrawal::SecretUses { id, uses } => {
                self.spare += 1;
                let known = self.uses.entry(*id).or_default();
                *known = (*uses).max(*known);
            }
            Withdrawal::ApiToken(id) => {
                self.api_tokens.insert(*id);
            }
            Withdrawal::Webhook(id) => {
                self.webhooks.insert(*id);
            }
            Withdrawal::Host { id, identity } => {
                self.hosts.insert(*id, (identity.clone(), at));
            }
            Withdrawal::Person { id, standing } => {
                self.spare += 1;
                self.people.insert(*id, *standing);
            }
        }
    }

    /// The last moment at which the server was alive, as far as it said. What a clock that was ahead has left does not count,
    /// and neither does what an operator has taken from somebody long after.
    pub(crate) fn last_sign(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = now.saturating_add(CLOCKS_APART).unwrap_or(Timestamp::MAX);
        let alive = self.alive.filter(|at| *at <= latest);
        let took = self.took.filter(|at| *at <= latest);
        let since = |alive: Timestamp| took.filter(|took| took.duration_since(alive) < ALIVE_AGAIN_WITHIN);
        match alive {
            Some(alive) => since(alive).max(Some(alive)),
            None => took,
        }
    }

    /// The last moment of the time asked for at which it did.
    pub(crate) const fn alive_then(&self) -> Option<Timestamp> {
        self.alive_then
    }

    /// What the journal lacks of what the store has.
    pub(crate) fn lacks(&self, view: &View<'_>) -> Result<Vec<Withdrawal>, ReadError> {
        let mut lacking = Vec::new();
        view.any_tenant().enrollment_secrets(None, |secret| {
            let EnrollmentSecret { id, uses, max_uses, revoked_at, .. } = secret;
            if revoked_at.is_some() && !self.revoked_secrets.contains(&id) {
                lacking.push(Withdrawal::Secret(id));
            }
            if max_uses.is_some() && uses > self.uses.get(&id).copied().unwrap_or_default() {
                lacking.push(Withdrawal::SecretUses { id, uses });
            }
            ControlFlow::Continue(())
        })?;
        view.any_tenant().users(None, |user| {
            let (own, said) = (PersonStanding::of(&user), self.people.get(&user.id));
            let standing = said.map_or(own, |said| said.lower(own));
            if said != Some(&standing) {
                lacking.push(Withdrawal::Person { id: user.id, standing });
            }
            ControlFlow::Continue(())
        })?;
        Ok(lacking)
    }

    /// What the store lacks of what the journal has.
    pub(crate) fn withdrawn_from(&self, view: &View<'_>, now: Timestamp) -> Result<Withdrawn, ReadError> {
        let mut withdrawn = Withdrawn::default();
        self.secrets(view, now, &mut withdrawn)?;
        for id in &self.api_tokens {
            if view.any_tenant().api_token(*id)?.is_some() {
                withdrawn.api_tokens += 1;
                withdrawn.changes.push(Change::DeleteApiToken(*id));
            }
        }
        for id in &self.webhooks {
            if view.webhook(*id)?.is_some() {
                withdrawn.webhooks += 1;
                withdrawn.changes.push(Change::Webhook(WebhookChange::Delete(*id)));
            }
        }
        self.deleted_hosts(view, now, &mut withdrawn)?;
        self.restricted(view, now, &mut withdrawn)?;
        self.barred(view, now, &mut withdrawn)?;
        Ok(withdrawn)
    }

    fn secrets(&self, view: &View<'_>, now: Timestamp, withdrawn: &mut Withdrawn) -> Result<(), ReadError> {
        for id in self
            .revoked_secrets
            .iter()
            .chain(self.uses.keys().filter(|id| !self.revoked_secrets.contains(id)))
        {
            let Some(mut secret) = view.any_tenant().enrollment_secret(*id)? else { continue };
            let uses = self.uses.get(id).copied().unwrap_or_default();
            let revoked = self.revoked_secrets.contains(id) && secret.revoked_at.is_none();
            let used = uses > secret.uses;
            if revoked {
                withdrawn.secrets += 1;
                secret.revoked_at = Some(now);
            }
            if used {
                withdrawn.secret_uses += 1;
                secret.uses = uses;
            }
            if revoked || used {
                withdrawn.changes.push(Change::PutEnrollmentSecret(secret));
            }
        }
        Ok(())
    }

    fn deleted_hosts(
        &self,
        view: &View<'_>,
        now: Timestamp,
        withdrawn: &mut Withdrawn,
    ) -> Result<(), ReadError> {
        let marks = view.clock_marks()?;
        for (id, (_, at)) in &self.hosts {
            // A row of later has its id from a name in a certificate.
            let Some(host) = view.any_tenant().host(*id)?.filter(|host| host.first_enrolled_at <= *at) else {
                continue;
            };
            withdrawn.hosts += 1;
            let revocation = Revocation { at: *at, reason: RevocationReason::Deleted };
            view.any_tenant().enrollments_of(*id, None, |enrollment| {
                if enrollment.revocation.is_none() {
                    let over = marks.long_past(enrollment.serial, enrollment.not_after, DENIALS_KEPT, now);
                    withdrawn.changes.push(if over {
                        Change::MarkRevoked { enrollment, revocation }
                    } else {
                        Change::RevokeEnrollment { enrollment, revocation }
                    });
                }
                ControlFlow::Continue(())
            })?;
            if view.identity_denied(&host.identity())?.is_some() {
                withdrawn.changes.push(Change::LiftIdentity(host.identity()));
            }
            withdrawn.changes.push(Change::DeleteHost(host));
        }
        Ok(())
    }

    fn restricted(
        &self,
        view: &View<'_>,
        now: Timestamp,
        withdrawn: &mut Withdrawn,
    ) -> Result<(), ReadError> {
        for (id, said) in &self.people {
            let Some(user) = view.any_tenant().user(*id)? else { continue };
            let own = PersonStanding::of(&user);
            let left = own.lower(*said);
            if left == own {
                continue;
            }
            withdrawn.people += usize::from((left.role, left.disabled) != (own.role, own.disabled));
            let disabled_at = if left.disabled { user.disabled_at.or(Some(now)) } else { None };
            let password_set_at = left.password_set_at;
            withdrawn.changes.push(Change::PutUser(User {
                role: left.role,
                disabled_at,
                password_set_at,
                ..user
            }));
            if left.password_set_at != own.password_set_at {
                withdrawn.passwords += 1;
                let suspend = RestoredChange::Suspend(Suspended::Person(*id));
                withdrawn.changes.push(Change::Restored(suspend));
            }
        }
        Ok(())
    }

    /// Identities that were let in again, or deleted: what was issued before never comes back.
    fn barred(&self, view: &View<'_>, now: Timestamp, withdrawn: &mut Withdrawn) -> Result<(), ReadError> {
        let marks = view.clock_marks()?;
        let lifted =
            self.lifts.iter().map(|(identity, at)| (identity, *at, RevocationReason::Decommissioned));
        let deleted = self.hosts.values().map(|(identity, at)| (identity, *at, RevocationReason::Deleted));
        for (identity, at, reason) in lifted.chain(deleted) {
            let known = view.recovery_bar(identity)?;
            if is_over(&marks, at, now) || known.is_some_and(|known| known.made_before >= at) {
                continue;
            }
            let bar = RecoveryBar { reason, made_before: at, told_before: at };
            withdrawn.changes.push(Change::Restored(RestoredChange::Bar(identity.clone(), bar)));
        }
        Ok(())
    }
}

/// Whether no certificate that was made before a moment is good any more, whatever the clock may still do.
pub(crate) fn is_over(marks: &ClockMarks, made_before: Timestamp, now: Timestamp) -> bool {
    let end = made_before.saturating_add(SVID_LIFETIME_MAX).unwrap_or(Timestamp::MAX);
    marks.long_past(Serial::new(made_before, [0; 10]), end, DENIALS_KEPT, now)
}

/// Which lines stay, of those that a later one may say all of: each that says how it ended, once.
pub(crate) struct Spare<'f> {
    facts: &'f JournalFacts,
    alive: bool,
    uses: BTreeSet<CredentialId>,
    people: BTreeSet<UserId>,
}

impl<'f> Spare<'f> {
    pub(crate) const fn of(facts: &'f JournalFacts) -> Self {
        Self { facts, alive: false, uses: BTreeSet::new(), people: BTreeSet::new() }
    }

    pub(crate) fn keeps(&mut self, line: &Line) -> bool {
        match line {
            Line::Alive(at) => self.facts.alive == Some(*at) && !std::mem::replace(&mut self.alive, true),
            Line::Withdrawal(Withdrawal::SecretUses { id, uses }, _) => {
                self.facts.uses.get(id) == Some(uses) && self.uses.insert(*id)
            }
            Line::Withdrawal(Withdrawal::Person { id, standing }, _) => {
                self.facts.people.get(id) == Some(standing) && self.people.insert(*id)
            }
            _ => true,
        }
    }

    /// How many stayed.
    pub(crate) fn kept(self) -> usize {
        usize::from(self.alive) + self.uses.len() + self.people.len()
    }
}
