//! Another provider of the Workload API than our agent, with a CA of its own, and `muster agent outputs` beside it.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use muster::agent::workload::proto::spiffe_workload_api_server::{
    SpiffeWorkloadApi, SpiffeWorkloadApiServer,
};
use muster::agent::workload::proto::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::process::{MUSTER, Process, command};

pub const SPIFFE_ID: &str = "spiffe://elsewhere/service";

/// A root, an intermediate, and what they sign.
pub struct OtherCa {
    pub root: Vec<u8>,
    pub root_issuer: Issuer<'static, KeyPair>,
    pub intermediate: Vec<u8>,
    pub issuer: Issuer<'static, KeyPair>,
    number: std::cell::Cell<u64>,
}

impl OtherCa {
    pub fn new() -> Self {
        let params = |name: &str, below: u8| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::OrganizationName, "Elsewhere");
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = params("Root", 1).self_signed(&root_key).unwrap();
        let root_issuer = Issuer::from_ca_cert_der(root.der(), root_key).unwrap();
        let mut below = params("Intermediate", 0);
        below.use_authority_key_identifier_extension = true;
        let intermediate = below.signed_by(&key, &root_issuer).unwrap();
        let issuer = Issuer::from_ca_cert_der(intermediate.der(), key).unwrap();
        Self {
            root: root.der().to_vec(),
            root_issuer,
            intermediate: intermediate.der().to_vec(),
            issuer,
            number: 1.into(),
        }
    }

    /// An identity with its key, under a new serial.
    pub fn svid(&self) -> X509svid {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(self.next()));
        params.subject_alt_names = vec![SanType::URI(SPIFFE_ID.try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        X509svid {
            spiffe_id: SPIFFE_ID.to_owned(),
            x509_svid: [leaf.der(), &self.intermediate[..]].concat(),
            x509_svid_key: key.serialize_der(),
            bundle: self.root.clone(),
            hint: String::new(),
        }
    }

    /// The intermediate's list with these serials, and the root's.
    pub fn lists(&self, revoked: &[u64]) -> Vec<Vec<u8>> {
        vec![self.list(&self.issuer, revoked), self.list(&self.root_issuer, &[])]
    }

    pub fn list(&self, issuer: &Issuer<'static, KeyPair>, revoked: &[u64]) -> Vec<u8> {
        let revoked: Vec<_> = revoked.iter().map(|serial| serial.to_be_bytes()).collect();
        self.list_of(issuer, &revoked.iter().map(|serial| &serial[..]).collect::<Vec<_>>())
    }

    /// The same with serials of any length, big-endian.
    pub fn list_of(&self, issuer: &Issuer<'static, KeyPair>, revoked: &[&[u8]]) -> Vec<u8> {
        let day = |days: i64| {
            let date = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
            let date = date.to_zoned(jiff::tz::TimeZone::UTC).date();
            rcgen::date_time_ymd(date.year().into(), date.month().cast_unsigned(), date.day().cast_unsigned())
        };
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: day(-1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: day(-1),
            next_update: day(2),
            crl_number: SerialNumber::from(self.next()),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().der().to_vec()
    }

    pub fn answer(&self, revoked: &[u64]) -> X509svidResponse {
        X509svidResponse { svids: vec![self.svid()], crl: self.lists(revoked), ..Default::default() }
    }

    fn next(&self) -> u64 {
        self.number.replace(self.number.get() + 1)
    }
}

/// A provider that gives what it is told to give; nothing is a refusal.
pub struct Provider {
    pub room: tempfile::TempDir,
    pub ca: OtherCa,
    offer: watch::Sender<Option<X509svidResponse>>,
    serving: Option<tokio::runtime::Runtime>,
}

impl Provider {
    /// One that serves and has no identity.
    pub fn start() -> Self {
        let mut provider = Self {
            room: tempfile::tempdir().unwrap(),
            ca: OtherCa::new(),
            offer: watch::Sender::new(None),
            serving: None,
        };
        provider.serve();
        provider
    }

    pub fn serve(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _ = std::fs::remove_file(self.socket());
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(self.socket()).unwrap()
        };
        let api = SpiffeWorkloadApiServer::new(Api(self.offer.clone()));
        let server = tonic::transport::Server::builder().add_service(api);
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        self.serving = Some(runtime);
    }

    /// Ends every connection, as a crash would.
    pub fn stop(&mut self) {
        self.serving.take().unwrap().shutdown_timeout(std::time::Duration::from_secs(1));
    }

    pub fn socket(&self) -> PathBuf {
        self.room.path().join("provider.sock")
    }

    pub fn give(&self, answer: X509svidResponse) {
        self.offer.send_replace(Some(answer));
    }

    /// Another certificate, with the lists as they are.
    pub fn rotate(&self) {
        let crl = self.offer.borrow().as_ref().map(|answer| answer.crl.clone()).unwrap_or_default();
        self.give(X509svidResponse { svids: vec![self.ca.svid()], crl, ..Default::default() });
    }

    /// Other lists, with the certificate as it is.
    pub fn revoke(&self, serials: &[u64]) {
        self.give_lists(self.ca.lists(serials));
    }

    pub fn give_lists(&self, crl: Vec<Vec<u8>>) {
        let svids = self.offer.borrow().as_ref().map(|answer| answer.svids.clone()).unwrap();
        self.give(X509svidResponse { svids, crl, ..Default::default() });
    }

    pub fn outputs(&self, outputs: Value) -> Outputs {
        Outputs::new(self.room.path(), &self.socket(), outputs)
    }
}

struct Api(watch::Sender<Option<X509svidResponse>>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Api {
    type FetchX509SVIDStream = Answers<X509svidResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        if self.0.borrow().is_none() {
            return Err(Status::permission_denied("no identity issued"));
        }
        let answers = WatchStream::new(self.0.subscribe()).filter_map(|answer| answer.map(Ok));
        Ok(Response::new(Box::pin(answers)))
    }

    type FetchX509BundlesStream = Answers<X509BundlesResponse>;

    async fn fetch_x509_bundles(
        &self,
        _request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn fetch_jwtsvid(
        &self,
        _request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type FetchJWTBundlesStream = Answers<JwtBundlesResponse>;

    async fn fetch_jwt_bundles(
        &self,
        _request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn validate_jwtsvid(
        &self,
        _request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// `muster agent outputs` with settings of its own.
pub struct Outputs {
    home: PathBuf,
    config: PathBuf,
}

impl Outputs {
    /// `outputs` goes into the settings as it is. YAML takes JSON.
    #[expect(clippy::needless_pass_by_value, reason = "tests write it where it is used")]
    pub fn new(home: &Path, socket: &Path, outputs: Value) -> Self {
        let config = home.join("outputs.yml");
        let settings = json!({"socket": socket, "state_dir": home.join("state"), "outputs": outputs});
        std::fs::write(&config, settings.to_string()).unwrap();
        Self { home: home.to_owned(), config }
    }

    /// An empty directory for an output.
    pub fn dir(home: &Path, name: &str) -> PathBuf {
        let dir = home.join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    pub fn keep(&self) -> Process {
        self.keep_with(&[])
    }

    pub fn keep_with(&self, env: &[(&str, &str)]) -> Process {
        let mut command = command(MUSTER, &self.home);
        command.args(["agent", "outputs", "--config"]).arg(&self.config).envs(env.iter().copied());
        Process::start(&mut command)
    }

    pub fn run(&self, args: &[&str]) -> super::cli::Output {
        let config = self.config.to_str().unwrap();
        super::cli::Cli::new(&self.home, &[&["agent", "outputs", "--config", config][..], args].concat())
            .run()
    }

    /// `--once`, in which no file can be longer than 512 octets.
    pub fn run_limited(&self) -> super::cli::Output {
        let config = self.config.to_str().unwrap();
        let script = "ulimit -f 1; exec \"$0\" agent outputs --once --config \"$1\"";
        super::cli::program("sh", &self.home, &["-c", script, MUSTER, config])
    }

    /// The first output of `--status --json`.
    pub fn status(&self) -> Value {
        let shown = self.run(&["--status", "--json"]);
        let status: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|e| panic!("{e}: {shown}"));
        status["outputs"][0].clone()
    }
}
