//! The two doors of the server at which the agent asks for its next SVID, and why none came.

use jiff::Timestamp;
use rcgen::KeyPair;

use crate::agent::connect::addresses::AnsweredAt;
use crate::agent::enroll::answer::Issued;
use crate::agent::enroll::requests::{CallError, EnrollmentClient, ServerRefusal};
use crate::agent::identity::{Identity, IdentityError};
use crate::agent::run::renewal::{RenewalClient, RenewalError};
use crate::tls::server_verifier::FirstContact;

/// Where the next SVID is asked for. An answer that was lost at one is given again at the other, for the same key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Door<'a> {
    /// `Renew`, over the connection of the session.
    Session(&'a RenewalClient),
    /// `POST /enroll/agent/rotate`
    Https(&'a EnrollmentClient),
}

impl<'a> Door<'a> {
    /// Asks for a new certificate of the same identity for `key`, which must be new.
    pub(crate) async fn ask(self, current: &Identity, key: &KeyPair) -> Result<Issued, RotationError> {
        match self {
            Self::Session(renewal) => Ok(renewal.renew(current, key).await?),
            Self::Https(client) => Ok(client.rotate(current, key).await?),
        }
    }

    pub(crate) fn at(self) -> AnsweredAt<'a> {
        match self {
            Self::Session(renewal) => AnsweredAt::Session(renewal.addr()),
            Self::Https(client) => AnsweredAt::Https(&client.https.server),
        }
    }

    /// What the server has shown, and what vouches for it.
    pub(crate) fn server(self) -> &'a FirstContact {
        match self {
            Self::Session(renewal) => renewal.server(),
            Self::Https(client) => &client.first_contact,
        }
    }

    /// The server's clock minus `now`, in milliseconds, where the answer told it: sessions tell it with each heartbeat.
    pub(crate) fn clock_difference_ms(self, now: Timestamp) -> Option<i64> {
        match self {
            Self::Session(_) => None,
            Self::Https(client) => client.clock_difference_ms(now),
        }
    }
}

/// Why a rotation failed. The identity in use stays in use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    #[error("it is not known at which server to rotate")]
    NoServer,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Renewal(#[from] RenewalError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the new key and certificate can't be used for TLS")]
    Unusable(#[from] rustls::Error),
}

impl RotationError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NoServer => "set identity.server to https://HOST:PORT",
            Self::Call(error) => error.hint(),
            Self::Renewal(error) => error.hint(),
            Self::Identity(error) => error.hint(),
            Self::Unusable(_) => "report it with this message",
        }
    }

    /// Whether another address of the server may answer better.
    pub(crate) fn is_of_this_address(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_of_this_address())
    }

    /// Whether the session has given neither a certificate nor a verdict.
    pub(crate) fn leaves_it_to_https(&self) -> bool {
        matches!(self, Self::Renewal(error) if !error.is_verdict())
    }

    pub(crate) const fn is_of_an_older_server(&self) -> bool {
        matches!(self, Self::Renewal(RenewalError::Unknown { .. }))
    }

    pub(crate) fn refuses_key(&self) -> bool {
        self.refusal().is_some_and(ServerRefusal::refuses_key)
    }

    pub(crate) const fn refusal(&self) -> Option<&ServerRefusal> {
        match self {
            Self::Call(error) => error.refusal(),
            Self::Renewal(error) => error.refusal(),
            _ => None,
        }
    }
}
