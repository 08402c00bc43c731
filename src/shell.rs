//! Words of commands that are printed to be pasted: the one place that quotes for a shell.

use std::ffi::OsStr;

/// A word as a POSIX shell takes it (XCU 2.2): as it is where it is plain, else between single quotes.
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    // A tilde at the beginning and an equals sign have a meaning in some places; both are quoted everywhere.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_each_word_as_it_was() {
        for word in [
            "",
            "plain",
            "/var/lib/muster",
            "my agent's",
            "a\"b",
            "$HOME",
            "`id`",
            "a;b",
            "~x",
            "-n",
            "\\",
            "ä",
            "#",
            "a\nb",
        ] {
            let echoed =
                Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output().unwrap();
            assert_eq!(String::from_utf8(echoed.stdout).unwrap(), word);
        }
        assert_eq!(quoted("/var/lib/muster-agent"), "/var/lib/muster-agent");
    }
}
