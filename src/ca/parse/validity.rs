//! When a certificate is valid: from one whole second to another, both included (RFC 5280 4.1.2.5).

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use rcgen::CertificateParams;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// Certificates begin this long before they are issued, for peers whose clocks are behind.
const BACKDATING: SignedDuration = SignedDuration::from_mins(5);

const ONE_SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The last second of a certificate (DER), if it can be read.
pub(crate) fn not_after_of(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(Validity::read(&certificate).ok()?.not_after)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub not_before: Timestamp,
    /// The last second in which the certificate is valid.
    pub not_after: Timestamp,
}

/// The moment or the length is beyond what a certificate can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time is outside what a certificate can express; check the clock")]
pub struct OutOfRange;

impl Validity {
    /// Usable for `lifetime` from `at` on, never a second longer.
    pub(crate) fn lasting(at: Timestamp, lifetime: SignedDuration) -> Result<Self, OutOfRange> {
        let at = whole_seconds(at)?;
        let lifetime = SignedDuration::from_secs(lifetime.as_secs());
        let not_before = at.checked_sub(BACKDATING).map_err(|_| OutOfRange)?;
        let end = at.checked_add(lifetime).map_err(|_| OutOfRange)?;
        Ok(Self { not_before, not_after: end.checked_sub(ONE_SECOND).map_err(|_| OutOfRange)? })
    }

    /// `span` from the first to the last second, beginning just before `at`.
    pub(crate) fn spanning(at: Timestamp, span: Span) -> Result<Self, OutOfRange> {
        let not_before = whole_seconds(at)?.checked_sub(BACKDATING).map_err(|_| OutOfRange)?;
        let end = not_before.to_zoned(TimeZone::UTC).checked_add(span).map_err(|_| OutOfRange)?;
        let not_after = end.timestamp().checked_sub(ONE_SECOND).map_err(|_| OutOfRange)?;
        Ok(Self { not_before, not_after })
    }

    /// No certificate outlives its issuer's.
    pub(crate) fn until_at_most(self, issuer_not_after: Timestamp) -> Self {
        Self { not_after: self.not_after.min(issuer_not_after), ..self }
    }

    pub(crate) fn write(self, params: &mut CertificateParams) -> Result<(), OutOfRange> {
        params.not_before = x509_time(self.not_before)?.to_datetime();
        params.not_after = x509_time(self.not_after)?.to_datetime();
        Ok(())
    }

    pub(crate) fn read(certificate: &X509Certificate<'_>) -> Result<Self, OutOfRange> {
        let validity = certificate.validity();
        let read = |time: ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|_| OutOfRange);
        Ok(Self { not_before: read(validity.not_before)?, not_after: read(validity.not_after)? })
    }
}

/// A time as X.509 writes it, which is also the way to the time type of the certificate writer.
pub(crate) fn x509_time(at: Timestamp) -> Result<ASN1Time, OutOfRange> {
    // Years before 1 have no encoding.
    if at.as_second() < -62_135_596_800 {
        return Err(OutOfRange);
    }
    ASN1Time::from_timestamp(at.as_second()).map_err(|_| OutOfRange)
}

fn whole_seconds(at: Timestamp) -> Result<Timestamp, OutOfRange> {
    Timestamp::from_second(at.as_second()).map_err(|_| OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_lifetime_is_never_a_second_too_long() {
        let validity = Validity::lasting(at("2026-11-21T10:00:00.999Z"), SignedDuration::from_hours(24));
        let expected =
            Validity { not_before: at("2026-11-21T09:55:00Z"), not_after: at("2026-11-22T09:59:59Z") };
        assert_eq!(validity, Ok(expected));
        let capped = expected.until_at_most(at("2026-11-21T12:00:00Z"));
        assert_eq!(capped.not_after, at("2026-11-21T12:00:00Z"));
        assert_eq!(expected.until_at_most(at("2027-01-01T00:00:00Z")), expected);
    }

    #[test]
    fn spans_count_both_ends() {
        let validity = Validity::spanning(at("2026-11-21T10:05:00.5Z"), Span::new().years(10)).unwrap();
        assert_eq!(validity.not_before, at("2026-11-21T10:00:00Z"));
        assert_eq!(validity.not_after, at("2036-11-21T09:59:59Z"));
    }

    #[test]
    fn the_ends_of_time_are_refused() {
        assert_eq!(Validity::lasting(Timestamp::MAX, SignedDuration::from_hours(1)), Err(OutOfRange));
        assert_eq!(Validity::spanning(Timestamp::MAX, Span::new().years(1)), Err(OutOfRange));
        assert!(x509_time(Timestamp::MIN).is_err());
    }
}
