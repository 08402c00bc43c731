//! Servers that were signed in to: an address, what vouches for it, and a token, in a file that is its owner's alone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::output::error::CliError;
use crate::durable;
use crate::secret_file::SecretReader;

/// A server for later commands.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_pin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_ca: Option<PathBuf>,
    pub(crate) api_token: Zeroizing<String>,
}

/// All that are kept, and which one counts.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    pub(crate) current: Option<String>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// `$XDG_CONFIG_HOME/muster/contexts.json`; `None` where there is no home.
    pub(crate) fn file() -> Option<PathBuf> {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
        Some(config.join("muster").join("contexts.json"))
    }

    /// What is kept; nothing where there is no file.
    pub(crate) fn load() -> Result<Self, CliError> {
        let Some(file) = Self::file().filter(|file| file.exists()) else { return Ok(Self::default()) };
        let text = SecretReader::named().read(&file, FILE_MAX).map_err(|error| CliError::caused(&error))?;
        serde_json::from_slice(&text).map_err(|_| {
            CliError::new(format!("{} is no file of contexts", file.display()))
                .hint("remove it and sign in again: muster login URL")
        })
    }

    pub(crate) fn save(&self) -> Result<(), CliError> {
        let file = Self::file().ok_or_else(|| {
            CliError::new("there is no place to keep it").hint("set HOME, or XDG_CONFIG_HOME")
        })?;
        let failed = |error: io::Error| CliError::new(format!("cannot write {}: {error}", file.display()));
        durable::private_directory(file.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
        let text = Zeroizing::new(serde_json::to_vec_pretty(self).expect("contexts are plain data"));
        durable::replace(&file, 0o600, &text).map_err(failed)
    }

    /// The one that counts.
    pub(crate) fn current(&self) -> Option<(&str, &Context)> {
        let name = self.current.as_deref()?;
        Some((name, self.contexts.get(name)?))
    }
}

/// More octets than a file of contexts has.
const FILE_MAX: u64 = 1 << 20;
