//! An enrolled identity as an agent would hold it, and the two requests that make and renew one.

use serde_json::{Value, json};

use super::grpc::Peer;
use super::http::{Answer, Http};
use super::keys::{self, Csr, Key};
use super::server::{Server, text};

pub const ENROLL: &str = "/enroll/agent";
pub const ROTATE: &str = "/enroll/agent/rotate";

#[derive(Debug, Clone)]
pub struct Identity {
    pub key: Key,
    pub answer: Value,
}

/// Presents a join token with a request.
pub async fn present_token(http: &Http, token: &str, csr: &Csr) -> Answer {
    http.post(ENROLL, &json!({"token": token, "csr": csr.pem})).await
}

/// Presents an enrollment secret with a request.
pub async fn present_secret(http: &Http, secret: &str, csr: &Csr) -> Answer {
    http.post(ENROLL, &json!({"secret": secret, "csr": csr.pem})).await
}

impl Identity {
    /// Enrolls with a fresh token that names `agent`.
    pub async fn enroll(server: &Server, agent: &str) -> Self {
        Self::with_token(&server.http(), &server.join_token_for(agent)).await
    }

    pub async fn with_token(http: &Http, token: &str) -> Self {
        let key = Key::p256();
        let answer = present_token(http, token, &key.csr()).await.expect(201);
        Self { key, answer }
    }

    pub fn field(&self, name: &str) -> String {
        text(&self.answer, name)
    }

    pub fn agent_id(&self) -> String {
        self.field("agent_id")
    }

    pub fn host_id(&self) -> String {
        self.field("host_id")
    }

    pub fn serial(&self) -> String {
        self.field("serial")
    }

    /// Leaf and intermediate, PEM.
    pub fn chain(&self) -> String {
        self.field("certificate") + &self.field("intermediate")
    }

    /// Leaf and intermediate, DER.
    pub fn chain_der(&self) -> Vec<Vec<u8>> {
        keys::certificates(&self.chain())
    }

    /// A rotation request to a new key, proven as it should be.
    pub fn rotation(&self, new: &Key) -> Value {
        self.rotation_of(&new.csr())
    }

    pub fn rotation_of(&self, csr: &Csr) -> Value {
        json!({"chain": self.chain(), "csr": csr.pem, "proof": self.key.proof(csr)})
    }

    /// Rotates to a new key.
    pub async fn rotate(&self, http: &Http) -> Self {
        let key = Key::p256();
        let answer = http.post(ROTATE, &self.rotation(&key)).await.expect(200);
        Self { key, answer }
    }

    /// Demands that nothing which a revoked identity could try gets it anywhere.
    pub async fn assert_out(&self, server: &Server) {
        let http = server.http();
        self.peer(server).assert_refused().await;
        http.post(ROTATE, &self.rotation(&Key::p256())).await.refused(403, "identity_revoked");
        let token = server.join_token_for(&self.agent_id());
        present_token(&http, &token, &Key::p256().csr()).await.refused(403, "identity_revoked");
    }

    /// This identity at the server's gRPC listener.
    pub fn peer(&self, server: &Server) -> Peer {
        Peer::new(&server.hello.grpc_addr, &server.server_ca(), &self.chain_der(), self.key.pair())
    }
}
