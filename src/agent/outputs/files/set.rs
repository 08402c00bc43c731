//! A set of files: their names, what they hold, and which hold the key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use crate::agent::outputs::config::{OutputConfig, OutputFormat};
use crate::agent::outputs::files::denied_json::denied_json;
use crate::agent::outputs::files::name_hash::name_hash;
use crate::agent::outputs::files::pkcs12::{identity_store, trust_store};
use crate::agent::outputs::source::material::Material;
use crate::pem;
use crate::secret_file::{SecretFileError, SecretReader};

pub(crate) const LISTS_NAME: &str = "crl.pem";
pub(crate) const DENIED_NAME: &str = "denied.json";
const ROOTS_FOLDER: &str = "ca.d";
const LISTS_FOLDER: &str = "crl.d";
/// Longest password.
const PASSWORD_MAX: u64 = 1024;
/// Names that one issuer's list has in a folder. Beyond, it starts over, and only a reload makes programs read it.
const NUMBERS_MAX: u32 = 1024;

/// Why files can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetError {
    #[error("the password of PKCS#12 files can't be taken")]
    Password(#[from] SecretFileError),
    #[error("the password in {0} is empty")]
    NoPassword(String),
    #[error("the PKCS#12 file can't be made: {0}")]
    Pkcs12(String),
    #[error("a certificate or list can't be read")]
    Unreadable,
}

/// One file, under one name or several.
pub(crate) struct SetFile {
    /// In the set's directory, at most one folder deep. Further names are links to the same content.
    pub names: Vec<String>,
    pub content: Zeroizing<Vec<u8>>,
    /// Whether it holds the key.
    pub secret: bool,
}

impl fmt::Debug for SetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetFile").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What is in a directory at one time.
#[derive(Debug)]
pub(crate) struct FileSet {
    pub files: Vec<SetFile>,
    /// How many names each issuer's lists have, by the hash of the issuer's name.
    pub numbers: ListNumbers,
}

pub(crate) type ListNumbers = BTreeMap<String, u32>;

/// What becomes of the numbers of lists in a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numbering<'a> {
    /// Every list has its first name alone.
    First,
    /// Lists that are new since `before` appear under the next number, too: a program that has read the names before
    /// looks for that one, and reads no name twice.
    Next { before: &'a ListNumbers, old: &'a [Vec<u8>] },
}

impl FileSet {
    /// The files of a format. `lists` are complete, or nothing.
    pub(crate) fn of(
        output: &OutputConfig,
        material: &Material,
        lists: &[Vec<u8>],
        numbering: Numbering<'_>,
    ) -> Result<Self, SetError> {
        let answer = &material.answer;
        let mut set = Self { files: Vec::new(), numbers: ListNumbers::new() };
        match output.format {
            OutputFormat::Pem | OutputFormat::Hashed => {
                set.add("cert.pem", certificates(&answer.chain));
                set.add_secret("key.pem", key(material));
            }
            OutputFormat::Combined => {
                let mut both = Zeroizing::new(Vec::with_capacity(16 * 1024));
                both.extend(certificates(&answer.chain));
                both.extend(key(material).iter());
                set.add_secret("combined.pem", both);
            }
            OutputFormat::Pkcs12 => {
                let password = password(output)?;
                let failed = |error: p12_keystore::error::Error| SetError::Pkcs12(error.to_string());
                let identity = identity_store(&answer.chain, material.key(), &password).map_err(failed)?;
                set.add_secret("identity.p12", Zeroizing::new(identity));
                set.add("truststore.p12", trust_store(&answer.roots, &password).map_err(failed)?);
            }
            OutputFormat::Der => {
                set.add("cert.der", answer.leaf().to_vec());
                if let Some(intermediate) = answer.chain.get(1) {
                    set.add("intermediate.der", intermediate.clone());
                }
                set.add_secret("key.der", material.key().clone());
            }
        }
        set.add("ca.pem", certificates(&answer.roots));
        set.add("bundle.pem", [certificates(&answer.roots), certificates(&material.intermediates)].concat());
        if !lists.is_empty() {
            set.add(
                LISTS_NAME,
                lists.iter().flat_map(|list| pem::encode(pem::CRL, list).into_bytes()).collect(),
            );
        }
        set.add(DENIED_NAME, denied_json(&material.denied));
        if output.format == OutputFormat::Hashed {
            set.add_roots_folder(&answer.roots)?;
            set.add_lists_folder(lists, numbering)?;
        }
        Ok(set)
    }

    /// The names of what stands in the directory itself.
    pub(crate) fn visible(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.files.iter().flat_map(|file| &file.names).map(|name| visible(name)).collect();
        names.sort();
        names.dedup();
        names
    }

    fn add(&mut self, name: &str, content: Vec<u8>) {
        let content = Zeroizing::new(content);
        self.files.push(SetFile { names: vec![name.to_owned()], content, secret: false });
    }

    fn add_secret(&mut self, name: &str, content: Zeroizing<Vec<u8>>) {
        self.files.push(SetFile { names: vec![name.to_owned()], content, secret: true });
    }

    fn add_roots_folder(&mut self, roots: &[Vec<u8>]) -> Result<(), SetError> {
        let mut taken = ListNumbers::new();
        for root in roots {
            let (_, read) = X509Certificate::from_der(root).map_err(|_| SetError::Unreadable)?;
            let hash = name_hash(read.subject());
            let number = taken.entry(hash.clone()).or_default();
            let name = format!("{ROOTS_FOLDER}/{hash}.{number}");
            *number += 1;
            self.add(&name, pem::certificate(root).into_bytes());
        }
        Ok(())
    }

    fn add_lists_folder(&mut self, lists: &[Vec<u8>], numbering: Numbering<'_>) -> Result<(), SetError> {
        let mut by_hash = BTreeMap::<String, Vec<&Vec<u8>>>::new();
        for list in lists {
            by_hash.entry(hash_of_list(list)?).or_default().push(list);
        }
        for (hash, lists) in by_hash {
            let least = u32::try_from(lists.len()).unwrap_or(NUMBERS_MAX);
            let count = match numbering {
                Numbering::First => least,
                Numbering::Next { before, old } => {
                    let had = before.get(&hash).copied().unwrap_or_default();
                    let is_new = lists.iter().any(|list| !old.contains(list));
                    let wanted = if is_new { had.saturating_add(least) } else { had.max(least) };
                    if wanted > NUMBERS_MAX {
                        tracing::warn!(
                            issuer = hash,
                            "no on_change has succeeded for {NUMBERS_MAX} lists: the folder starts over, and programs must be reloaded to read them"
                        );
                        least
                    } else {
                        wanted
                    }
                }
            };
            let mut names = vec![Vec::new(); lists.len()];
            for (number, list) in (0..count).zip((0..lists.len()).cycle()) {
                if let Some(names) = names.get_mut(list) {
                    names.push(format!("{LISTS_FOLDER}/{hash}.r{number}"));
                }
            }
            for (list, names) in lists.into_iter().zip(names) {
                let content = Zeroizing::new(pem::encode(pem::CRL, list).into_bytes());
                self.files.push(SetFile { names, content, secret: false });
            }
            self.numbers.insert(hash, count);
        }
        Ok(())
    }
}

/// Where a name begins: itself, or its folder.
fn visible(name: &str) -> String {
    name.split_once('/').map_or(name, |(folder, _)| folder).to_owned()
}

fn certificates(ders: &[Vec<u8>]) -> Vec<u8> {
    ders.iter().flat_map(|der| pem::certificate(der).into_bytes()).collect()
}

fn key(material: &Material) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(pem::encode(pem::PRIVATE_KEY, material.key()).into_bytes())
}

fn hash_of_list(der: &[u8]) -> Result<String, SetError> {
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| SetError::Unreadable)?;
    Ok(name_hash(list.issuer()))
}

/// The password, without the white space that editors and `echo` leave behind it.
pub(crate) fn password(output: &OutputConfig) -> Result<Zeroizing<String>, SetError> {
    let file = output.password_file.as_deref().unwrap_or_else(|| Path::new(""));
    let text = SecretReader::named().read_text(file, PASSWORD_MAX)?;
    let password = Zeroizing::new(text.trim_end().to_owned());
    if password.is_empty() {
        return Err(SetError::NoPassword(file.display().to_string()));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: &FileSet) -> Vec<String> {
        let mut names: Vec<_> = set.files.iter().flat_map(|file| file.names.clone()).collect();
        names.sort();
        names
    }

    fn list(key: &rcgen::KeyPair, name: &str, number: u64) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
        let issuer = rcgen::Issuer::from_params(&params, key);
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2027, 1, 1),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().der().to_vec()
    }

    #[test]
    fn a_new_list_appears_under_the_next_number_too() {
        let (one, two) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let folder = |lists: &[Vec<u8>], numbering: Numbering<'_>| {
            let mut set = FileSet { files: Vec::new(), numbers: ListNumbers::new() };
            set.add_lists_folder(lists, numbering).unwrap();
            set
        };
        let (a1, b1) = (list(&one, "a", 1), list(&two, "b", 1));
        let (hash_a, hash_b) = (hash_of_list(&a1).unwrap(), hash_of_list(&b1).unwrap());
        let named = |hash: &str, count: u32| {
            (0..count).map(move |n| format!("crl.d/{hash}.r{n}")).collect::<Vec<_>>()
        };
        let sorted = |parts: [Vec<String>; 2]| {
            let mut names = parts.concat();
            names.sort();
            names
        };
        let mut old = vec![a1, b1.clone()];
        let mut set = folder(&old, Numbering::First);
        assert_eq!(names(&set), sorted([named(&hash_a, 1), named(&hash_b, 1)]));
        for round in 2..5 {
            let lists = vec![list(&one, "a", u64::from(round)), b1.clone()];
            set = folder(&lists, Numbering::Next { before: &set.numbers, old: &old });
            assert_eq!(names(&set), sorted([named(&hash_a, round), named(&hash_b, 1)]));
            old = lists;
        }
        // What has not changed keeps its names.
        set = folder(&old, Numbering::Next { before: &set.numbers, old: &old });
        assert_eq!(names(&set), sorted([named(&hash_a, 4), named(&hash_b, 1)]));
        // Two issuers of one name.
        let both = vec![list(&one, "a", 9), list(&two, "a", 9)];
        let both_set = folder(&both, Numbering::Next { before: &set.numbers, old: &old });
        assert_eq!(names(&both_set), named(&hash_a, 6));
        assert_eq!(both_set.files[0].names.len(), 3);
        set.numbers.insert(hash_a.clone(), NUMBERS_MAX);
        assert_eq!(
            names(&folder(&both, Numbering::Next { before: &set.numbers, old: &old })),
            named(&hash_a, 2)
        );
        assert_eq!(names(&folder(&old, Numbering::First)), sorted([named(&hash_a, 1), named(&hash_b, 1)]));
    }
}
