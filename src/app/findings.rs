//! What the operator has to see to, or soon will have to: for the overview and for `muster check`.

use jiff::{SignedDuration, Timestamp};

use super::App;
use super::overview::AgentCaExpiries;
use crate::store::ReadError;

/// How long before an expiry it is worth a warning.
pub const EXPIRY_WARNING: SignedDuration = SignedDuration::from_hours(60 * 24);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is better done.
    Tidy,
    /// Something will not work.
    Soon,
    /// Something does not work.
    Critical,
}

/// Something to do, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub code: &'static str,
    pub severity: Severity,
    /// When it happens or has happened.
    pub at: Option<Timestamp>,
    pub message: String,
    pub hint: String,
}

impl App {
    /// What concerns the whole deployment, as far as the store knows.
    pub fn findings(&self) -> Result<Vec<Finding>, ReadError> {
        let stored = self.store.read(|view| view.hierarchy())?;
        Ok(self.findings_about(stored.map(|stored| AgentCaExpiries::of(&stored)).as_ref()))
    }

    pub(super) fn findings_about(&self, agent_ca: Option<&AgentCaExpiries>) -> Vec<Finding> {
        let mut findings = of_agent_ca(agent_ca, self.clock.now());
        if !self.store.takes_writes() {
            findings.push(Finding {
                code: "commit_failed",
                severity: Severity::Critical,
                at: None,
                message: "The store could not be written, and has not been since".to_owned(),
                hint: "Make room on the disk of the data directory; the server's log says what failed."
                    .to_owned(),
            });
        }
        findings
    }
}

fn of_agent_ca(agent_ca: Option<&AgentCaExpiries>, now: Timestamp) -> Vec<Finding> {
    let Some(agent_ca) = agent_ca else {
        return vec![Finding {
            code: "no_agent_ca",
            severity: Severity::Critical,
            at: None,
            message: "There is no agent CA, so no host can enroll".to_owned(),
            hint: "Create it on the server's machine with: muster agent-ca init".to_owned(),
        }];
    };
    let intermediate = agent_ca.intermediate.and_then(|at| {
        expiry(
            "intermediate_expiry",
            "The agent CA's intermediate",
            at,
            now,
            "Renew it with the root key: muster agent-ca renew",
        )
    });
    let root = agent_ca.root.and_then(|at| {
        expiry(
            "root_expiry",
            "The agent CA's root",
            at,
            now,
            "Plan a new agent CA; every agent has to enroll again under it.",
        )
    });
    intermediate.into_iter().chain(root).collect()
}

/// What to say of an expiry that has been or is near.
pub fn expiry(code: &'static str, what: &str, at: Timestamp, now: Timestamp, hint: &str) -> Option<Finding> {
    let left = at.duration_since(now);
    if left >= EXPIRY_WARNING {
        return None;
    }
    let over = left <= SignedDuration::ZERO;
    let (severity, verb) = if over { (Severity::Critical, "expired") } else { (Severity::Soon, "expires") };
    Some(Finding {
        code,
        severity,
        at: Some(at),
        message: format!("{what} {verb} at {at}"),
        hint: hint.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_told_before_and_after() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let days = |days: i64| now + SignedDuration::from_hours(24 * days);
        let of = |intermediate: Timestamp| {
            let expiries = AgentCaExpiries {
                trust_domain: "muster".to_owned(),
                root: Some(days(3_000)),
                intermediate: Some(intermediate),
            };
            of_agent_ca(Some(&expiries), now)
        };
        assert_eq!(of(days(61)), []);
        let soon = &of(days(59))[0];
        assert_eq!(
            (soon.code, soon.severity, soon.at),
            ("intermediate_expiry", Severity::Soon, Some(days(59)))
        );
        let over = &of(days(-1))[0];
        assert_eq!(over.severity, Severity::Critical);
        assert!(over.message.contains("expired at 2026-11-25T12:00:00Z"), "{}", over.message);
        assert_eq!(of_agent_ca(None, now)[0].code, "no_agent_ca");
    }
}
