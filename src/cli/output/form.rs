//! In which form a command's answer is wanted.

use std::sync::OnceLock;

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputForm {
    /// Every column, however wide the terminal is
    Wide,
    /// One JSON document, as --json
    Json,
    /// The same as YAML
    Yaml,
    /// One id a line
    Name,
    /// SPIFFE ids, one a line ('host list' alone)
    Spiffe,
    /// Subjects as RFC 2253 has them, O=TRUST-DOMAIN,OU=TENANT,CN=AGENT, one a line ('host list' alone)
    Dn,
}

static WANTED: OnceLock<OutputForm> = OnceLock::new();

/// What the command line asked for; once for the process.
pub(crate) fn want(form: Option<OutputForm>) {
    if let Some(form) = form {
        let _ = WANTED.set(form);
    }
}

/// What it asked for, if anything.
pub(crate) fn wanted() -> Option<OutputForm> {
    WANTED.get().copied()
}
