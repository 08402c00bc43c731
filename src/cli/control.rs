//! How operator commands reach the router: over the UNIX socket while a server runs, and in process while
//! none does. The same requests, the same answers, the same code behind them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tower::ServiceExt;
use zeroize::Zeroizing;

use super::Global;
use crate::agent::connect::server_url::ServerUrl;
use crate::agent::enroll::credential_source::{CredentialPlace, CredentialSource, SecretText};
use crate::api::page::Page;
use crate::api::problem::ProblemDocument;
use crate::app::access::tenants::NO_TENANT;
use crate::cli::authority::custody::Custody;
use crate::cli::context::Contexts;
use crate::cli::output::error::CliError;
use crate::cli::received::Received;
use crate::domain::code::Code;
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::network::networks::Networks;
use crate::domain::network::pin::Pin;
use crate::domain::printable::printable;
use crate::http::reach::Reach;
use crate::http::transport::origin::Transport;
use crate::http::transport::socket;
use crate::http::{ServerFacts, Shared, router};
use crate::tls::client_config::https_client;
use crate::tls::live::LivePeers;
use crate::tls::server_certificate::LiveCertificate;
use crate::tls::server_verifier::{FirstContact, ServerRefused, Trust};
use crate::{server, store};

/// Largest answer that a command reads, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// A way to the router.
pub(crate) enum Control {
    Socket(PathBuf),
    /// The fields are dropped in this order: the store closes, then what root made in it is handed over.
    Process {
        router: Router,
        _custody: Custody,
    },
    Remote(Remote),
}

/// A server elsewhere, and the API token that we show it.
pub(crate) struct Remote {
    client: reqwest::Client,
    server: ServerUrl,
    token: Credential,
}

/// One request to the router.
pub(crate) struct Call<'c> {
    pub(crate) method: Method,
    pub(crate) path: &'c str,
    pub(crate) query: Vec<(&'c str, String)>,
    /// JSON. It may hold a password.
    body: Option<Zeroizing<String>>,
}

impl<'c> Call<'c> {
    pub(crate) const fn get(path: &'c str) -> Self {
        Self { method: Method::GET, path, query: Vec::new(), body: None }
    }

    pub(crate) const fn post(path: &'c str) -> Self {
        Self { method: Method::POST, path, query: Vec::new(), body: None }
    }

    pub(crate) const fn patch(path: &'c str) -> Self {
        Self { method: Method::PATCH, path, query: Vec::new(), body: None }
    }

    pub(crate) const fn delete(path: &'c str) -> Self {
        Self { method: Method::DELETE, path, query: Vec::new(), body: None }
    }

    pub(crate) fn body(mut self, body: &impl Serialize) -> Self {
        let text = serde_json::to_string(body).expect("bodies are plain data and always become JSON");
        self.body = Some(Zeroizing::new(text));
        self
    }

    /// Adds a query parameter if there is a value for it.
    pub(crate) fn query(mut self, name: &'c str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    fn uri(&self) -> String {
        let mut uri = self.path.to_owned();
        for (index, (name, value)) in self.query.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.push_str(&escape(value));
        }
        uri
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986 2.3).
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

impl Control {
    /// Finds the running server's socket, or opens the store itself.
    pub(crate) async fn open(global: &Global) -> Result<Self, CliError> {
        if let Some(server) = &global.server {
            return Remote::new(global, server).map(Self::Remote);
        }
        if let Some(remote) = Remote::of_context(global).await? {
            return Ok(Self::Remote(remote));
        }
        Self::open_here(global).await
    }

    /// A server elsewhere, and the token to show it.
    pub(crate) fn elsewhere(global: &Global, server: &str, token: Credential) -> Result<Self, CliError> {
        Remote::with(server, &Remote::trust(global), token).map(Self::Remote)
    }

    /// The running server of this machine, or its store.
    async fn open_here(global: &Global) -> Result<Self, CliError> {
        let config = global.local_config()?;
        let path = config.data_dir.join(socket::FILE_NAME);
        match socket::connect(&path).await {
            Ok(_) => {
                let owner = path.symlink_metadata().map(|found| found.uid());
                let own = rustix::process::geteuid().as_raw();
                return match owner {
                    Ok(owner) if owner == own || own == 0 => Ok(Self::Socket(path)),
                    _ => Err(CliError::new(format!("{} belongs to another user", path.display()))
                        .hint("run this command as the user that runs the server")),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(CliError::new(format!("you may not use {}", path.display()))
                    .hint("run this command as the user that runs the server, or as root"));
            }
            // No server there: the socket is missing, or a dead server left it behind.
            Err(_) => {}
        }
        if !config.data_dir.join(store::FILE_NAME).exists() {
            return Err(CliError::new(format!("there is no store in {}", config.data_dir.display()))
                .hint("point --data-dir at the server's data directory, or start with 'muster quickstart'"));
        }
        global.log(Some(&config))?;
        let custody = Custody::of(&config.data_dir);
        let app = server::open_app(&config, &LivePeers::default())?;
        // For the pin and the names; without a certificate there are none to tell.
        let certificate = LiveCertificate::load(&config.tls_cert_file, &config.tls_key_file).ok();
        let facts = ServerFacts {
            reach: Reach { certificate: certificate.map(Arc::new), ..server::reach(&config) },
            refused_handshakes: Arc::default(),
            envelope: server::envelope_settings(&config),
            secret_files: server::secret_files(&config),
            install_dir: None,
        };
        let router = router(Shared::new(app, facts, Networks::default()));
        Ok(Self::Process { router, _custody: custody })
    }

    /// Sends a request and reads the JSON of its answer.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Received, CliError> {
        let bytes = self.bytes(call).await?;
        let raw = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        let raw = raw.map_err(|_| CliError::new("the server's answer is not JSON"))?;
        Ok(Received { raw })
    }

    /// The same for what only works on the server's own machine.
    pub(crate) async fn open_local(global: &Global) -> Result<Self, CliError> {
        global.local_config()?;
        Self::open_here(global).await
    }

    /// Sends a request and reads its answer as it is.
    pub(crate) async fn bytes(&self, call: Call<'_>) -> Result<Vec<u8>, CliError> {
        let body = self.answer(call).await?;
        let body = http_body_util::Limited::new(body, ANSWER_MAX).collect().await;
        let bytes = body.map_err(|error| broke_off(&*error))?.to_bytes();
        Ok(bytes.to_vec())
    }

    /// Sends a request and hands each part of its answer on as it comes.
    pub(crate) async fn stream(
        &self,
        call: Call<'_>,
        mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut body = self.answer(call).await?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broke_off(&error))?;
            if let Some(part) = frame.data_ref() {
                take(part)?;
            }
        }
        Ok(())
    }

    /// Sends a request; the body of a good answer.
    async fn answer(&self, call: Call<'_>) -> Result<Body, CliError> {
        let path = call.path.to_owned();
        let mut request = Request::builder().method(call.method.clone()).uri(call.uri());
        let body = match &call.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.as_bytes().to_vec())
            }
            None => Body::empty(),
        };
        let request = request.header(header::HOST, "localhost").body(body);
        let request = request.map_err(|error| CliError::new(format!("cannot form the request: {error}")))?;
        let response = match self {
            Self::Socket(path) => over_socket(path, request).await?,
            Self::Remote(remote) => remote.send(request).await?,
            Self::Process { router, .. } => {
                let mut request = request;
                let uid = rustix::process::getuid().as_raw();
                request.extensions_mut().insert(Transport::Process { uid });
                let Ok(response) = router.clone().oneshot(request).await;
                response
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        Err(refusal(&path, status, &body.map_err(|error| broke_off(&*error))?.to_bytes()))
    }
}

fn broke_off(error: &(dyn std::error::Error + 'static)) -> CliError {
    let message = CliError::caused(error).message;
    CliError::new(format!("the answer broke off: {message}")).hint("the server's log says why")
}

impl Remote {
    fn new(global: &Global, server: &str) -> Result<Self, CliError> {
        let token = api_token(global)?.ok_or_else(|| {
            CliError::usage("a remote server wants an API token")
                .hint("put it into a file for --api-token-file, or into MUSTER_API_TOKEN")
        })?;
        Self::with(server, &Self::trust(global), token)
    }

    /// What vouches for a server that the command line names.
    fn trust(global: &Global) -> Trust {
        match (global.server_pin, &global.server_ca) {
            (Some(pin), _) => Trust::Pin(pin),
            (None, Some(file)) => Trust::CaFile(file.clone()),
            (None, None) => Trust::SystemRoots,
        }
    }

    fn with(server: &str, trust: &Trust, token: Credential) -> Result<Self, CliError> {
        let server: ServerUrl = server.parse()?;
        let first_contact = FirstContact::new(trust)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(https_client(Arc::new(first_contact)))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REMOTE_WITHIN)
            .build();
        let client = client?;
        Ok(Self { client, server, token })
    }

    /// The server that was signed in to, unless the local one is meant: by its data directory, or because it runs and root asks.
    async fn of_context(global: &Global) -> Result<Option<Self>, CliError> {
        if global.data_dir.is_some() {
            return Ok(None);
        }
        let contexts = Contexts::load()?;
        let Some((name, context)) = contexts.current() else { return Ok(None) };
        if rustix::process::geteuid().is_root() {
            let socket = global.local_config()?.data_dir.join(socket::FILE_NAME);
            if socket::connect(&socket).await.is_ok() {
                return Ok(None);
            }
        }
        let pin = context.server_pin.as_deref().map(str::parse::<Pin>).transpose();
        let pin = pin.map_err(|_| CliError::new(format!("the pin of context '{name}' is none")))?;
        let trust = match (pin, &context.server_ca) {
            (Some(pin), _) => Trust::Pin(pin),
            (None, Some(file)) => Trust::CaFile(file.clone()),
            (None, None) => Trust::SystemRoots,
        };
        let text = SecretText::new(&context.api_token);
        let source = CredentialSource { kind: CredentialKind::ApiToken, place: CredentialPlace::Given(text) };
        eprintln!("(server {}, of context {name})", context.server);
        Self::with(&context.server, &trust, source.read()?).map(Some)
    }

    async fn send(&self, request: Request<Body>) -> Result<axum::response::Response, CliError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut sending =
            self.client.request(parts.method, format!("{}{}", self.server, parts.uri)).body(body);
        if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
            sending = sending.header(header::CONTENT_TYPE, kind);
        }
        let answer = sending.bearer_auth(self.token.reveal().as_str()).send().await;
        let answer = answer.map_err(|error| {
            let refused = ServerRefused::in_error(&error).map(CliError::from);
            let CliError { message, .. } = refused.unwrap_or_else(|| error.without_url().into());
            CliError::new(format!("cannot reach {}: {message}", self.server)).hint(
                "check the address; for a server with a CA of its own, give --server-pin or --server-ca",
            )
        })?;
        Ok(axum::http::Response::from(answer).map(Body::new))
    }
}

/// The API token, from a file, standard input or the environment, if one is given.
pub(crate) fn api_token(global: &Global) -> Result<Option<Credential>, CliError> {
    let place = match (&global.api_token_file, std::env::var("MUSTER_API_TOKEN")) {
        (Some(path), _) => CredentialPlace::named(path.clone()),
        (None, Ok(text)) => CredentialPlace::Given(SecretText::new(&text)),
        (None, Err(_)) => return Ok(None),
    };
    Ok(Some(CredentialSource { kind: CredentialKind::ApiToken, place }.read()?))
}

/// The longest that a remote server may take.
const REMOTE_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

async fn over_socket(path: &Path, request: Request<Body>) -> Result<axum::response::Response, CliError> {
    let gone = |error: &dyn std::fmt::Display| {
        CliError::new(format!("lost the server behind {}: {error}", path.display()))
    };
    let stream = socket::connect(path).await.map_err(|error| gone(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| gone(&error))?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| gone(&error))?;
    Ok(response.map(Body::new))
}

fn refusal(path: &str, status: StatusCode, body: &[u8]) -> CliError {
    let problem = serde_json::from_slice::<ProblemDocument>(body).ok();
    let Some(problem) = problem.filter(|problem| !problem.code.is_empty() && !problem.detail.is_empty())
    else {
        return CliError::new(format!("the server answered {status}"))
            .hint("check that --server is a muster server");
    };
    // What is a sentence in an answer is one clause of the line here.
    let mut text = problem.detail.trim_end_matches('.').to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    // A command that is advised stands at the end, where it can be copied.
    let error = CliError::new(match text.split_once("; run: ") {
        Some((what, command)) => format!("{what} ({}); run: {command}", problem.code),
        None => format!("{text} ({})", problem.code),
    });
    let failed = matches!(problem.code.parse(), Ok(Code::Internal | Code::Unavailable | Code::CaUnavailable));
    match (next_step(path, &problem), problem.request_id.as_deref().filter(|_| failed)) {
        (Some(hint), Some(request)) => error.hint(format!("{hint} (request_id {})", printable(request, 32))),
        (Some(hint), None) => error.hint(hint),
        (None, _) => error,
    }
}

/// What helps after a refusal whose own words don't say it.
fn next_step(path: &str, problem: &ProblemDocument) -> Option<&'static str> {
    match problem.code.parse() {
        Ok(Code::NotFound) if problem.detail == NO_TENANT => Some("'muster tenant list' lists tenants"),
        Ok(Code::NotFound) => where_to_look(path),
        Ok(Code::NoEnvelope) => Some(crate::server::FIND_THE_ENVELOPE),
        code => code.ok().and_then(Code::advice),
    }
}

/// Which list has what was not found.
fn where_to_look(path: &str) -> Option<&'static str> {
    let on = |route: &str| path.starts_with(route);
    Some(match () {
        () if on("/v1/hosts") || on("/v1/agents/") && path.ends_with("/revoke") => {
            "'muster host list' lists hosts, with --decommissioned those out of service; --tenant names another tenant"
        }
        () if on("/v1/agents/enroll-tokens") => "'muster enroll-token list' lists join tokens",
        () if on("/v1/enrollment-secrets") => "'muster secret list' lists enrollment secrets",
        () if on("/v1/api-tokens") => "'muster api-token list' lists API tokens",
        () if on("/v1/webhooks") => "'muster webhook list' lists webhooks",
        () if on("/v1/users") => "'muster user list' lists people, 'muster tenant list' tenants",
        () if on("/v1/agent-ca") || on("/agent-ca") => "make one: muster agent-ca init",
        () => return None,
    })
}

impl Control {
    /// Reads a whole list, page by page, as one document.
    pub(crate) async fn list(&self, call: Call<'_>) -> Result<Received, CliError> {
        self.list_up_to(call, usize::MAX).await
    }

    /// The same, of the first so many items.
    pub(crate) async fn list_up_to(&self, call: Call<'_>, count: usize) -> Result<Received, CliError> {
        let mut items = Vec::new();
        let pages = self.pages(call, count, |page| {
            items.extend(page);
            Ok(())
        });
        let next_cursor = pages.await?;
        items.truncate(count);
        Ok(Received::of(&Page { items, next_cursor }))
    }

    /// Reads a list until there are so many items, and hands on each page as it comes, its items as they came, so that
    /// a long one does not fill the memory. Returns where it would go on.
    pub(crate) async fn pages(
        &self,
        call: Call<'_>,
        count: usize,
        mut take: impl FnMut(Vec<Value>) -> Result<(), CliError>,
    ) -> Result<Option<String>, CliError> {
        let (mut cursor, mut taken) = (None::<String>, 0);
        loop {
            let page = Call { method: Method::GET, path: call.path, query: call.query.clone(), body: None }
                .query("limit", Some(PAGE.min(count)))
                .query("cursor", cursor);
            let answer = self.call(page).await?;
            let page: Page<Value> = serde_json::from_value(answer.raw)
                .map_err(|_| CliError::new("the server's answer is not a list"))?;
            taken += page.items.len();
            take(page.items)?;
            if page.next_cursor.is_none() || taken >= count {
                return Ok(page.next_cursor);
            }
            cursor = page.next_cursor;
        }
    }
}

/// Items asked for at once.
const PAGE: usize = 500;
