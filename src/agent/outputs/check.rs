//! `muster agent outputs --check`: what would be done and what is wrong, without writing anything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::agent::outputs::config::{OutputConfig, OutputsConfig};
use crate::agent::outputs::difference::{plan, rights};
use crate::agent::outputs::files::directory::OutputDirectory;
use crate::agent::outputs::files::set::password;
use crate::agent::outputs::on_change::command::program;
use crate::agent::outputs::record::Records;
use crate::agent::outputs::run::Provider;
use crate::agent::outputs::source::material::Material;
use crate::clock::Clock;
use crate::error_chain::chain;

/// How long the provider may take.
const WITHIN: Duration = Duration::from_secs(12);

/// What was found out, by field as it is printed with `--json`.
#[derive(Debug, Serialize)]
pub struct OutputsCheck {
    pub socket: PathBuf,
    /// Why nothing comes from there.
    pub provider_problem: Option<String>,
    pub spiffe_id: Option<String>,
    pub outputs: Vec<OutputCheck>,
}

/// The same of one output.
#[derive(Debug, Serialize)]
pub struct OutputCheck {
    pub dir: PathBuf,
    pub format: &'static str,
    pub problems: Vec<String>,
    /// In one sentence; nothing, where that can't be known.
    pub would: Option<String>,
    pub files: Vec<String>,
}

impl OutputsCheck {
    pub fn is_well(&self) -> bool {
        self.provider_problem.is_none() && self.outputs.iter().all(|output| output.problems.is_empty())
    }

    pub fn to_text(&self) -> String {
        let mut text = match (&self.provider_problem, &self.spiffe_id) {
            (Some(problem), _) => format!("{}: nothing comes from it: {problem}\n", self.socket.display()),
            (None, id) => format!("{}: {}\n", self.socket.display(), id.as_deref().unwrap_or("answers")),
        };
        for output in &self.outputs {
            text += &format!("{} ({})\n", output.dir.display(), output.format);
            for problem in &output.problems {
                text += &format!("  wrong: {problem}\n");
            }
            if let Some(would) = &output.would {
                text += &format!("  would: {would}\n");
            }
        }
        text
    }
}

/// Asks the provider once, and looks at every output.
pub async fn check(config: &OutputsConfig, clock: Arc<dyn Clock>) -> OutputsCheck {
    let records = Records::of(config);
    let mut provider = Provider::listen_to(&config.socket, &clock);
    let first = provider.first(WITHIN).await;
    let material = first.as_ref().ok();
    let look = |output: &OutputConfig| look(output, &records, material.map(Arc::as_ref));
    OutputsCheck {
        socket: config.socket.clone(),
        spiffe_id: material.map(|material| material.answer.spiffe_id.clone()),
        outputs: config.outputs.iter().map(look).collect(),
        provider_problem: first.as_ref().err().cloned(),
    }
}

fn look(output: &OutputConfig, records: &Records, material: Option<&Material>) -> OutputCheck {
    let mut problems = Vec::new();
    if let Some(words) = &output.on_change {
        problems.extend(program(words.first().map_or("", String::as_str)).err().map(|error| chain(&error)));
    }
    let planned = material.map(|material| plan(output, records, material));
    let mut planned = match planned {
        Some(Ok(plan)) => Some(plan),
        Some(Err(error)) => {
            problems.push(chain(&error));
            None
        }
        None => {
            // What can be seen without the provider.
            problems.extend(rights(output).err().map(|error| chain(&error)));
            problems.extend(OutputDirectory::look(&output.dir).err().map(|error| chain(&error)));
            if output.password_file.is_some() {
                problems.extend(password(output).err().map(|error| chain(&error)));
            }
            None
        }
    };
    let trouble = planned.as_mut().and_then(|plan| plan.lists_trouble.take());
    problems.extend(trouble.map(|why| format!("crl.pem stays as it is, or away: {why}")));
    let would = planned.as_ref().map(|plan| {
        let writes = match (plan.differs.identity, plan.differs.lists, plan.differs.damaged) {
            (true, true, _) => "write all files",
            (true, false, _) => "write all files, for another certificate or other settings",
            (false, true, _) => "write all files, for other lists or denied serials",
            (false, false, true) => "write all files, because something is missing",
            (false, false, false) => "write nothing: the files are up to date",
        };
        match &output.on_change {
            Some(words) if plan.would_run => format!("{writes}; run {}", words.join(" ")),
            _ => writes.to_owned(),
        }
    });
    let files = planned.map(|plan| plan.files).unwrap_or_default();
    OutputCheck { dir: output.dir.clone(), format: output.format.as_str(), problems, would, files }
}
