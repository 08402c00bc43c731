//! The report: what was proved and measured, as a text of 80 columns and as one JSON document.

use serde::Serialize;

use crate::cli::output::error::CliError;
use crate::cli::output::table::{made, print_fields, print_table};
use crate::cli::output::values::print;
use crate::cli::selftest::figures::StepFigures;

/// What the whole test has found. Fields are in the order in which they are printed; units are in their names.
#[derive(Debug, Serialize)]
pub(crate) struct SelftestReport {
    pub(crate) passed: bool,
    pub(crate) version: &'static str,
    pub(crate) agents: usize,
    pub(crate) processors: usize,
    pub(crate) directory: String,
    pub(crate) seconds: f64,
    pub(crate) steps: Vec<StepFigures>,
    pub(crate) rotations: RotationWays,
    pub(crate) memory: MemoryFigures,
    pub(crate) disk: DiskFigures,
    pub(crate) proofs: Vec<ProofOutcome>,
}

/// By which way certificates came in the steps "rotate" and "storm".
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct RotationWays {
    pub(crate) over_session: usize,
    pub(crate) over_https: usize,
}

/// Of the server. Null where the machine does not show it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct MemoryFigures {
    pub(crate) idle_resident_mib: Option<f64>,
    pub(crate) live_resident_mib: Option<f64>,
    pub(crate) per_session_kib: Option<f64>,
}

/// Of the directory that the store lay in.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct DiskFigures {
    /// It is no disk at all.
    pub(crate) in_memory: bool,
    /// Of a write of 4 KiB until it is there for good.
    pub(crate) sync_p50_ms: Option<f64>,
    pub(crate) sync_p99_ms: Option<f64>,
    /// At the kill -9.
    pub(crate) change_log_mib: f64,
    /// At the end.
    pub(crate) store_mib: f64,
}

/// Something that was to be proved, and whether it held.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ProofOutcome {
    pub(crate) proof: &'static str,
    pub(crate) what: &'static str,
    pub(crate) held: bool,
    pub(crate) checked: usize,
    pub(crate) failed: usize,
    pub(crate) first_failure: Option<String>,
}

impl ProofOutcome {
    /// From what was found of each.
    pub(crate) fn of(
        proof: &'static str,
        what: &'static str,
        found: impl IntoIterator<Item = Result<(), String>>,
    ) -> Self {
        let mut outcome = Self { proof, what, held: true, checked: 0, failed: 0, first_failure: None };
        for found in found {
            outcome.checked += 1;
            if let Err(why) = found {
                outcome.failed += 1;
                outcome.first_failure.get_or_insert(why);
            }
        }
        // What nothing was found of is not proved.
        outcome.held = outcome.checked > 0 && outcome.failed == 0;
        outcome
    }
}

impl SelftestReport {
    pub(crate) fn print_json(&self) -> Result<(), CliError> {
        print(&format!("{}\n", serde_json::to_string_pretty(self)?))
    }

    pub(crate) fn print(&self) -> Result<(), CliError> {
        let Self { version, agents, processors, directory, seconds, .. } = self;
        print(&format!(
            "muster {version}: {agents} agents, {processors} processors, {seconds:.0} s, store in {directory}\n\n"
        ))?;
        let columns = [
            made("STEP", |step: &StepFigures| step.step.to_owned()),
            made("COUNT", |step| step.count.to_string()),
            made("AT A TIME", |step| step.at_a_time.to_string()),
            made("PER SECOND", |step| tenths(step.per_second)),
            made("P50 MS", |step| tenths(step.p50_ms)),
            made("P99 MS", |step| tenths(step.p99_ms)),
            made("LONGEST MS", |step| tenths(step.longest_ms)),
        ];
        print_table(&self.steps, &columns, "Nothing was measured.")?;
        print("\n")?;
        let columns = [
            made("HELD", |proof: &ProofOutcome| if proof.held { "yes" } else { "NO" }.to_owned()),
            made("CHECKED", |proof| proof.checked.to_string()),
            made("PROOF", |proof| proof.what.to_owned()),
        ];
        print_table(&self.proofs, &columns, "Nothing was proved.")?;
        print("\n")?;
        let fields = [made("Rotations", ways), made("Memory", memory), made("Disk", disk)];
        print_fields(self, &fields)
    }

    /// An error when something did not hold.
    pub(crate) fn verdict(&self) -> Result<(), CliError> {
        let failed: Vec<_> = self.proofs.iter().filter(|proof| !proof.held).collect();
        let Some(first) = failed.first() else { return Ok(()) };
        let why = first.first_failure.as_deref().unwrap_or("nothing could be checked");
        Err(CliError::new(format!(
            "{} of {} proofs did not hold; the first, {}: {} of {}: {why}",
            failed.len(),
            self.proofs.len(),
            first.proof,
            first.failed,
            first.checked
        ))
        .hint(
            "run it again, also on another disk (--directory); if it fails again, put no server on this machine, and report it with \
             this output",
        ))
    }
}

fn tenths(number: Option<f64>) -> String {
    number.map(|number| format!("{number:.1}")).unwrap_or_default()
}

pub(crate) fn ways(report: &SelftestReport) -> String {
    let RotationWays { over_session, over_https } = report.rotations;
    format!("{over_session} over the session, {over_https} over HTTPS")
}

pub(crate) fn memory(report: &SelftestReport) -> String {
    let MemoryFigures { idle_resident_mib: idle, live_resident_mib: live, per_session_kib: each } =
        report.memory;
    match (idle, live, each) {
        (Some(idle), Some(live), Some(each)) => {
            format!("{idle:.1} MiB idle, {live:.1} MiB with all sessions ({each:.0} KiB each)")
        }
        _ => "not shown by this machine".to_owned(),
    }
}

pub(crate) fn disk(report: &SelftestReport) -> String {
    let DiskFigures { in_memory, sync_p50_ms, sync_p99_ms, change_log_mib, store_mib } = report.disk;
    let sync = match (in_memory, sync_p50_ms, sync_p99_ms) {
        (true, ..) => "in memory: NO DISK WAS MEASURED".to_owned(),
        (false, Some(p50), Some(p99)) => format!("sync of 4 KiB {p50:.1} ms, p99 {p99:.1}"),
        _ => "sync not measured".to_owned(),
    };
    format!("store {store_mib:.1} MiB, change log {change_log_mib:.1} MiB; {sync}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_of_nothing_is_none() {
        let held = |found: &[Result<(), String>]| ProofOutcome::of("p", "what", found.iter().cloned());
        assert!(held(&[Ok(()), Ok(())]).held);
        assert!(!held(&[]).held);
        let failed = held(&[Ok(()), Err("first".to_owned()), Err("second".to_owned())]);
        assert_eq!((failed.held, failed.checked, failed.failed), (false, 3, 2));
        assert_eq!(failed.first_failure.as_deref(), Some("first"));
    }

    #[test]
    fn a_proof_that_did_not_hold_is_an_error_that_says_which() {
        let mut report = SelftestReport {
            passed: true,
            version: "1",
            agents: 2,
            processors: 1,
            directory: "/d".to_owned(),
            seconds: 1.0,
            steps: Vec::new(),
            rotations: RotationWays::default(),
            memory: MemoryFigures::default(),
            disk: DiskFigures::default(),
            proofs: vec![ProofOutcome::of("fine", "", [Ok(())])],
        };
        assert!(report.verdict().is_ok());
        report.proofs.push(ProofOutcome::of("revoked_stay_out", "", [Err("web-1 got in".to_owned())]));
        let error = report.verdict().unwrap_err();
        assert_eq!(
            error.message,
            "1 of 2 proofs did not hold; the first, revoked_stay_out: 1 of 1: web-1 got in"
        );
        assert!(error.hint.is_some());
    }
}
