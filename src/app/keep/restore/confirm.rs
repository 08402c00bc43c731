//! What nobody knows to be good after a restore without a journal: it counts for nothing until the operator confirms it.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::{App, Unavailable};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::vocabulary::vocabulary;
use crate::domain::withdrawal::Suspended;
use crate::store::{Change, ReadError, RestoredChange, Verdict, View};

vocabulary! {
    /// What is suspended, by kinds.
    pub enum SuspendedKind {
        /// Enrollment secrets.
        Secrets = "secrets",
        ApiTokens = "api-tokens",
        /// Passwords of people.
        People = "people",
    }
}

impl SuspendedKind {
    /// Of one thing.
    pub const fn of(what: Suspended) -> Self {
        match what {
            Suspended::Secret(_) => Self::Secrets,
            Suspended::ApiToken(_) => Self::ApiTokens,
            Suspended::Person(_) => Self::People,
        }
    }
}

/// How many of each are suspended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SuspendedCounts {
    /// Enrollment secrets.
    pub secrets: usize,
    /// API tokens.
    pub api_tokens: usize,
    /// Passwords of people.
    pub people: usize,
}

impl SuspendedCounts {
    pub(crate) fn of<'s>(suspended: impl IntoIterator<Item = &'s Suspended>) -> Self {
        let mut counts = Self::default();
        for what in suspended {
            match what {
                Suspended::Secret(_) => counts.secrets += 1,
                Suspended::ApiToken(_) => counts.api_tokens += 1,
                Suspended::Person(_) => counts.people += 1,
            }
        }
        counts
    }

    /// By names for records.
    pub const fn by_name(self) -> [(&'static str, usize); 3] {
        let Self { secrets, api_tokens, people } = self;
        [("secrets_suspended", secrets), ("api_tokens_suspended", api_tokens), ("people_suspended", people)]
    }

    /// All together.
    pub const fn total(self) -> usize {
        self.secrets + self.api_tokens + self.people
    }
}

/// Something that is suspended, by the name that people give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSuspended {
    /// What it is.
    pub what: Suspended,
    /// What people call it.
    pub name: String,
    /// Since when it counts for nothing.
    pub since: Timestamp,
}

/// Everything that may have been withdrawn in a time of which nothing is known: secrets that are not revoked, API tokens, and
/// people's passwords.
pub(crate) fn everything(view: &View<'_>) -> Result<Vec<Suspended>, ReadError> {
    let mut all = Vec::new();
    view.any_tenant().enrollment_secrets(None, |secret| {
        all.extend(secret.revoked_at.is_none().then_some(Suspended::Secret(secret.id)));
        ControlFlow::Continue(())
    })?;
    view.any_tenant().api_tokens(None, |token| {
        all.push(Suspended::ApiToken(token.id));
        ControlFlow::Continue(())
    })?;
    view.any_tenant().users(None, |user| {
        all.push(Suspended::Person(user.id));
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// What people call it; nothing, where it is gone.
fn name_of(view: &View<'_>, what: Suspended) -> Result<Option<String>, ReadError> {
    let any = view.any_tenant();
    Ok(match what {
        Suspended::Secret(id) => any.enrollment_secret(id)?.map(|secret| secret.name.to_string()),
        Suspended::ApiToken(id) => any.api_token(id)?.map(|token| token.name.to_string()),
        Suspended::Person(id) => any.user(id)?.map(|user| user.username.to_string()),
    })
}

impl App {
    /// What waits for the operator.
    pub fn suspended(&self) -> Result<Vec<NamedSuspended>, Unavailable> {
        self.query(named)
    }

    /// Lets what was suspended count again: all of a kind, or those of these ids or, of people, these names. Returns what it
    /// was, and whom nothing that waits is called.
    pub async fn confirm_suspended(
        self: &Arc<Self>,
        caller: &Caller,
        kind: SuspendedKind,
        wanted: Vec<String>,
    ) -> Result<(Vec<NamedSuspended>, Vec<String>), Unavailable> {
        let caller = caller.clone();
        self.decide(move |view, _| {
            let of_kind: Vec<_> =
                named(view)?.into_iter().filter(|it| SuspendedKind::of(it.what) == kind).collect();
            let is = |it: &NamedSuspended, text: &String| {
                let named = kind == SuspendedKind::People && it.name.eq_ignore_ascii_case(text);
                it.what.to_string() == *text || named
            };
            let unknown: Vec<_> =
                wanted.iter().filter(|text| !of_kind.iter().any(|it| is(it, text))).cloned().collect();
            let confirmed: Vec<_> = of_kind
                .into_iter()
                .filter(|it| wanted.is_empty() || wanted.iter().any(|text| is(it, text)))
                .collect();
            // What can't be found is a mistake, so nothing is done.
            if !unknown.is_empty() || confirmed.is_empty() {
                return Ok(Verdict::accept((Vec::new(), unknown), Vec::new()));
            }
            let mut changes = Vec::new();
            for NamedSuspended { what, name, .. } in &confirmed {
                let mut event = caller.event(AuditAction::StoreConfirm, None, what);
                event.detail.insert("kind", kind.to_string());
                event.detail.insert("name", name.clone());
                changes.extend([Change::Restored(RestoredChange::Confirm(*what)), Change::Audit(event)]);
            }
            Ok(Verdict::accept((confirmed, unknown), changes))
        })
        .await
    }
}

fn named(view: &View<'_>) -> Result<Vec<NamedSuspended>, ReadError> {
    let mut all = Vec::new();
    for (what, since) in view.all_suspended()? {
        all.extend(name_of(view, what)?.map(|name| NamedSuspended { what, name, since }));
    }
    Ok(all)
}
