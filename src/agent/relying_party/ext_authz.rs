//! Envoy's external authorization: the same question over gRPC, about the certificate of the connection that Envoy itself
//! has had the handshake of. No header of the request is looked at.

use tonic::{Request, Response, Status};

use crate::agent::relying_party::http::TRUST_AGE;
use crate::agent::relying_party::proto::authorization_server::Authorization;
use crate::agent::relying_party::proto::check_response::HttpResponse;
use crate::agent::relying_party::proto::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption, HttpStatus,
    OkHttpResponse, Status as RpcStatus,
};
use crate::agent::relying_party::voucher::Voucher;
use crate::vouch::certificate_header::{CertificateHeader, HeaderRefusal};
use crate::vouch::identity_headers::identity_headers;
use crate::vouch::issuers::VerifiedSvid;
use crate::vouch::narrowed::NotNarrowed;
use crate::vouch::refusal::NotVouched;

/// `PERMISSION_DENIED` (google.rpc.Code).
const DENIED: i32 = 7;
/// `OVERWRITE_IF_EXISTS_OR_ADD`.
const OVERWRITE: i32 = 2;

#[derive(Debug)]
pub(crate) struct ExtAuthz {
    voucher: Voucher,
}

impl ExtAuthz {
    pub(crate) const fn new(voucher: Voucher) -> Self {
        Self { voucher }
    }

    fn judge(&self, request: CheckRequest) -> Result<std::sync::Arc<VerifiedSvid>, NotVouched> {
        let attributes = request.attributes.unwrap_or_default();
        let (mut tenant, mut tags) = (None, Vec::new());
        for (name, value) in attributes.context_extensions {
            match name.as_str() {
                "tenant" if !value.is_empty() => tenant = Some(value),
                "tag" if !value.is_empty() => tags.push(value),
                // What is meant to narrow and is not understood must not let more people in.
                _ => return Err(NotNarrowed::Unknown.into()),
            }
        }
        let certificate = attributes.source.unwrap_or_default().certificate;
        if certificate.is_empty() {
            // Either the client has none, or Envoy is not told to include it.
            return Err(HeaderRefusal::Missing(CertificateHeader::ForwardedClientCert).into());
        }
        self.voucher.ask(&certificate, tenant.as_deref(), &tags)
    }

    fn age(&self) -> Option<HeaderValueOption> {
        self.voucher.trust_age().map(|age| overwriting(TRUST_AGE.as_str(), age.to_string()))
    }
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let (status, answer) = match self.judge(request.into_inner()) {
            Ok(verified) => {
                let told = identity_headers(&verified.svid.spiffe_id, verified.svid.serial);
                let told = told.into_iter().map(|(name, value)| overwriting(name, value));
                let ok = OkHttpResponse { headers: told.chain(self.age()).collect() };
                (RpcStatus::default(), HttpResponse::OkResponse(ok))
            }
            Err(refusal) => {
                let denied = DeniedHttpResponse {
                    status: Some(HttpStatus { code: 403 }),
                    headers: self.age().into_iter().collect(),
                    body: format!("{}: {refusal}\n", refusal.code()),
                };
                let status = RpcStatus { code: DENIED, message: refusal.code().to_string() };
                (status, HttpResponse::DeniedResponse(denied))
            }
        };
        Ok(Response::new(CheckResponse { status: Some(status), http_response: Some(answer) }))
    }
}

fn overwriting(name: &str, value: String) -> HeaderValueOption {
    let header = Some(HeaderValue { key: name.to_owned(), value });
    HeaderValueOption { header, append_action: OVERWRITE }
}
