//! What an agent's certificate must look like, read with a parser of its own.

use serde_json::Value;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::keys::certificates;
use super::server::text;

/// Demands that nothing in the certificate came from the request.
#[track_caller]
pub fn assert_only_what_the_server_decides(answer: &Value, case: &str) {
    let der = certificates(&text(answer, "certificate")).remove(0);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let san = certificate.subject_alternative_name().unwrap().unwrap();
    let [GeneralName::URI(uri)] = san.value.general_names[..] else {
        panic!("{case}: {:?}", san.value.general_names)
    };
    assert_eq!(uri, text(answer, "spiffe_id"), "{case}");
    assert_eq!(
        certificate.subject().to_string(),
        format!("CN={}, OU={}, O=muster", text(answer, "agent_id"), text(answer, "tenant_id")),
        "{case}"
    );
    assert!(!certificate.is_ca(), "{case}");
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 1, "{case}: digitalSignature alone");
    let extended = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any, "{case}");
    assert!(extended.other.is_empty() && !extended.code_signing && !extended.ocsp_signing, "{case}");
}
