//! `muster agent outputs` as the unit `muster-agent-outputs`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::stage::Stage;
use super::unit::{Reload, Unit};
use crate::support::process::MUSTER;

/// Makes the unit known; a page's own commands start it.
pub fn can_be_kept(stage: &Stage) {
    // It looks for programs without a path where a system has them, whatever the environment says.
    let systemctl = stage.root().join("bin/systemctl");
    stage.say("[\"systemctl\"", format!("[\"{}\"", systemctl.display()));
    let config = stage.path("/etc/muster/outputs.yml");
    let state = stage.path("/var/lib/muster-agent-outputs");
    let run = stage.template(MUSTER, &["agent", "outputs", "--config", config.to_str().unwrap()]);
    let start = move || {
        let mut command = run();
        command.env("STATE_DIRECTORY", &state);
        command
    };
    let ready = move || dirs(&config).iter().all(|dir| dir.join("crl.pem").exists());
    stage.units.add("muster-agent-outputs", Unit::new(Reload::Not, start).ready(ready));
}

fn dirs(config: &Path) -> Vec<PathBuf> {
    let config: Value = yaml_serde::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    let outputs = config["outputs"].as_array().unwrap().iter();
    outputs.map(|output| output["dir"].as_str().unwrap().into()).collect()
}
