//! What the command takes, what it prints, and that it ends.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;

use crate::cli::Global;
use crate::cli::output::error::CliError;
use crate::cli::selftest::drawing::drawing;
use crate::cli::selftest::place::{Place, usual_directory};
use crate::cli::selftest::stages::COMING_BACK;
use crate::cli::selftest::trial::{STAGES, more_at_the_kill, stage_bound, try_out};
use crate::durable::{Unfinished, WORLD_READABLE};
use crate::process::{OnHangup, allow_descriptors, stop_on_signals};

/// Try this program out on this machine: enroll, rotate, revoke, kill -9 and come back, proved and measured
///
/// Starts a server of its own on 127.0.0.1, with a store of its own in a temporary directory, and lets agents come as real
/// ones do: over TLS, with keys of their own. Each enrolls with an enrollment secret, opens a session and rotates; some
/// are revoked while the others stay; the server is killed with kill -9 while more enroll, and started again; all that
/// are left come back at once. Nothing of another server is read or touched (--data-dir and --server don't count here), and nothing stays
/// behind. Agents keep their identities in memory, so the disk is the server's alone; the processors are shared, so a
/// server with these to itself does better.
///
/// Exit status 0: everything that was to be proved held. 1: something did not, or the test could not be finished.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SelftestCommand {
    /// How many agents come
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(i64::from(AGENTS_MIN)..=5000))]
    agents: u16,
    /// On which disk the temporary store lies, which is half of the answer [default: TMPDIR, else /var/tmp]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Draw the report into this file, too, in place of what is there
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// One to revoke, and one to stay.
const AGENTS_MIN: u16 = 2;

const EXAMPLES: &str = "Examples:
  muster selftest
  muster selftest --agents 2000 --directory /var/lib --svg selftest.svg
  muster selftest --json | jq '.steps[] | {step, per_second, p99_ms}'";

/// What both processes need besides connections.
const DESCRIPTORS_BESIDES: u64 = 64;

impl SelftestCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        global.log_if_asked()?;
        check_descriptors(allow_descriptors()?, self.agents)?;
        let svg = match &self.svg {
            Some(path) => Some(
                Unfinished::begin_replacing(path).map_err(|error| CliError::cannot_write(path, &error))?,
            ),
            None => None,
        };
        let stop =
            stop_on_signals(OnHangup::Explain("SIGHUP changes nothing: the test ends by itself"), || {})?;
        let place = Place::make(&self.directory.unwrap_or_else(usual_directory))?;
        let whole = stage_bound(self.agents) * STAGES;
        let tried = tokio::select! {
            tried = timeout(whole, try_out(&place, self.agents)) => tried,
            () = stop.cancelled() => {
                place.clear()?;
                return Err(CliError::new("the test was interrupted; nothing of it is left"));
            }
        };
        let tried = tried.unwrap_or_else(|_| Err(too_slow(whole)));
        place.clear()?;
        let report = tried?;
        if global.json {
            report.print_json()?;
        } else {
            report.print()?;
        }
        if let (Some(mut file), Some(path)) = (svg, &self.svg) {
            let written = file.write_all(drawing(&report).as_bytes());
            let written = written.and_then(|()| file.finish_with_mode(WORLD_READABLE));
            written.map_err(|error| CliError::cannot_write(path, &error))?;
        }
        report.verdict()
    }
}

fn too_slow(whole: Duration) -> CliError {
    CliError::new(format!("the test was not over after {} s", whole.as_secs()))
        .hint("try fewer agents, with --agents, or another disk, with --directory")
}

/// Refuses more agents than connections can be open.
fn check_descriptors(may: u64, agents: u16) -> Result<(), CliError> {
    let needed = descriptors_for(agents);
    if may >= needed {
        return Ok(());
    }
    let fits = (AGENTS_MIN..agents).rev().find(|&fewer| descriptors_for(fewer) <= may);
    let fewer = fits.map(|fewer| format!("try --agents {fewer}, or ")).unwrap_or_default();
    Err(CliError::new(format!(
        "{agents} agents need {needed} file descriptors, and this process may open {may}"
    ))
    .hint(format!("{fewer}raise the hard limit first: ulimit -Hn {needed}, as root")))
}

/// The server lets agents have half of its descriptors: for the session of each, and for those that are being opened.
fn descriptors_for(agents: u16) -> u64 {
    let sessions = u64::from(agents) + u64::from(more_at_the_kill(agents));
    2 * (sessions + u64::from(agents.min(COMING_BACK))) + DESCRIPTORS_BESIDES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_agents_than_descriptors_are_refused_with_a_number_that_fits() {
        assert!(check_descriptors(1024, 200).is_ok());
        let refused = check_descriptors(1024, 5000).unwrap_err();
        assert!(refused.message.contains("11488"), "{refused:?}");
        assert!(refused.hint.unwrap().contains("--agents 213,"));
        assert!(check_descriptors(1024, 213).is_ok());
        assert!(!check_descriptors(64, 2).unwrap_err().hint.unwrap().contains("--agents"));
    }
}
