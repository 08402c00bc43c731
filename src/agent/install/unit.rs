//! The systemd unit of an agent, with the paths of this machine filled in.
//!
//! Only paths that need no quoting are taken. A path can then add nothing to the unit: no directive, no second
//! word, no specifier and no variable.

use std::path::{Component, Path, PathBuf};

/// The unit as it stands in `systemd/`.
const TEMPLATE: &str = include_str!("../../../systemd/muster-agent.service");
/// Where systemd keeps what services remember.
const STATE: &str = "/var/lib";
/// What the template keeps the identity in.
pub const DEFAULT_DIR: &str = "/var/lib/muster-agent/identity";
pub const NAME: &str = "muster-agent.service";
pub const CONFIG: &str = "/etc/muster/agent.yml";
/// Where the template expects the program.
pub const OWN_PROGRAM: &str = "/usr/local/bin/muster";
/// Where a distribution's package puts it.
pub const PACKAGED_PROGRAM: &str = "/usr/bin/muster";

/// Why a path can't stand in the unit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotForAUnit {
    #[error("{} can't stand in a systemd unit: only letters, digits and / . _ - @ + are taken", .0.display())]
    Characters(PathBuf),
    #[error("{} is not an absolute path without '..'", .0.display())]
    NotAbsolute(PathBuf),
    #[error("{} is not below /var/lib, the only place where a service with a user of its own keeps its state", .0.display())]
    NotState(PathBuf),
    #[error("the group can't stand in a systemd unit: only letters, digits and . _ - are taken")]
    Group,
}

/// The unit that runs `program` with an identity in `dir`, and answers relying parties of a group.
pub fn render(program: &Path, dir: &Path, relying_party: Option<&str>) -> Result<String, NotForAUnit> {
    let group = match relying_party.map(plain_name).transpose()? {
        Some(group) => format!("SupplementaryGroups={group}\n"),
        None => String::new(),
    };
    let program = plain(program)?;
    let state = state_directory(dir)?;
    let lines = TEMPLATE.lines().map(|line| match line.split_once('=') {
        Some(("ExecStart", _)) => format!("ExecStart={program} agent run --config {CONFIG}\n"),
        Some(("StateDirectory", kept)) if dir == Path::new(DEFAULT_DIR) => format!("StateDirectory={kept}\n"),
        Some(("StateDirectory", _)) => format!("StateDirectory={state}\n"),
        // Its user may then give the socket to that group.
        Some(("DynamicUser", yes)) => format!("DynamicUser={yes}\n{group}"),
        _ => format!("{line}\n"),
    });
    Ok(lines.collect())
}

/// The directory as systemd names it. Nothing above it is the service's, so another program's state stays its own.
fn state_directory(dir: &Path) -> Result<&str, NotForAUnit> {
    plain(dir)?;
    let below = dir.strip_prefix(STATE).ok().and_then(Path::to_str).filter(|below| !below.is_empty());
    below.ok_or_else(|| NotForAUnit::NotState(dir.to_owned()))
}

pub(crate) fn plain(path: &Path) -> Result<&str, NotForAUnit> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "/._-@+".contains(c);
    let text = path.to_str().filter(|text| text.chars().all(legal));
    let text = text.ok_or_else(|| NotForAUnit::Characters(path.to_owned()))?;
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(NotForAUnit::NotAbsolute(path.to_owned()));
    }
    Ok(text)
}

/// A group's name or number, as it stands.
fn plain_name(name: &str) -> Result<&str, NotForAUnit> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = !name.is_empty() && name.chars().all(legal) && !name.starts_with('-');
    if good { Ok(name) } else { Err(NotForAUnit::Group) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_paths_give_the_unit_as_it_is() {
        assert_eq!(render(Path::new(OWN_PROGRAM), Path::new(DEFAULT_DIR), None).unwrap(), TEMPLATE);
    }

    #[test]
    fn other_paths_change_their_lines_and_nothing_else() {
        let unit =
            render(Path::new("/opt/muster-1.0+b@x/muster"), Path::new("/var/lib/app/id"), None).unwrap();
        let changed: Vec<_> =
            unit.lines().zip(TEMPLATE.lines()).filter(|(new, old)| new != old).map(|(new, _)| new).collect();
        let expected = [
            "ExecStart=/opt/muster-1.0+b@x/muster agent run --config /etc/muster/agent.yml",
            "StateDirectory=app/id",
        ];
        assert_eq!(changed, expected);
        assert_eq!(unit.lines().count(), TEMPLATE.lines().count());
    }

    #[test]
    fn a_group_of_relying_parties_adds_one_line() {
        let unit = |group| render(Path::new(OWN_PROGRAM), Path::new(DEFAULT_DIR), Some(group));
        let added = unit("www-data").unwrap();
        assert_eq!(added.replacen("SupplementaryGroups=www-data\n", "", 1), TEMPLATE);
        for bad in ["", "a b", "-x", "a\nUser=root", "%i"] {
            assert_eq!(unit(bad), Err(NotForAUnit::Group), "{bad:?}");
        }
    }

    #[test]
    fn paths_can_not_say_more_than_a_path() {
        let dir = Path::new(DEFAULT_DIR);
        for bad in ["\n", "\r", "%n", "$HOME", "\"", "'", " ", "\\", ";", ":", "é", "\u{0}", "*"] {
            let path = PathBuf::from(format!("/var/lib/a{bad}b/muster"));
            assert_eq!(render(&path, dir, None), Err(NotForAUnit::Characters(path.clone())), "{bad:?}");
            assert_eq!(
                render(Path::new(OWN_PROGRAM), &path, None),
                Err(NotForAUnit::Characters(path.clone())),
                "{bad:?}"
            );
        }
        assert!(matches!(render(Path::new("muster"), dir, None), Err(NotForAUnit::NotAbsolute(_))));
        for bad in ["/var/lib", "/srv/identity", "/var/lib/../x", "/var/library/x"] {
            assert!(render(Path::new(OWN_PROGRAM), Path::new(bad), None).is_err(), "{bad}");
        }
    }
}
