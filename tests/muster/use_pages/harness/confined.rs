//! The restrictions of `muster-agent-outputs.service` and its drop-ins, as far as the machine that runs the tests can put
//! them on a program: umask, capabilities, no network, and folders to write in. What `on_change` runs inherits them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::geteuid;

/// A unit's settings, those of its drop-ins last.
struct Settings(Vec<(String, String)>);

impl Settings {
    fn of(stage: &Path) -> Self {
        let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/muster-agent-outputs.service");
        let drop_ins = stage.join("etc/systemd/system/muster-agent-outputs.service.d");
        let mut files: Vec<_> =
            fs::read_dir(drop_ins).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.insert(0, unit.into());
        let lines: String = files.iter().map(|file| fs::read_to_string(file).unwrap() + "\n").collect();
        let setting = |line: &str| line.split_once('=').map(|(key, value)| (key.into(), value.into()));
        Self(lines.lines().filter(|line| !line.starts_with('#')).filter_map(setting).collect())
    }

    /// All words of a list; an empty value forgets those before it.
    fn words(&self, key: &str) -> Vec<&str> {
        let mut words = Vec::new();
        for (_, value) in self.0.iter().filter(|(name, _)| name == key) {
            if value.is_empty() {
                words.clear();
            }
            words.extend(value.split_whitespace());
        }
        words
    }

    fn last(&self, key: &str) -> &str {
        self.words(key).last().copied().unwrap_or_else(|| panic!("the unit has no {key}"))
    }

    fn is_on(&self, key: &str) -> bool {
        self.last(key) == "yes"
    }
}

/// Lines of a shell that become the program of its arguments, confined like the unit; `also` is writable beside the unit's
/// folders.
pub fn like_the_unit(stage: &Path, also: &[PathBuf]) -> String {
    let settings = Settings::of(stage);
    let mut lines = format!("umask {}\ncd /\n", settings.last("UMask"));
    assert!(settings.is_on("NoNewPrivileges") && settings.is_on("PrivateNetwork"));
    assert_eq!(settings.last("ProtectSystem"), "strict");
    if !is_possible() {
        return lines + "exec \"$@\"\n";
    }
    let root = stage.display();
    let mut inside = format!("set -e\nmount --bind {root} {root}\nmount -o remount,bind,ro {root}\n");
    for folder in also.iter().map(|path| path.to_str().unwrap()).chain(settings.words("ReadWritePaths")) {
        // With a hyphen before it, one that is not there is passed over.
        if folder.strip_prefix('-').is_some_and(|folder| !Path::new(folder).exists()) {
            continue;
        }
        let folder = folder.trim_start_matches('-');
        inside += &format!("mount --bind {folder} {folder}\nmount -o remount,bind,rw {folder}\n");
    }
    let kept: String = settings
        .words("CapabilityBoundingSet")
        .iter()
        .fold(String::new(), |kept, name| kept + ",+" + &name.trim_start_matches("CAP_").to_lowercase());
    inside += &format!("exec setpriv --bounding-set=-all{kept} --inh-caps=-all --no-new-privs \"$@\"");
    lines += &format!("exec unshare --net --mount sh -c '{inside}' sh \"$@\"\n");
    lines
}

/// Whether whoever runs the tests may take such rights away: root outside of a narrow container.
fn is_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let room = tempfile::tempdir().unwrap();
        let room = room.path().display();
        let lines = format!(
            "mount --bind {room} {room} && mount -o remount,bind,ro {room} && \
             exec setpriv --bounding-set=-all,+chown --inh-caps=-all --no-new-privs true"
        );
        let tried = Command::new("unshare").args(["--net", "--mount", "sh", "-c", &lines]).output();
        let possible = geteuid().is_root() && tried.is_ok_and(|tried| tried.status.success());
        if !possible {
            eprintln!("on_change runs without the unit's restrictions but for its umask: that takes root");
        }
        possible
    })
}

#[test]
fn who_is_confined_has_what_the_unit_leaves_it() {
    let stage = tempfile::tempdir().unwrap();
    let folder = |name: &str| stage.path().join(name);
    for name in ["etc/systemd/system/muster-agent-outputs.service.d", "kept", "named", "other"] {
        fs::create_dir_all(folder(name)).unwrap();
    }
    let drop_in = format!(
        "[Service]\nReadWritePaths=-{}\nReadWritePaths=-{}\n",
        folder("named").display(),
        folder("gone").display()
    );
    fs::write(folder("etc/systemd/system/muster-agent-outputs.service.d/outputs.conf"), drop_in).unwrap();
    let does = |lines: &str| {
        let script = like_the_unit(stage.path(), &[folder("kept")]);
        let mut command = Command::new("sh");
        let lines = format!("cd {}\n{lines}", stage.path().display());
        command.args(["-c", &script, "sh", "sh", "-ec", &lines]);
        command.output().unwrap().status.success()
    };
    assert!(does("touch kept/a named/a; [ \"$(stat -c %a named/a)\" = 600 ]"));
    if is_possible() {
        assert!(does("chmod 644 named/a; chown 1:1 named/a; echo >> named/a"));
        for forbidden in ["touch other/a", "chmod 600 named/a", "setpriv --clear-groups true"] {
            assert!(!does(forbidden), "{forbidden}");
        }
    }
}
