//! What stands in the directory of an output, compared with what should.

use std::collections::BTreeMap;
use std::path::Path;

use x509_parser::pem::Pem;

use crate::agent::account::{AccountKind, NoSuchAccount, number_of};
use crate::agent::outputs::config::OutputConfig;
use crate::agent::outputs::files::denied_json::read_denied;
use crate::agent::outputs::files::directory::{DirectoryError, FileRights, OutputDirectory};
use crate::agent::outputs::files::set::{DENIED_NAME, FileSet, LISTS_NAME, Numbering, SetError};
use crate::agent::outputs::on_change::pace::Changed;
use crate::agent::outputs::record::{OutputRecord, Records};
use crate::agent::outputs::source::lists::JudgedLists;
use crate::agent::outputs::source::material::{DeniedFacts, Material};
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
    let rights = rights(output).or_else(|error| rights_of_before(output, &record).ok_or(error))?;
    let before = with_facts_of_before(material, &output.dir);
    let material = before.as_ref().unwrap_or(material);
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

/// The same from what was found before, for when the directory service is away.
pub(crate) fn rights_of_before(output: &OutputConfig, record: &OutputRecord) -> Option<FileRights> {
    let number = |known: &BTreeMap<String, u32>, name: &Option<String>| match name {
        Some(name) => known.get(name).copied().map(Some),
        None => Some(None),
    };
    Some(FileRights {
        owner: number(&record.users, &output.owner)?,
        group: number(&record.groups, &output.group)?,
        key_mode: output.key_mode,
    })
}

/// Takes note of what was found.
pub(crate) fn remember_rights(output: &OutputConfig, record: &mut OutputRecord, rights: FileRights) {
    let known = |name: &Option<String>, number| name.clone().zip(number).into_iter().collect();
    record.users = known(&output.owner, rights.owner);
    record.groups = known(&output.group, rights.group);
}

/// What the present set says of those whom the lists deny, where the provider has not said whether it tells it; `None` where
/// that adds nothing.
pub(crate) fn with_facts_of_before(material: &Material, dir: &Path) -> Option<Material> {
    if !material.is_untold() {
        return None;
    }
    let before = OutputDirectory::look(dir).ok()?.read(DENIED_NAME, LISTS_MAX)?;
    let mut more = material.clone();
    for (serial, facts) in read_denied(&before) {
        if let Some(known) = more.denied.get_mut(&serial).filter(|known| **known == DeniedFacts::default()) {
            *known = facts;
        }
    }
    (more.denied != material.denied).then_some(more)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use zeroize::Zeroizing;

    use super::*;
    use crate::agent::outputs::files::denied_json::denied_json;
    use crate::agent::outputs::source::answer::X509Answer;
    use crate::agent::outputs::source::listen::LocalState;
    use crate::agent::trust::update::tests::authority;

    #[test]
    fn ids_and_ends_stay_while_the_agent_does_not_tell_them() {
        let room = tempfile::tempdir().unwrap();
        let (set, one) = (room.path().join("..muster-1"), "01ab".to_owned());
        let facts =
            DeniedFacts { until: Some(Timestamp::UNIX_EPOCH), spiffe_id: Some("spiffe://a/b".to_owned()) };
        std::fs::create_dir(&set).unwrap();
        std::os::unix::fs::symlink("..muster-1", room.path().join("..data")).unwrap();
        let known = [(one.clone(), facts.clone()), ("02".to_owned(), facts.clone())].into();
        std::fs::write(set.join(DENIED_NAME), denied_json(&known)).unwrap();
        let (root, _) = authority();
        let (chain, roots, key) = (vec![root.clone()], vec![root], Zeroizing::default());
        let answer = Arc::new(X509Answer { spiffe_id: String::new(), chain, key, roots, lists: Vec::new() });
        let after = |local: &LocalState| {
            let mut material = Material::compose(Arc::clone(&answer), local, Timestamp::UNIX_EPOCH);
            material.denied.insert(one.clone(), DeniedFacts::default());
            with_facts_of_before(&material, room.path()).map(|material| material.denied)
        };
        assert_eq!(after(&LocalState::Unknown), Some([(one.clone(), facts)].into()));
        assert_eq!(after(&LocalState::Absent), None);
    }

    #[test]
    fn who_was_found_before_counts_while_the_directory_service_is_away() {
        let written = serde_json::json!({"dir": "/etc/a", "owner": "no-such-user", "group": "no-such-group"});
        let output: OutputConfig = serde_json::from_value(written).unwrap();
        let mut record = OutputRecord::default();
        assert!(rights(&output).is_err());
        assert_eq!(rights_of_before(&output, &record), None);
        let found = FileRights { owner: Some(7), group: Some(8), key_mode: output.key_mode };
        remember_rights(&output, &mut record, found);
        assert_eq!(rights_of_before(&output, &record), Some(found));
        let nobody = OutputConfig { owner: None, ..output };
        assert_eq!(rights_of_before(&nobody, &record), Some(FileRights { owner: None, ..found }));
    }
}
