//! Users and groups by name, for the files that are theirs.
//!
//! `/etc/passwd` and `/etc/group` first, which need no other program; then the system's `getent`, which knows directories
//! in the network and the users that systemd makes.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io};

/// How long a directory service may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest answer that is read: a group with all its members.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Which of the system's two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountKind {
    User,
    Group,
}

impl AccountKind {
    const fn database(self) -> &'static str {
        match self {
            Self::User => "passwd",
            Self::Group => "group",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

/// Nobody has that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no {} {name} on this machine", .kind.word())]
pub(crate) struct NoSuchAccount {
    kind: AccountKind,
    name: String,
}

/// The number of a user or group that is given by name or number.
pub(crate) fn number_of(kind: AccountKind, name: &str) -> Result<u32, NoSuchAccount> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let file = Path::new("/etc").join(kind.database());
    let known = fs::read_to_string(file).ok().and_then(|text| number_in(&text, name));
    let asked = || number_in(&getent(kind, name).ok()?, name);
    known.or_else(asked).ok_or_else(|| NoSuchAccount { kind, name: name.to_owned() })
}

/// The name of a user or group, or its number where it has none.
pub(crate) fn name_of(kind: AccountKind, number: u32) -> String {
    let file = Path::new("/etc").join(kind.database());
    let known = fs::read_to_string(file).ok().and_then(|text| name_in(&text, number));
    let asked = || name_in(&getent(kind, &number.to_string()).ok()?, number);
    known.or_else(asked).unwrap_or_else(|| number.to_string())
}

fn getent(kind: AccountKind, key: &str) -> io::Result<String> {
    let mut command = Command::new("/usr/bin/getent");
    command.args([kind.database(), key]);
    answer(command, ANSWER_WITHIN)
}

/// What a program says within a time, after which it is ended.
fn answer(mut command: Command, within: Duration) -> io::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut asked = command.spawn()?;
    let (tell, told) = mpsc::sync_channel(1);
    if let Some(said) = asked.stdout.take() {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let read = said.take(ANSWER_BYTES_MAX).read_to_end(&mut text);
            let _ = tell.send(read.map(|_| text));
        });
    }
    let answer = told.recv_timeout(within).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let _ = asked.kill();
    asked.wait()?;
    Ok(String::from_utf8_lossy(&answer?).into_owned())
}

/// The third field of the line of that name (passwd(5), group(5)).
fn number_in(text: &str, name: &str) -> Option<u32> {
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.filter(|fields| fields.first() == Some(&name)).find_map(|fields| fields.get(2)?.parse().ok())
}

fn name_in(text: &str, number: u32) -> Option<String> {
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = lines.filter(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(number));
    found.find_map(|fields| fields.first().map(|name| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_service_that_hangs_is_not_waited_for() {
        let mut hanging = Command::new("sleep");
        hanging.arg("600");
        let error = answer(hanging, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut quick = Command::new("echo");
        quick.arg("a:x:1:");
        assert_eq!(answer(quick, Duration::from_secs(60)).unwrap(), "a:x:1:\n");
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(number_of(AccountKind::User, "root").unwrap(), 0);
        assert_eq!(number_of(AccountKind::Group, "4321").unwrap(), 4321);
        assert_eq!(name_of(AccountKind::Group, 0), "root");
        let error = number_of(AccountKind::Group, "no-such-group").unwrap_err().to_string();
        assert_eq!(error, "there is no group no-such-group on this machine");
        let text = "a:x:1:\nbad line\nb:x:no:\nwww-data:x:33:web,b\n";
        assert_eq!(number_in(text, "www-data"), Some(33));
        assert_eq!((number_in(text, "b"), number_in(text, "web")), (None, None));
        assert_eq!(name_in(text, 33).as_deref(), Some("www-data"));
    }
}
