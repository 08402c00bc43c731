//! What the Workload API's JWT calls come to, whoever makes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as ProtoValue};
use serde_json::Value;
use tokio::sync::watch;
use tonic::Status;

use super::bundle::JwtBundle;
use super::bundle_keeper::{BundleKeeper, BundleSource};
use super::token_cache::TokenCache;
use super::validation::{InvalidJwt, JwtQuestion, ValidJwt, key_of, validate};
use crate::agent::connect::session_connection::ServerCalls;
use crate::agent::trust::shared::SharedTrust;
use crate::domain::identity::spiffe::SpiffeId;

/// How long a program waits for keys that have to be fetched.
const KEYS_WITHIN: Duration = Duration::from_secs(10);
/// How long the first program that has a token checked waits for what is denied. A server that tells no trust updates is
/// asked in vain, and its tokens live out their minutes.
const DENIALS_WITHIN: Duration = Duration::from_secs(5);
/// Most audience that is compared, in octets: more than any token of ours has.
const AUDIENCE_OCTETS_MAX: usize = 4 * 256;

/// One for all programs of the machine.
#[derive(Debug)]
pub(crate) struct JwtDesk {
    tokens: TokenCache,
    keeper: BundleKeeper,
    trust: SharedTrust,
    /// The first check of a token has waited for what is denied.
    heard: tokio::sync::OnceCell<()>,
}

impl JwtDesk {
    pub(crate) fn new(calls: ServerCalls, source: BundleSource, trust: SharedTrust) -> Self {
        let (tokens, keeper) = (TokenCache::new(calls), BundleKeeper::new(source));
        Self { tokens, keeper, trust, heard: tokio::sync::OnceCell::new() }
    }

    /// Keeps the keys fresh.
    pub(crate) async fn run(&self) {
        self.keeper.run().await;
    }

    /// A token of the machine's identity for these audiences.
    pub(crate) async fn token(&self, audience: Vec<String>) -> Result<String, Status> {
        let (fetched, new) = self.tokens.token(audience, || self.trust.server_now()).await?;
        if let (true, Ok(kid)) = (new, key_of(&fetched.token)) {
            self.keeper.expect(kid);
        }
        Ok(fetched.token)
    }

    /// The keys, and every change of them.
    pub(crate) async fn bundles(&self) -> Result<watch::Receiver<Option<Arc<JwtBundle>>>, Status> {
        let newest = self.keeper.newest();
        if newest.borrow().is_none() {
            self.keeper.refreshed(KEYS_WITHIN).await;
        } else {
            self.keeper.refresh_if_idle();
        }
        if newest.borrow().is_none() {
            return Err(no_keys());
        }
        Ok(newest)
    }

    /// Whether somebody's token is good for an audience, and what it says.
    pub(crate) async fn validate(
        &self,
        own: &SpiffeId,
        audience: &str,
        token: &str,
    ) -> Result<(SpiffeId, Struct), Status> {
        if audience.is_empty() || audience.len() > AUDIENCE_OCTETS_MAX {
            return Err(Status::invalid_argument(
                "the audience that the token has to be for is missing or too long",
            ));
        }
        let refused = |error: InvalidJwt| Status::invalid_argument(error.to_string());
        let kid = key_of(token).map_err(refused)?;
        self.hear_of_denials().await;
        let newest = self.keeper.newest();
        let knows = || newest.borrow().as_ref().is_some_and(|bundle| bundle.key(&kid).is_some());
        if knows() {
            // Only whoever checks tokens asks for keys, so this keeps them coming.
            self.keeper.refresh_if_idle();
        } else {
            self.keeper.refreshed(KEYS_WITHIN).await;
        }
        let bundle = newest.borrow().clone().ok_or_else(no_keys)?;
        let question = JwtQuestion { token, audience, trust_domain: &own.trust_domain };
        let ValidJwt { id, claims } = validate(&question, &kid, &bundle, &self.trust).map_err(refused)?;
        Ok((id, proto_struct(claims)))
    }

    /// Waits for the first answer of what is denied: the agent watches for as long as it has this socket.
    async fn hear_of_denials(&self) {
        let wait = || async {
            let mut changes = self.trust.changes();
            if self.trust.read().is_none() {
                // Without an answer a token is judged by what it says alone.
                let _ = tokio::time::timeout(DENIALS_WITHIN, changes.changed()).await;
            }
        };
        self.heard.get_or_init(wait).await;
    }
}

fn no_keys() -> Status {
    Status::unavailable(
        "the keys of JWT-SVIDs could not be fetched yet; look at the agent's log, and that the server is running",
    )
}

fn proto_struct(claims: serde_json::Map<String, Value>) -> Struct {
    let fields: BTreeMap<_, _> = claims.into_iter().map(|(name, value)| (name, proto(value))).collect();
    Struct { fields }
}

fn proto(value: Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(proto).collect() })
        }
        Value::Object(members) => Kind::StructValue(proto_struct(members)),
    };
    ProtoValue { kind: Some(kind) }
}
