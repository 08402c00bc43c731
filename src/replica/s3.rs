//! Object stores that speak S3: the client, with our TLS, and its credentials from the environment or from a file.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig, StaticCredentialProvider};

use super::place::PlaceError;
use crate::domain::replicas::ReplicaSettings;
use crate::error_chain::chain;
use crate::secret_file::SecretReader;
use crate::tls::client_config::https_client;
use crate::tls::server_verifier::{FirstContact, Trust};

/// Credential files are a few lines.
const CREDENTIALS_MAX: u64 = 64 << 10;
/// Requests that failed on the way are tried again for so long; then the shipping counts it as one failure.
const RETRIED_FOR: Duration = Duration::from_secs(8);

pub(super) fn open(settings: &ReplicaSettings, bucket: &str) -> Result<AmazonS3, PlaceError> {
    let unusable = |error: &dyn std::error::Error| PlaceError::Settings(chain(error));
    let trust = settings.ca_file.clone().map_or(Trust::SystemRoots, Trust::CaFile);
    let plain = settings.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(25));
    // Without TLS no roots are needed, and a machine may have none.
    let client = if plain {
        let none = FirstContact::new(&Trust::Pin(crate::domain::network::pin::Pin::of(b"")));
        client.tls_backend_preconfigured(https_client(Arc::new(none.map_err(|e| unusable(&e))?)))
    } else {
        let contact = FirstContact::new(&trust).map_err(|e| unusable(&e))?;
        client.tls_backend_preconfigured(https_client(Arc::new(contact)))
    };
    let client = client.build().map_err(|error| unusable(&error))?;
    let retry = RetryConfig {
        max_retries: 3,
        retry_timeout: RETRIED_FOR,
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() },
    };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retry)
        .with_allow_http(plain)
        .with_http_connector(Connector(client));
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(path) = &settings.credentials_file {
        let text = SecretReader::named().read_text(path, CREDENTIALS_MAX).map_err(|e| unusable(&e))?;
        let credential = credentials(&text).ok_or_else(|| {
            PlaceError::Settings(format!(
                "{} has no line aws_access_key_id = … and aws_secret_access_key = …",
                path.display()
            ))
        })?;
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
    }
    builder.build().map_err(|error| unusable(&error))
}

/// Reads the first section of a file as Amazon's programs have it.
fn credentials(text: &str) -> Option<AwsCredential> {
    let value = |wanted: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| key.trim() == wanted).map(|(_, value)| value.trim().to_owned())
    };
    Some(AwsCredential {
        key_id: value("aws_access_key_id")?,
        secret_key: value("aws_secret_access_key")?,
        token: value("aws_session_token"),
    })
}

/// Hands out the client that trusts whom we trust.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_credentials_is_read_as_amazon_s_programs_read_it() {
        let read = credentials("[default]\naws_access_key_id = AK\naws_secret_access_key=s/e=c\n").unwrap();
        assert_eq!((read.key_id.as_str(), read.secret_key.as_str(), read.token), ("AK", "s/e=c", None));
        assert!(credentials("aws_access_key_id = AK\n").is_none());
    }
}
