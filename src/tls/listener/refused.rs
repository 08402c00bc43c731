//! Handshakes that were refused: counted by cause, and told once in a while for each cause and address, so that a
//! fleet that can't connect shows in the log and nobody can fill it.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::{AlertDescription, CertificateError};

use crate::clock;
use crate::domain::fairness::rate::{Rate, RateLimiter, WhenFull};
use crate::domain::network::networks::accountable;
use crate::tls::client_verifier::PeerError;

/// How often one cause is told of one address.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Causes and addresses that are told within that time. More are only counted.
const TOLD_MAX: usize = 256;

/// What was refused on the listeners that share this.
#[derive(Debug)]
pub struct RefusedHandshakes {
    counts: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    shed: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    told: Mutex<RateLimiter<(&'static str, &'static str, IpAddr)>>,
}

impl Default for RefusedHandshakes {
    fn default() -> Self {
        let rate = Rate { burst: 1.0, per_second: 1.0 / TELL_EVERY.as_secs_f64() };
        Self {
            counts: Mutex::default(),
            shed: Mutex::default(),
            told: Mutex::new(RateLimiter::new(rate, TOLD_MAX, WhenFull::Refuse)),
        }
    }
}

impl RefusedHandshakes {
    /// How many there were, by listener and cause.
    pub fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.counts.lock().clone()
    }

    /// Connections that were turned away or had to make way, by listener and what became of them.
    pub fn shed(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.shed.lock().clone()
    }

    /// Counts a connection for which there was no room.
    pub(crate) fn note_shed(&self, listener: &'static str, what: &'static str) {
        *self.shed.lock().entry((listener, what)).or_default() += 1;
    }

    /// Counts one, and tells whether it is to be told.
    fn count(&self, listener: &'static str, cause: &'static str, address: IpAddr, now: Instant) -> bool {
        let mut counts = self.counts.lock();
        *counts.entry((listener, cause)).or_default() += 1;
        drop(counts);
        if cause == GIVEN_UP {
            return false;
        }
        self.told.lock().take((listener, cause, accountable(address)), 1.0, now).is_ok()
    }

    /// Notes a handshake that ended with this error.
    pub(crate) fn note(&self, listener: &'static str, address: IpAddr, error: &(dyn Error + 'static)) {
        let cause = cause(error);
        if self.count(listener, cause, address, clock::monotonic()) {
            tracing::warn!(
                listener,
                %address,
                cause,
                reason = error,
                "TLS handshake refused; told once a minute for each cause and address"
            );
        }
    }
}

/// The client went away before the handshake was over, as health checks and port scans do.
const GIVEN_UP: &str = "given_up";

/// The cause of a refusal in one word, of which there are only so many.
fn cause(error: &(dyn Error + 'static)) -> &'static str {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<PeerError>() {
            return cause_of_peer(error);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return cause_of_tls(error);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return inner.map_or(GIVEN_UP, cause_of_tls);
        }
        next = error.source();
    }
    "not_admitted"
}

const fn cause_of_peer(error: &PeerError) -> &'static str {
    match error {
        PeerError::NoCertificate => "no_certificate",
        PeerError::NoAnchors => "no_agent_ca",
        PeerError::NoSvid(_) | PeerError::Refused(_) => "not_admitted",
    }
}

const fn cause_of_tls(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::NoCertificatesPresented => "no_certificate",
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not_valid_yet",
            CertificateError::Revoked => "revoked",
            CertificateError::UnknownIssuer => "unknown_issuer",
            CertificateError::ApplicationVerificationFailure => "not_admitted",
            _ => "bad_certificate",
        },
        // What the client says of our certificate.
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate,
        ) => "server_distrusted",
        rustls::Error::AlertReceived(_) => "client_alert",
        rustls::Error::PeerIncompatible(_) => "incompatible",
        rustls::Error::InvalidMessage(_) => "not_tls",
        _ => "broken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once_a_minute_for_each_address() {
        let refused = RefusedHandshakes::default();
        let start = Instant::now();
        let tell = |cause, address: [u8; 4], now| refused.count("grpc", cause, address.into(), now);
        assert!(tell("revoked", [192, 0, 2, 1], start));
        assert!((0..100).all(|_| !tell("revoked", [192, 0, 2, 1], start)));
        assert!(tell("expired", [192, 0, 2, 1], start) && tell("revoked", [192, 0, 2, 2], start));
        assert!(tell("revoked", [192, 0, 2, 1], start + TELL_EVERY));
        assert!(!tell(GIVEN_UP, [192, 0, 2, 3], start), "counted alone");
        assert_eq!(refused.counts()[&("grpc", "revoked")], 103);
        let told = (0..100_000_u32).filter(|n| tell("revoked", n.to_be_bytes(), start)).count();
        assert!(told <= TOLD_MAX, "{told}");
    }

    #[test]
    fn causes_are_words() {
        let tls = |error: rustls::Error| cause(&io::Error::other(error));
        assert_eq!(tls(CertificateError::Revoked.into()), "revoked");
        assert_eq!(tls(rustls::Error::AlertReceived(AlertDescription::UnknownCA)), "server_distrusted");
        assert_eq!(cause(&io::Error::from(io::ErrorKind::UnexpectedEof)), GIVEN_UP);
        assert_eq!(cause(&PeerError::NoCertificate), "no_certificate");
    }
}
