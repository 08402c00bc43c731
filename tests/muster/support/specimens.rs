//! Certificate requests to try on every door that takes one.

use std::fs;
use std::path::Path;

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};

use super::keys::{Csr, Key};

/// The files of one folder of specimens, with their names.
pub fn csr(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specimens/csr").join(folder);
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// What a malformed PEM text may have meant: the base64 between its lines of dashes, decoded as far as it goes.
pub fn content(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).map(str::trim).collect();
    BASE64.decode(body.as_bytes()).unwrap_or_default()
}

/// A sound request that asks for everything it must not get.
pub fn greedy_request() -> Csr {
    let mut params = CertificateParams::new(vec!["control.example".to_owned()]).unwrap();
    let foreign = "spiffe://muster/tenant/00000000-0000-7000-8000-000000000000/agent/root";
    params.subject_alt_names.push(SanType::URI(foreign.try_into().unwrap()));
    params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    params.distinguished_name.push(DnType::CommonName, "root");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::ServerAuth];
    Key::p256().csr_for(&params)
}
