//! `Renew`: the next SVID over the connection that has proved the current one.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tonic::Status;

use super::proto::{RenewRequest, RenewResponse};
use super::status::status;
use crate::app::issue::issuing::IssuedAnswer;
use crate::app::issue::rotate::RenewRequest as Renewal;
use crate::app::issue::rotate::error::{RotateError, RotateRefusal};
use crate::app::{App, Unavailable};
use crate::domain::code::Code;
use crate::tls::client_verifier::PeerIdentity;

/// Puts into words what a use case answers: the server knows by which addresses it is reached.
pub trait SvidAnswers: fmt::Debug + Send + Sync {
    /// The answer to an agent.
    fn answer(&self, svid: IssuedAnswer) -> RenewResponse;
}

/// What renewing stands on.
#[derive(Debug, Clone)]
pub(crate) struct Renewals {
    pub(crate) app: Arc<App>,
    pub(crate) answers: Arc<dyn SvidAnswers>,
}

impl Renewals {
    /// The gate has let the agent through.
    pub(crate) async fn renew(
        &self,
        identity: &PeerIdentity,
        request: RenewRequest,
        peer: Option<IpAddr>,
    ) -> Result<RenewResponse, Status> {
        let (holder, serial) = (identity.identity().clone(), identity.serial());
        let refused = match self.app.renew(Renewal { holder, serial, csr: request.csr, peer }).await {
            Ok(svid) => return Ok(self.answers.answer(svid)),
            Err(refused) => refused,
        };
        self.record(&refused, peer).await?;
        Err(status_of(&refused.error))
    }

    async fn record(&self, refused: &RotateRefusal, peer: Option<IpAddr>) -> Result<(), Status> {
        self.app.record_refused_rotation(refused, peer).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a refused renewal was not recorded");
            unavailable()
        })
    }
}

fn status_of(error: &RotateError) -> Status {
    match error {
        RotateError::Issuing(error) => {
            tracing::error!(error = error as &dyn std::error::Error, "no certificate could be issued");
            status(Code::CaUnavailable, "the agent CA can't issue at present; try again later")
        }
        RotateError::Unavailable(error @ Unavailable::Busy) => status(error.code(), error.to_string()),
        RotateError::Unavailable(error) => {
            tracing::error!(error = error as &dyn std::error::Error, "a renewal could not be served");
            unavailable()
        }
        error => status(error.code(), error.to_string()),
    }
}

fn unavailable() -> Status {
    status(Code::Unavailable, "the server can't answer at present; try again later")
}
