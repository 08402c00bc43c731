//! Proofs that handlers ask for: who calls, from where, and that it may.

use std::marker::PhantomData;
use std::net::IpAddr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Shared;
use super::problem::Problem;
use super::proxies::client_address;
use super::transport::Transport;
use crate::app::caller::{Caller, LocalVia};
use crate::domain::ids::TenantId;
use crate::domain::permission::Permission;

/// A permission as a type, so that a handler's signature says what it needs.
pub(super) trait Needed {
    const PERMISSION: Permission;
}

macro_rules! needed {
    ($($name:ident)*) => {
        $(
            #[derive(Debug)]
            pub(super) struct $name;

            impl Needed for $name {
                const PERMISSION: Permission = Permission::$name;
            }
        )*
    };
}

needed!(AgentRead AgentWrite AuditRead SecretWrite);

/// Proof that the caller holds permission `P`. A handler that takes it can't run without.
#[derive(Debug)]
pub(super) struct Allowed<P> {
    pub(super) caller: Caller,
    permission: PhantomData<P>,
}

impl<P: Needed + Send> FromRequestParts<Shared> for Allowed<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        let caller = match parts.extensions.get::<Transport>() {
            Some(Transport::Socket { uid }) => Caller::Local { uid: *uid, via: LocalVia::Socket },
            Some(Transport::Process { uid }) => Caller::Local { uid: *uid, via: LocalVia::Process },
            Some(Transport::Tls { .. }) | None => return Err(Problem::unauthenticated()),
        };
        if caller.may(P::PERMISSION) {
            Ok(Self { caller, permission: PhantomData })
        } else {
            Err(Problem::permission_denied())
        }
    }
}

/// The address that a request came from, seen through trusted proxies only.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAddress(pub(super) Option<IpAddr>);

impl FromRequestParts<Shared> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        Ok(Self(match parts.extensions.get::<Transport>() {
            Some(Transport::Tls { peer }) => {
                Some(client_address(&shared.trusted_proxies, peer.ip(), &parts.headers))
            }
            _ => None,
        }))
    }
}

/// The query string, strictly: unknown and malformed parameters are refused.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Problem::bad_request(error.body_text())),
        }
    }
}

/// The query of routes that work in one tenant and take nothing else.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InTenant {
    pub(super) tenant: Option<String>,
}

/// A path segment, parsed. One that can't be an id of the kind asked for names nothing.
#[derive(Debug)]
pub(super) struct Id<T>(pub(super) T);

impl<T: std::str::FromStr> FromRequestParts<Shared> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let missing = || Problem::not_found("There is nothing with this id.");
        let path = axum::extract::Path::<String>::from_request_parts(parts, shared).await;
        let axum::extract::Path(text) = path.map_err(|_| missing())?;
        text.parse().map(Self).map_err(|_| missing())
    }
}

/// The tenant to work in: the one asked for, else the default one.
pub(super) fn tenant(shared: &Shared, asked: Option<&str>) -> Result<TenantId, Problem> {
    shared.app.find_tenant(asked)?.ok_or_else(|| Problem::not_found("There is no such tenant."))
}
