//! What somebody has to look at: a code, how urgent it is, and what it is about.
//!
//! The overview and `muster check` show the same findings. Programs key on the code; the web UI writes sentences of its
//! own, in its user's time format; the command line prints `message` and `hint`.

use jiff::{SignedDuration, Timestamp};

use crate::domain::insight::finding_code::FindingCode;
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// How urgent a finding is.
    // In the order of urgency.
    #[schemars(rename = "SeverityName")]
    wire pub enum Severity {
        // Something is broken or will be within days: agents are, or will be, left outside.
        Critical = "critical",
        // Somebody has to act in the coming weeks.
        Soon = "soon",
        // Nothing breaks; it should be put in order.
        Tidy = "tidy",
    }
}

/// Time to renew a certificate in peace: until then nobody is bothered with its end.
pub const EXPIRY_SOON: SignedDuration = SignedDuration::from_hours(60 * 24);
/// From here on the log tells of an expiry every day, for those who plan ahead.
pub const EXPIRY_LOGGED: SignedDuration = SignedDuration::from_hours(90 * 24);
/// From here on an expiry is urgent.
pub const EXPIRY_CRITICAL: SignedDuration = SignedDuration::from_hours(7 * 24);

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is called.
    pub code: FindingCode,
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
        code: FindingCode,
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
    pub fn expiry(code: FindingCode, what: &str, at: Timestamp, now: Timestamp, hint: &str) -> Option<Self> {
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

/// Something that ends one day and has to be renewed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What the finding is called once the end is near.
    pub code: FindingCode,
    /// What ends; begins a sentence.
    pub what: &'static str,
    /// When.
    pub at: Timestamp,
    /// What to do about it, as a clause.
    pub hint: &'static str,
}

impl Ending {
    /// Once the end is near enough to be somebody's business.
    pub fn finding(&self, now: Timestamp) -> Option<Finding> {
        Finding::expiry(self.code, self.what, self.at, now, self.hint)
    }

    /// Whether the log says so every day.
    pub fn is_logged(&self, now: Timestamp) -> bool {
        self.at.duration_since(now) < EXPIRY_LOGGED
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
            let found = Finding::expiry(FindingCode::RootExpiry, "The thing", at, now, "Renew it.");
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
        let (disk, clock) = (FindingCode::Disk, FindingCode::Clock);
        let sorted = ranked(vec![
            find(disk, Severity::Tidy),
            find(clock, Severity::Critical),
            find(disk, Severity::Critical).at(at(9)),
            find(disk, Severity::Critical).at(at(10)),
            find(disk, Severity::Soon),
        ]);
        let order: Vec<_> = sorted.iter().map(|it| (it.severity, it.at.map(Timestamp::as_second))).collect();
        let expected = [
            (Severity::Critical, Some(9)),
            (Severity::Critical, Some(10)),
            (Severity::Critical, None),
            (Severity::Soon, None),
            (Severity::Tidy, None),
        ];
        assert_eq!(order, expected);
    }
}
