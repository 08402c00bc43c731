//! What stands in the directory of an output, compared with what should.

use x509_parser::pem::Pem;

use crate::agent::account::{AccountKind, NoSuchAccount, number_of};
use crate::agent::outputs::config::OutputConfig;
use crate::agent::outputs::files::directory::{DirectoryError, FileRights, OutputDirectory};
use crate::agent::outputs::files::set::{FileSet, LISTS_NAME, Numbering, SetError};
use crate::agent::outputs::on_change::pace::Changed;
use crate::agent::outputs::record::{OutputRecord, Records};
use crate::agent::outputs::source::lists::JudgedLists;
use crate::agent::outputs::source::material::Material;
use crate::domain::sha256::sha256;
use crate::pem;

/// Larger than lists of any fleet.
const LISTS_MAX: u64 = 256 * 1024 * 1024;

/// Why files could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Account(#[from] NoSuchAccount),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Set(#[from] SetError),
}

/// What a new set would change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Differs {
    pub identity: bool,
    pub lists: bool,
    /// Whether something is missing there.
    pub damaged: bool,
}

impl Differs {
    pub(crate) fn of(
        output: &OutputConfig,
        record: &OutputRecord,
        directory: Option<&OutputDirectory>,
        (material, lists, rights): (&Material, &[Vec<u8>], FileRights),
    ) -> Self {
        let whole = match (directory, &record.set) {
            (Some(directory), Some(set)) => directory.has(set, &record.visible),
            _ => false,
        };
        let settings = settings_digest(output, rights) != record.settings_digest;
        Self {
            identity: settings || hex(material.identity_digest()) != record.identity_digest,
            lists: hex(material.lists_digest(lists)) != record.lists_digest,
            damaged: !whole,
        }
    }

    pub(crate) const fn is_any(self) -> bool {
        self.identity || self.lists || self.damaged
    }
}

/// The lists that are to be in a directory: the provider's if they are complete, else those that are there.
#[derive(Debug)]
pub(crate) struct WantedLists<'a> {
    pub lists: Vec<Vec<u8>>,
    /// Why they are not the provider's.
    pub trouble: Option<&'a str>,
}

impl<'a> WantedLists<'a> {
    pub(crate) fn of(material: &'a Material, present: &[Vec<u8>]) -> Self {
        let trouble = match &material.lists {
            JudgedLists::Complete(lists) => {
                return Self { lists: lists.iter().map(|list| list.der.clone()).collect(), trouble: None };
            }
            JudgedLists::Absent if present.is_empty() => None,
            JudgedLists::Absent => Some("the provider gives no lists at present"),
            JudgedLists::Unusable(why) => Some(why.as_str()),
        };
        Self { lists: present.to_vec(), trouble }
    }
}

/// What is to be done about an output, without doing it.
#[derive(Debug)]
pub(crate) struct OutputPlan {
    pub differs: Differs,
    pub files: Vec<String>,
    pub lists_trouble: Option<String>,
    pub would_run: bool,
}

/// Looks at an output as its keeper would, and writes nothing.
pub(crate) fn plan(
    output: &OutputConfig,
    records: &Records,
    material: &Material,
) -> Result<OutputPlan, KeepError> {
    let record = records.read(&output.dir);
    let rights = rights(output)?;
    let directory = OutputDirectory::look(&output.dir)?;
    let present = lists_in(&directory);
    let wanted = WantedLists::of(material, &present);
    let set = FileSet::of(output, material, &wanted.lists, Numbering::First)?;
    directory.check_names(&set.visible())?;
    let differs = Differs::of(output, &record, Some(&directory), (material, &wanted.lists, rights));
    Ok(OutputPlan {
        differs,
        files: set.files.iter().filter_map(|file| file.names.first().cloned()).collect(),
        lists_trouble: wanted.trouble.map(str::to_owned),
        would_run: output.on_change.is_some() && (differs.is_any() || owed(output, &record).is_any()),
    })
}

/// What a command was not told before a restart.
pub(crate) fn owed(output: &OutputConfig, record: &OutputRecord) -> Changed {
    if output.on_change.is_none() || record.set.is_none() {
        return Changed::default();
    }
    let told = &record.on_change;
    Changed {
        identity: told.told_identity != record.identity_digest,
        lists: told.told_lists != record.lists_digest,
        denied: told.told_lists != record.lists_digest,
    }
}

/// Whose the files are to be.
pub(crate) fn rights(output: &OutputConfig) -> Result<FileRights, NoSuchAccount> {
    let number = |kind, name: &Option<String>| name.as_deref().map(|name| number_of(kind, name)).transpose();
    Ok(FileRights {
        owner: number(AccountKind::User, &output.owner)?,
        group: number(AccountKind::Group, &output.group)?,
        key_mode: output.key_mode,
    })
}

/// The lists of the present set.
pub(crate) fn lists_in(directory: &OutputDirectory) -> Vec<Vec<u8>> {
    let text = directory.read(LISTS_NAME, LISTS_MAX).unwrap_or_default();
    let blocks = Pem::iter_from_buffer(&text).map_while(Result::ok);
    blocks.filter(|block| block.label == pem::CRL).map(|block| block.contents).collect()
}

/// Tells what of the settings decides what the files are.
pub(crate) fn settings_digest(output: &OutputConfig, rights: FileRights) -> String {
    let text = format!("{:?} {rights:?} {:?}", output.format, output.password_file);
    hex(sha256(&[text.as_bytes()]))
}

pub(crate) fn hex(digest: [u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(&digest)
}
