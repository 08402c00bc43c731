//! What somebody has to look at: a code, how urgent it is, and what it is about.
//!
//! The overview and `muster check` show the same findings. Programs key on the code; the web UI writes sentences of its
//! own, in its user's time format; the command line prints `message` and `hint`.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long there is to act. In the order of urgency.
#[expect(missing_docs, reason = "a comment here would stand in the API's document")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SeverityName", description = "How urgent a finding is.")]
pub enum Severity {
    // Something is broken or will be within days: agents are, or will be, left outside.
    Critical,
    // Somebody has to act in the coming weeks.
    Soon,
    // Nothing breaks; it should be put in order.
    Tidy,
}

/// Time to renew a certificate in peace: until then nobody is bothered with its end.
pub const EXPIRY_SOON: SignedDuration = SignedDuration::from_hours(60 * 24);
/// From here on an expiry is urgent.
pub const EXPIRY_CRITICAL: SignedDuration = SignedDuration::from_hours(7 * 24);

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is called; programs key on it.
    pub code: &'static str,
    /// How long there is to act.
    pub severity: Severity,
    /// How many things it is about; 1 where it is about one.
    pub count: u64,
    /// When what it warns of happens, or has happened.
    pub at: Option<Timestamp>,
    /// The path of the page in the web UI that lists exactly what is counted.
    pub target: Option<&'static str>,
    /// What is the matter, as a clause.
    pub message: String,
    /// What to do about it, as a clause.
    pub hint: String,
}

impl Finding {
    /// About one thing, without a moment and a page of its own.
    pub fn new(
        code: &'static str,
        severity: Severity,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { code, severity, count: 1, at: None, target: None, message: message.into(), hint: hint.into() }
    }

    /// With the moment of what it warns of.
    #[must_use]
    pub const fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }

    /// With how many things it is about.
    #[must_use]
    pub const fn counting(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// With the page that lists them.
    #[must_use]
    pub const fn target(mut self, path: &'static str) -> Self {
        self.target = Some(path);
        self
    }

    /// The end of a certificate, once it is near enough to be somebody's business. `what` begins a sentence.
    pub fn expiry(code: &'static str, what: &str, at: Timestamp, now: Timestamp, hint: &str) -> Option<Self> {
        let left = at.duration_since(now);
        let severity = match left {
            left if left < EXPIRY_CRITICAL => Severity::Critical,
            left if left < EXPIRY_SOON => Severity::Soon,
            _ => return None,
        };
        let days = left.as_hours().unsigned_abs() / 24;
        let many = if days == 1 { "day" } else { "days" };
        let message = match (left.is_negative(), days) {
            (true, 0) => format!("{what} has expired today"),
            (true, days) => format!("{what} expired {days} {many} ago"),
            (false, 0) => format!("{what} expires within a day"),
            (false, days) => format!("{what} expires in {days} {many}"),
        };
        Some(Self::new(code, severity, message, hint).at(at))
    }
}

/// The most urgent first, then what happens first.
pub fn ranked(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| (finding.severity, finding.at.is_none(), finding.at, finding.code));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_told_in_time_and_in_words() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let check = |hours: i64, expected: Option<(Severity, &str)>| {
            let at = now + SignedDuration::from_hours(hours);
            let found = Finding::expiry("x_expiry", "The thing", at, now, "Renew it.");
            let told = found.as_ref().map(|found| (found.severity, found.message.as_str()));
            assert_eq!(told, expected, "{hours} h");
            assert!(found.is_none_or(|found| found.at == Some(at)));
        };
        check(61 * 24, None);
        check(60 * 24, None);
        check(60 * 24 - 1, Some((Severity::Soon, "The thing expires in 59 days")));
        check(7 * 24, Some((Severity::Soon, "The thing expires in 7 days")));
        check(7 * 24 - 1, Some((Severity::Critical, "The thing expires in 6 days")));
        check(25, Some((Severity::Critical, "The thing expires in 1 day")));
        check(3, Some((Severity::Critical, "The thing expires within a day")));
        check(-3, Some((Severity::Critical, "The thing has expired today")));
        check(-49, Some((Severity::Critical, "The thing expired 2 days ago")));
    }

    #[test]
    fn the_most_urgent_comes_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let find = |code, severity| Finding::new(code, severity, "", "");
        let sorted = ranked(vec![
            find("d", Severity::Tidy),
            find("c", Severity::Critical),
            find("b", Severity::Critical).at(at(9)),
            find("a", Severity::Critical).at(at(10)),
            find("e", Severity::Soon),
        ]);
        let codes: Vec<_> = sorted.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["b", "a", "c", "e", "d"]);
    }
}
