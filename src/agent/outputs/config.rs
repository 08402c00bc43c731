//! `outputs.yml`: which files are kept where, in which form, for whom, and what is run when they change.
//!
//! What it says is run as root on many machines, so it is read only if nobody else could have written it. A mistake is
//! reported with its key and line.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::agent::config::place_and_problem;
use crate::domain::duration;
use crate::shell::quoted;

/// Where the agent's unit keeps the socket.
const SOCKET_USUAL: &str = "/run/muster-agent/workload.sock";
/// More text than any list of outputs needs.
const LENGTH_MAX: u64 = 256 * 1024;
const OUTPUTS_MAX: usize = 64;
/// Words of a command.
const WORDS_MAX: usize = 64;
const KEY_MODE_USUAL: u32 = 0o600;
/// A group is named so that it can read.
const KEY_MODE_OF_A_GROUP: u32 = 0o640;
const MIN_INTERVAL_USUAL: Duration = Duration::from_secs(5);
const MIN_INTERVAL_MAX: Duration = Duration::from_secs(86_400);
const TIMEOUT_USUAL: Duration = Duration::from_secs(60);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// What is kept.
#[derive(Debug)]
pub struct OutputsConfig {
    /// Where the Workload API is served.
    pub socket: PathBuf,
    /// Where what has been done is remembered, if not in the usual place.
    pub state_dir: Option<PathBuf>,
    pub outputs: Vec<OutputConfig>,
}

/// One directory of files.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "OutputAsWritten")]
pub struct OutputConfig {
    pub dir: PathBuf,
    pub format: OutputFormat,
    /// Names, or numbers. Without them, who runs this.
    pub owner: Option<String>,
    pub group: Option<String>,
    /// Of files that hold the key.
    pub key_mode: u32,
    /// The password of PKCS#12 files.
    pub password_file: Option<PathBuf>,
    /// A program and its arguments.
    pub on_change: Option<Vec<String>>,
    pub min_interval: Duration,
    pub timeout: Duration,
}

/// What the files look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    #[default]
    Pem,
    /// Certificate and key in one file.
    Combined,
    Pkcs12,
    /// Roots and lists in folders, as `openssl rehash` names them.
    Hashed,
    Der,
}

impl OutputFormat {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pem => "pem",
            Self::Combined => "combined",
            Self::Pkcs12 => "pkcs12",
            Self::Hashed => "hashed",
            Self::Der => "der",
        }
    }
}

/// Why the settings are unusable.
#[derive(Debug, thiserror::Error)]
pub enum OutputsConfigError {
    #[error("the outputs' settings {} can't be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{}, line {line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("{} belongs to uid {owner}, who could have commands run by it; run: chown {ours} {}", .path.display(), quoted(.path))]
    ForeignOwner { path: PathBuf, owner: u32, ours: u32 },
    #[error("others may write to {} (mode {mode:04o}) and have commands run by it; run: chmod go-w {}", .path.display(), quoted(.path))]
    Writable { path: PathBuf, mode: u32 },
}

impl OutputsConfigError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(..) => {
                "check the path and the rights; config/outputs.example.yml shows what it looks like"
            }
            Self::Line { .. } | Self::File { .. } => {
                "correct it; the keys are socket, state_dir and outputs, and of each output dir, format, owner, group, key_mode, password_file, on_change, min_interval and timeout"
            }
            Self::ForeignOwner { .. } | Self::Writable { .. } => {
                "the settings and their folder must be root's or those of the user that runs this, and nobody else's to write"
            }
        }
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputsFile {
    socket: Option<Socket>,
    state_dir: Option<StateDir>,
    outputs: Vec<OutputConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputAsWritten {
    dir: Dir,
    #[serde(default)]
    format: OutputFormat,
    owner: Option<Owner>,
    group: Option<Group>,
    key_mode: Option<KeyMode>,
    password_file: Option<PasswordFile>,
    on_change: Option<Words>,
    min_interval: Option<MinInterval>,
    timeout: Option<Timeout>,
}

impl TryFrom<OutputAsWritten> for OutputConfig {
    type Error = String;

    fn try_from(written: OutputAsWritten) -> Result<Self, String> {
        let has_password = written.password_file.is_some();
        match written.format {
            OutputFormat::Pkcs12 if !has_password => {
                return Err("password_file is missing: format pkcs12 needs one".to_owned());
            }
            OutputFormat::Pkcs12 => {}
            _ if has_password => return Err("password_file: only format pkcs12 takes one".to_owned()),
            _ => {}
        }
        let within = |key: &str, wait: Option<Duration>, usual, least: Duration, most| match wait {
            None => Ok(usual),
            Some(wait) if (least..=most).contains(&wait) => Ok(wait),
            Some(_) => Err(format!(
                "{key}: from {} to {} is wanted",
                humantime::format_duration(least),
                humantime::format_duration(most)
            )),
        };
        let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
        let interval = written.min_interval.map(|wait| wait.0);
        let timeout = written.timeout.map(|wait| wait.0);
        let mode_usual = if written.group.is_some() { KEY_MODE_OF_A_GROUP } else { KEY_MODE_USUAL };
        Ok(Self {
            dir: written.dir.0,
            format: written.format,
            owner: written.owner.map(|account| account.0),
            group: written.group.map(|account| account.0),
            key_mode: written.key_mode.map_or(mode_usual, |mode| mode.0),
            password_file: written.password_file.map(|file| file.0),
            on_change: written.on_change.map(|words| words.0),
            min_interval: within("min_interval", interval, MIN_INTERVAL_USUAL, zero, MIN_INTERVAL_MAX)?,
            timeout: within("timeout", timeout, TIMEOUT_USUAL, second, TIMEOUT_MAX)?,
        })
    }
}

/// Values that are texts with a form of their own; their mistakes say what is wanted, and the reader knows the key.
macro_rules! text_value {
    ($name:ident, $value:ty, $key:literal, $read:expr) => {
        #[derive(Debug)]
        struct $name($value);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let read: fn(&str) -> Result<$value, String> = $read;
                let refused = |why| serde::de::Error::custom(format_args!("{}: {why}", $key));
                read(&text).map(Self).map_err(refused)
            }
        }
    };
}

text_value!(Dir, PathBuf, "dir", absolute);
text_value!(PasswordFile, PathBuf, "password_file", absolute);
text_value!(StateDir, PathBuf, "state_dir", absolute);
text_value!(Socket, PathBuf, "socket", |text| absolute(text.strip_prefix("unix://").unwrap_or(text)));
text_value!(KeyMode, u32, "key_mode", key_mode);
text_value!(MinInterval, Duration, "min_interval", wait);
text_value!(Timeout, Duration, "timeout", wait);
text_value!(Owner, String, "owner", account);
text_value!(Group, String, "group", account);

/// The name of a user or group, or its number.
fn account(name: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-$@\\".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.chars().all(legal) {
        return Err("the name or number of a user or group is wanted".to_owned());
    }
    Ok(name.to_owned())
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = duration::parse(text).map_err(|error| format!("a duration such as 5s is wanted: {error}"))?;
    Duration::try_from(wait).map_err(|_| "a duration such as 5s is wanted".to_owned())
}

/// A program and its arguments.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Words(Vec<String>);

impl TryFrom<Vec<String>> for Words {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        let Some(program) = words.first().filter(|program| !program.is_empty()) else {
            return Err(
                "on_change: a program and its arguments are wanted, [systemctl, reload, nginx]".to_owned()
            );
        };
        if words.len() > WORDS_MAX || words.iter().any(|word| word.contains('\0')) {
            return Err(format!("on_change: at most {WORDS_MAX} words without NUL are wanted"));
        }
        if program.contains('/') && !Path::new(program).is_absolute() {
            return Err("on_change: a program is named by its name alone or by an absolute path".to_owned());
        }
        Ok(Self(words))
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || text.contains('\0') {
        return Err("an absolute path without '..' is wanted".to_owned());
    }
    // Without what means nothing, so that two spellings of one directory are found out.
    Ok(path.components().collect())
}

/// A key is its owner's to read, perhaps a group's, and nobody else's.
fn key_mode(text: &str) -> Result<u32, String> {
    let wanted =
        "a mode such as 0640 is wanted, in quotes; others than owner and group may have no part in it";
    let octal = text.len() >= 3 && text.len() <= 4 && text.chars().all(|c| c.is_digit(8));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| octal).ok_or(wanted)?;
    if mode & 0o400 == 0 || mode & !0o660 != 0 { Err(wanted.to_owned()) } else { Ok(mode) }
}

impl OutputsConfig {
    /// Reads the file, if it is ours or root's and nobody else's to write.
    pub fn load(path: &Path) -> Result<Self, OutputsConfigError> {
        let unreadable = |error| OutputsConfigError::Unreadable(path.to_owned(), error);
        // The file that was opened is judged, and the folders of the path and of where it leads.
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        judge(path, &metadata)?;
        let real = fs::canonicalize(path).map_err(unreadable)?;
        let named = std::path::absolute(path).map_err(unreadable)?;
        let folders: BTreeSet<_> = [&real, &named].into_iter().filter_map(|path| path.parent()).collect();
        for folder in folders {
            judge(folder, &fs::metadata(folder).map_err(unreadable)?)?;
        }
        let mut text = String::new();
        file.take(LENGTH_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > LENGTH_MAX {
            return Err(unreadable(io::Error::other(format!("it is longer than {LENGTH_MAX} bytes"))));
        }
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, OutputsConfigError> {
        let read: OutputsFile = yaml_serde::from_str(text).map_err(|error| {
            let path = path.to_owned();
            match place_and_problem(&error) {
                (Some(line), problem) => {
                    OutputsConfigError::Line { path, line: line_of(text, line, &problem), problem }
                }
                (None, problem) => OutputsConfigError::File { path, problem },
            }
        })?;
        let refused = |problem: String| OutputsConfigError::File { path: path.to_owned(), problem };
        if read.outputs.is_empty() || read.outputs.len() > OUTPUTS_MAX {
            return Err(refused(format!("outputs: 1 to {OUTPUTS_MAX} are wanted")));
        }
        let mut places = BTreeSet::new();
        for output in &read.outputs {
            let place = fs::canonicalize(&output.dir).unwrap_or_else(|_| output.dir.clone());
            if !places.insert(place) {
                let dir = output.dir.display();
                return Err(refused(format!(
                    "outputs: {dir} is the dir of two of them, and each needs its own"
                )));
            }
        }
        Ok(Self {
            socket: read.socket.map_or_else(|| SOCKET_USUAL.into(), |socket| socket.0),
            state_dir: read.state_dir.map(|dir| dir.0),
            outputs: read.outputs,
        })
    }
}

/// The line of the key that a problem names: of a value that was read and refused, the reader knows only where the output
/// begins.
fn line_of(text: &str, begin: usize, problem: &str) -> usize {
    let is_key = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let Some(key) = problem.split(": ").filter(|part| !part.starts_with("outputs")).find(is_key) else {
        return begin;
    };
    let names_it = |line: &str| {
        let rest = line.trim_start().trim_start_matches("- ").trim_start().strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    let mut lines = (1..).zip(text.lines()).skip(begin.saturating_sub(1));
    lines.find(|(_, line)| names_it(line)).map_or(begin, |(number, _)| number)
}

fn judge(path: &Path, found: &Metadata) -> Result<(), OutputsConfigError> {
    let (owner, ours) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != ours && owner != 0 {
        return Err(OutputsConfigError::ForeignOwner { path: path.to_owned(), owner, ours });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(OutputsConfigError::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn parse(text: &str) -> Result<OutputsConfig, String> {
        OutputsConfig::parse(Path::new("outputs.yml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let config = parse("outputs:\n  - dir: /etc/nginx//muster/\n").unwrap();
        assert_eq!(config.socket, Path::new(SOCKET_USUAL));
        let output = &config.outputs[0];
        assert_eq!(output.dir, Path::new("/etc/nginx/muster"));
        assert_eq!((output.format, output.key_mode), (OutputFormat::Pem, 0o600));
        assert_eq!((output.min_interval, output.timeout), (MIN_INTERVAL_USUAL, TIMEOUT_USUAL));
        for (rest, mode) in
            [("group: app", 0o640), ("group: app, key_mode: \"0600\"", 0o600), ("owner: app", 0o600)]
        {
            let config = parse(&format!("outputs: [{{dir: /c, {rest}}}]")).unwrap();
            assert_eq!(config.outputs[0].key_mode, mode, "{rest}");
        }
        assert_eq!(parse("socket: unix:///a/b\noutputs: [{dir: /c}]").unwrap().socket, Path::new("/a/b"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, line, named) in [
            ("socket: /a\nsokcet: /b\noutputs: [{dir: /c}]", 2, "sokcet"),
            ("outputs:\n  - dir: /c\n    formt: pem", 3, "formt"),
            ("outputs:\n  - dir: /c\n    format: jks", 3, "jks"),
            ("outputs:\n  - dir: c", 2, "absolute"),
            ("outputs:\n  - dir: /a/../c", 2, "absolute"),
            ("outputs:\n  - dir: [/c]", 2, "dir"),
            ("outputs:\n  - dir: /c\n    key_mode: \"0644\"", 3, "key_mode"),
            ("outputs:\n  - dir: /c\n    key_mode: \"4640\"", 3, "key_mode"),
            ("outputs:\n  - dir: /c\n    min_interval: 5", 3, "min_interval"),
            ("outputs:\n  - dir: /c\n    min_interval: 2days", 3, "min_interval"),
            ("outputs:\n  - dir: /c\n    timeout: 0s", 3, "timeout"),
            ("outputs:\n  - dir: /c\n    on_change: reload", 3, "on_change"),
            ("outputs:\n  - dir: /c\n    on_change: []", 3, "on_change"),
            ("outputs:\n  - dir: /c\n    on_change: [bin/reload]", 3, "on_change"),
            ("outputs:\n  - dir: /c\n    owner: \"ro:ot\"", 3, "owner"),
            ("outputs:\n  - dir: /c\n    format: pkcs12", 2, "password_file"),
            ("outputs:\n  - dir: /c\n    password_file: /d", 3, "password_file"),
            ("outputs:\n  - format: pem", 2, "dir"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(&format!("outputs.yml, line {line}: ")), "{text}: {error}");
            assert!(error.contains(named), "{text}: {error}");
        }
        for (text, named) in
            [("outputs: []", "1 to 64"), ("outputs: [{dir: /c}, {dir: /c/}]", "two of them"), ("", "outputs")]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("outputs.yml");
        fs::write(&path, "outputs: [{dir: /c}]").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(&path, 0o644);
        OutputsConfig::load(&path).unwrap();
        for (file, folder) in [(0o664, 0o755), (0o646, 0o755), (0o644, 0o775), (0o644, 0o1777)] {
            set(&path, file);
            set(room.path(), folder);
            let error = OutputsConfig::load(&path).unwrap_err();
            assert!(matches!(error, OutputsConfigError::Writable { .. }), "{file:o} {folder:o}: {error}");
        }
        set(room.path(), 0o700);
        set(&path, 0o600);
        // A link in a folder of ours to a file in one that is everybody's.
        let link = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&path, link.path().join("outputs.yml")).unwrap();
        OutputsConfig::load(&link.path().join("outputs.yml")).unwrap();
        set(room.path(), 0o777);
        assert!(OutputsConfig::load(&link.path().join("outputs.yml")).is_err());
    }
}
