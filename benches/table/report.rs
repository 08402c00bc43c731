//! The report: everything that a run has found out, as it is written down.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Serialize;

use crate::chart;
use crate::machine::Machine;
use crate::outcome::Outcome;

/// The names of its fields are in `docs/performance.md`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: u32,
    /// How long one server was under load in one scenario of one round, at most.
    pub phase_s: u64,
    pub clients: u8,
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// How the figures came about.
    pub fn run(&self) -> String {
        let Self { rounds, phase_s, clients, .. } = self;
        let s = if *rounds == 1 { "" } else { "s" };
        format!("medians of {rounds} round{s} of {phase_s} s, {clients} clients on the same machine")
    }

    /// Writes the files and says which.
    pub fn write(&self) -> io::Result<[PathBuf; 2]> {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let directory = Path::new(&target).join("bench");
        fs::create_dir_all(&directory)?;
        let files = ["table.json", "table.svg"].map(|name| directory.join(name));
        fs::write(&files[0], serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(&files[1], chart::svg(self))?;
        Ok(files)
    }
}
