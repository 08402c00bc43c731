//! Envoy's secret discovery on the agent's socket, judged by a real Envoy.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::support::agent::Machine;
use crate::support::identity::Identity;
use crate::support::process::{Process, command};
use crate::support::server::Server;
use crate::support::wait;

/// Takes any server, and remembers whose certificate it showed: an SVID names no host.
#[derive(Debug, Default)]
struct AnyServer {
    shown: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.shown.lock() = Some(leaf.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ECDSA_NISTP384_SHA384]
    }
}

/// An Envoy that lets in whom the agent's secrets let in, and answers every request with 200.
struct Envoy {
    address: String,
    _process: Process,
}

fn envoy_binary() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/lib");
    let pythons = std::fs::read_dir(&lib).unwrap().map(|entry| entry.unwrap().path());
    let mut found = pythons.map(|python| python.join("site-packages/envoy/_bin/envoy"));
    found.find(|path| path.exists()).unwrap_or_else(|| panic!("Envoy is missing: run .ci/prepare first"))
}

fn secret(name: &str) -> Value {
    let service = json!({"envoy_grpc": {"cluster_name": "agent"}});
    let source = json!({"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]});
    json!({"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}})
}

/// Takes programs of this machine without TLS, and calls on as its agent.
fn way_out() -> Value {
    let manager = manager("main", &json!({"match": {"prefix": "/"}, "route": {"cluster": "called"}}));
    json!({
        "name": "main",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    })
}

/// Whom it calls: one agent, with a handshake for each request.
fn called(address: &str, id: &str) -> Value {
    let (host, port) = address.rsplit_once(':').unwrap();
    let address = json!({"socket_address": {"address": host, "port_value": port.parse::<u16>().unwrap()}});
    let endpoint = json!({"endpoint": {"address": address}});
    let options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    });
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "max_session_keys": 0,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [secret("default")],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": id}}],
                },
                "validation_context_sds_secret_config": secret("ROOTCA"),
            },
        },
    });
    json!({
        "name": "called",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": "called", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {"name": "tls", "typed_config": context},
    })
}

fn manager(name: &str, route: &Value) -> Value {
    let router = json!({
        "name": "router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    });
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    })
}

fn listener(name: &str, certificate: &str, roots: &str) -> Value {
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [secret(certificate)],
            "validation_context_sds_secret_config": secret(roots),
        },
    });
    let manager = manager(name, &json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}}));
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{
            "transport_socket": {"name": "tls", "typed_config": context},
            "filters": [{"name": "http", "typed_config": manager}],
        }],
    })
}

impl Envoy {
    async fn start(home: &Path, socket: &Path, listeners: &[Value]) -> Self {
        Self::start_with(home, socket, listeners, &[]).await
    }

    async fn start_with(home: &Path, socket: &Path, listeners: &[Value], others: &[Value]) -> Self {
        let http2 = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        });
        let endpoint = json!({"endpoint": {"address": {"pipe": {"path": socket}}}});
        let agent = json!({
            "name": "agent",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
            "load_assignment": {"cluster_name": "agent", "endpoints": [{"lb_endpoints": [endpoint]}]},
        });
        let clusters = [&[agent], others].concat();
        let config = json!({
            "node": {"id": "test", "cluster": "test"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": {"clusters": clusters, "listeners": listeners},
        });
        let (path, admin) = (home.join("envoy.json"), home.join("envoy.admin"));
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = command(envoy_binary().to_str().unwrap(), home);
        command
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"])
            .arg(&path);
        command.arg("--admin-address-path").arg(&admin);
        let process = Process::start(&mut command);
        let address = wait::until_answered("Envoy listens", async || {
            let admin = std::fs::read_to_string(&admin).ok().filter(|text| !text.is_empty())?;
            let mut asking = TcpStream::connect(admin.trim()).await.ok()?;
            asking
                .write_all(b"GET /listeners HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .await
                .ok()?;
            let mut listeners = String::new();
            asking.read_to_string(&mut listeners).await.ok()?;
            let main = listeners.lines().find_map(|line| line.strip_prefix("main::"))?.to_owned();
            // One that is warming has an address and takes nobody.
            TcpStream::connect(&main).await.is_ok().then_some(main)
        });
        Self { address: address.await, _process: process }
    }

    /// One request on a connection of its own: the certificate that Envoy showed.
    async fn call(&self, chain: &[Vec<u8>], key: PrivateKeyDer<'static>) -> io::Result<Vec<u8>> {
        let server = Arc::new(AnyServer::default());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&server) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(chain, key)
            .map_err(io::Error::other)?;
        let exchange = async {
            let tcp = TcpStream::connect(&self.address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
            tls.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
            let mut answer = [0; 12];
            tls.read_exact(&mut answer).await?;
            if &answer == b"HTTP/1.1 200" { Ok(()) } else { Err(io::Error::other(format!("{answer:?}"))) }
        };
        timeout(wait::PATIENCE, exchange).await.map_err(io::Error::other)??;
        server.shown.lock().take().ok_or_else(|| io::Error::other("no certificate was shown"))
    }

    /// The same as the machine, with the identity that it has now.
    async fn call_as(&self, machine: &Machine) -> io::Result<Vec<u8>> {
        loop {
            let (chain, key) = (machine.read("cert.pem"), machine.read("key.pem"));
            let chain: Vec<_> =
                CertificateDer::pem_slice_iter(chain.as_bytes()).map(|der| der.unwrap().to_vec()).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            match self.call(&chain, key).await {
                // The two files are exchanged one after the other.
                Err(error) if error.to_string().contains("keys may not be consistent") => {}
                called => return called,
            }
        }
    }
}

fn served(server: &Server) -> (Machine, PathBuf, Process) {
    served_as(server, "web-1")
}

fn served_as(server: &Server, agent: &str) -> (Machine, PathBuf, Process) {
    let machine = Machine::new();
    machine.enroll_at(server, &server.join_token_for(agent));
    let config = machine.configure(server, None);
    let socket = machine.with_workload_api(&config);
    let agent = machine.run(&config, &[]);
    agent.wait_for_log("session open", wait::PATIENCE);
    (machine, socket, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_through_a_rotation_without_a_refused_request() {
    let server = tokio::task::block_in_place(|| Server::quickstart_with(&[("MUSTER_SVID_TTL", "20s")]));
    let (machine, socket, _agent) = tokio::task::block_in_place(|| served(&server));
    let listeners = [listener("main", "default", "ROOTCA")];
    let envoy = Envoy::start(machine.home(), &socket, &listeners).await;
    let mut shown = vec![
        wait::until_answered("Envoy has its secrets", async || envoy.call_as(&machine).await.ok()).await,
    ];
    let mut after = 0;
    while after < 10 {
        shown.push(envoy.call_as(&machine).await.unwrap());
        shown.dedup();
        after += usize::from(shown.len() > 2);
    }
}

/// One request without TLS: the answer, or as much of it as there was.
async fn plain(address: &str) -> String {
    let asked = async {
        let mut tcp = TcpStream::connect(address).await?;
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    };
    timeout(wait::PATIENCE, asked).await.unwrap().unwrap_or_default()
}

/// A certificate that comes to another one, again and again.
struct Rotating<'a>(&'a Machine, Vec<String>);

impl Rotating<'_> {
    fn look(&mut self) -> usize {
        self.1.push(self.0.read("cert.pem"));
        self.1.dedup();
        self.1.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_calls_and_serves_through_rotations_of_both_ends_without_a_failed_request() {
    let server = tokio::task::block_in_place(|| {
        Server::quickstart_with(&[("MUSTER_SVID_TTL", "20s"), ("MUSTER_SVID_SERVER_AUTH", "true")])
    });
    let (far, far_socket, _far_agent) = tokio::task::block_in_place(|| served_as(&server, "far"));
    let (near, near_socket, _near_agent) = tokio::task::block_in_place(|| served_as(&server, "near"));
    let serving = Envoy::start(far.home(), &far_socket, &[listener("main", "default", "ROOTCA")]).await;
    let id = format!("spiffe://muster/tenant/{}/agent/far", server.hello.tenant_id);
    let cluster = called(&serving.address, &id);
    let calling = Envoy::start_with(near.home(), &near_socket, &[way_out()], &[cluster]).await;
    let answers = async || plain(&calling.address).await.starts_with("HTTP/1.1 200").then_some(());
    wait::until_answered("both have their secrets", answers).await;
    let (mut ends, mut after) = ([Rotating(&far, Vec::new()), Rotating(&near, Vec::new())], 0);
    // Two rotations of each: whatever both began with is over then.
    while after < 10 {
        let answer = plain(&calling.address).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let rotated = ends.iter_mut().map(|end| usize::from(end.look() > 2)).sum::<usize>() == 2;
        after += usize::from(rotated);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_refuses_a_revoked_agent_and_an_unknown_secret_disturbs_nobody() {
    let server = tokio::task::block_in_place(Server::quickstart);
    let (machine, socket, _agent) = tokio::task::block_in_place(|| served(&server));
    let id = format!("spiffe://muster/tenant/{}/agent/web-1", server.hello.tenant_id);
    let listeners = [listener("waits", "nobody", "ROOTCA"), listener("main", &id, "spiffe://muster")];
    let envoy = Envoy::start(machine.home(), &socket, &listeners).await;
    let other = Identity::enroll(&server, "web-2").await;
    let key = || PrivateKeyDer::try_from(other.key.pair().serialize_der()).unwrap();
    let chain = other.chain_der();
    wait::until_answered("Envoy has its secrets", async || envoy.call(&chain, key()).await.ok()).await;
    tokio::task::block_in_place(|| server.revoke("web-2"));
    wait::until_answered("the list is in force", async || {
        envoy.call(&chain, key()).await.is_err().then_some(())
    })
    .await;
    envoy.call_as(&machine).await.unwrap();
}
