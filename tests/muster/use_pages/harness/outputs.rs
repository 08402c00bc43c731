//! `muster agent outputs` as the unit `muster-agent-outputs`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::confined::like_the_unit;
use super::page::{Kind, Page};
use super::stage::Stage;
use super::unit::{Reload, Unit};
use crate::support::process::MUSTER;

/// What the unit reads.
pub const SETTINGS: &str = "/etc/muster/outputs.yml";

/// Makes the unit known; a page's own commands start it.
pub fn can_be_kept(stage: &Stage) {
    // It looks for programs without a path where a system has them, whatever the environment says.
    let systemctl = stage.root().join("bin/systemctl");
    stage.say("[\"systemctl\"", format!("[\"{}\"", systemctl.display()));
    let config = stage.path(SETTINGS);
    let state = stage.path("/var/lib/muster-agent-outputs");
    let root = stage.root().to_owned();
    // Where the stand-in of systemd is asked, and `/tmp`.
    let writable = [state.clone(), root.join("requests"), root.join("tmp")];
    let words = [MUSTER, "agent", "outputs", "--config", config.to_str().unwrap()].map(str::to_owned);
    let shell = stage.template("sh", &[]);
    let start = move || {
        std::fs::create_dir_all(&state).unwrap();
        let mut command = shell();
        command.args(["-c", &like_the_unit(&root, &writable), "sh"]).args(&words);
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

/// What a page takes for granted that links `docs/outputs.md`: the agent's socket is open.
#[track_caller]
pub fn were_prepared(stage: &Stage, page: &Page) {
    assert!(page.text.contains("](../outputs.md)"), "docs/use/{}.md links no outputs.md", page.name);
    let agent = std::fs::read_to_string(stage.path("/etc/muster/agent.yml")).unwrap_or_default();
    if agent.contains("workload_api:") {
        return;
    }
    let page = Page::of_outputs();
    for block in &page.blocks {
        let tells_the_agent = block.kind == Kind::AddTo("/etc/muster/agent.yml".to_owned());
        if tells_the_agent || block.text == "systemctl restart muster-agent\n" {
            stage.play(&page, block);
        }
    }
}
