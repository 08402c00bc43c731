//! `muster agent outputs --unit`: what the unit needs to know of this machine, as a drop-in: its user, the folders that
//! it may write to, the group of the socket.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::agent::account::{AccountKind, name_of};
use crate::agent::install::unit::{NotForAUnit, plain};
use crate::agent::outputs::config::OutputsConfig;

pub const OUTPUTS_UNIT: &str = "muster-agent-outputs.service";
/// What the unit reads.
const CONFIG_USUAL: &str = "/etc/muster/outputs.yml";
/// What `ProtectHome=` is about (systemd.exec(5)).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// The drop-in for these settings.
pub fn drop_in(config: &OutputsConfig, path: &Path, program: &Path) -> Result<String, NotForAUnit> {
    let mut lines = vec![
        format!(
            "# Put this to /etc/systemd/system/{OUTPUTS_UNIT}.d/outputs.conf, then: systemctl daemon-reload"
        ),
        "[Service]".to_owned(),
    ];
    if path != Path::new(CONFIG_USUAL) {
        lines.push("ExecStart=".to_owned());
        lines.push(format!("ExecStart={} agent outputs --config {}", plain(program)?, plain(path)?));
    }
    if let Some(user) = user(config) {
        let socket = fs::symlink_metadata(&config.socket).ok().map(|found| found.gid());
        lines.push(
            "# It owns every folder and gives no file away, so it needs none of root's rights.".to_owned(),
        );
        lines.push(format!("User={}", name_of(AccountKind::User, user)));
        lines.push("CapabilityBoundingSet=".to_owned());
        match socket {
            Some(group) => lines.push(format!("SupplementaryGroups={}", name_of(AccountKind::Group, group))),
            None => lines
                .push("# The socket is not there now; name its group here: SupplementaryGroups=".to_owned()),
        }
    }
    let folders = || config.outputs.iter().map(|output| &output.dir).chain(&config.state_dir);
    // Behind a hyphen: where one is missing the unit starts all the same, and looks after the others.
    for folder in folders() {
        lines.push(format!("ReadWritePaths=-{}", plain(folder)?));
    }
    let mut at_home = folders().filter(|folder| is_at_home(folder)).peekable();
    if at_home.peek().is_some() {
        lines.push("# Of the homes it sees these folders, and nothing else.".to_owned());
        lines.push("ProtectHome=tmpfs".to_owned());
    }
    for folder in at_home {
        lines.push(format!("BindPaths=-{}", plain(folder)?));
    }
    Ok(lines.join("\n") + "\n")
}

/// Whether `ProtectHome=` hides it.
fn is_at_home(folder: &Path) -> bool {
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    HOMES.iter().any(|home| folder.starts_with(home) || real.starts_with(home))
}

/// The user that owns every folder, if that is not root, and if nothing is to be given to somebody else.
fn user(config: &OutputsConfig) -> Option<u32> {
    let owners = config.outputs.iter().map(|output| {
        let owner = fs::metadata(&output.dir).ok()?.uid();
        (output.owner.is_none() && output.group.is_none()).then_some(owner)
    });
    let owners: BTreeSet<_> = owners.collect::<Option<_>>()?;
    let mut owners = owners.into_iter();
    owners.next().filter(|owner| *owner != 0 && owners.next().is_none())
}
