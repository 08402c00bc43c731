//! What stands beside a relying party: an agent that vouches and writes files, and an nginx that asks it or reads them. Each
//! is a process of its own, ended with this value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::load::server::Server;

/// How long a program may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// And to end.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A process that ends with this value.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // In good order where it can be: an nginx has workers that would outlive it.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let deadline = Instant::now() + ENDS_WITHIN;
        while Instant::now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The agent of the relying party's machine.
#[derive(Debug)]
pub struct Agent {
    room: tempfile::TempDir,
    pub process: Running,
}

impl Agent {
    /// Enrolls and runs, by way of a program that ends in it.
    pub fn start(server: &Server, secret: &str, by_way_of: &[&str]) -> Self {
        let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a real disk");
        let path = room.path().canonicalize().expect("it is there");
        fs::write(path.join("secret"), secret).expect("a file");
        fs::write(path.join("server-ca.pem"), &server.ca).expect("a file");
        let url = format!("https://{}", server.https);
        let config = json!({
            "control_plane": {"grpc_addr": server.grpc.to_string()},
            "tls": {
                "cert_file": path.join("cert.pem"),
                "key_file": path.join("key.pem"),
                "ca_file": path.join("server-ca.pem"),
            },
            "identity": {"server": url},
            "enroll": {"server": url, "secret_file": path.join("secret"), "ca_pin": server.pin},
            "workload_api": {"socket": path.join("workload.sock")},
            "relying_party": {"listen": format!("unix:{}", path.join("vouch.sock").display())},
        });
        fs::write(path.join("agent.yml"), config.to_string()).expect("a file");
        let mut command = server.command(by_way_of, &path);
        command.args(["agent", "run", "--config"]).arg(path.join("agent.yml"));
        let process = Running(command.spawn().expect("an agent"));
        let agent = Self { room, process };
        until("the agent answers", || agent.socket().exists());
        agent
    }

    pub fn socket(&self) -> PathBuf {
        self.path("vouch.sock")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().canonicalize().expect("it is there").join(name)
    }

    /// `muster agent outputs` for nginx, which is told of each change.
    pub fn outputs(&self, server: &Server, nginx: &Nginx) -> Running {
        let (config, files) = (self.path("outputs.yml"), nginx.path("muster"));
        let reload = [nginx.program.as_str(), "-c", &nginx.config(), "-s", "reload"];
        let output = json!({"dir": files, "on_change": reload});
        let settings = json!({
            "socket": self.path("workload.sock"), "state_dir": self.path("state"), "outputs": [output],
        });
        fs::write(&config, settings.to_string()).expect("a file");
        let mut command = server.command(&[], self.room.path());
        command.args(["agent", "outputs", "--config"]).arg(config);
        Running(command.spawn().expect("it runs"))
    }
}

/// An nginx with two locations on one port each: one that asks the agent, one that reads files.
#[derive(Debug)]
pub struct Nginx {
    room: tempfile::TempDir,
    program: String,
    pub asking: u16,
    pub by_files: u16,
    process: Option<Running>,
}

impl Nginx {
    /// None where the machine has no nginx.
    pub fn prepare() -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"];
        let program = (*program.iter().find(|program| Path::new(program).exists())?).to_owned();
        let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a real disk");
        fs::create_dir(room.path().join("muster")).expect("a directory");
        Some(Self { room, program, asking: free_port(), by_files: free_port(), process: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().canonicalize().expect("it is there").join(name)
    }

    fn config(&self) -> String {
        self.path("nginx.conf").display().to_string()
    }

    /// Starts once the files are there.
    pub fn start(&mut self, agent: &Agent) {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).and_then(|it| it.self_signed(&key));
        fs::write(self.path("tls.crt"), certificate.expect("a certificate").pem()).expect("a file");
        fs::write(self.path("tls.key"), key.serialize_pem()).expect("a file");
        until("the files are there", || self.path("muster/crl.pem").exists());
        let room = self.path("");
        let room = room.display().to_string();
        let room = room.trim_end_matches('/');
        let (asking, by_files, socket) = (self.asking, self.by_files, agent.socket());
        let config = format!(
            "
            user root; daemon off; pid {room}/pid; error_log {room}/log; worker_processes 1;
            events {{ worker_connections 256; }}
            http {{
                access_log off;
                client_body_temp_path {room}/t1; proxy_temp_path {room}/t2; fastcgi_temp_path {room}/t3;
                uwsgi_temp_path {room}/t4; scgi_temp_path {room}/t5;
                ssl_certificate {room}/tls.crt; ssl_certificate_key {room}/tls.key;
                ssl_session_cache off; ssl_session_tickets off;
                upstream muster {{ server unix:{socket}; keepalive 8; }}
                server {{
                    listen 127.0.0.1:{asking} ssl; ssl_verify_client optional_no_ca; keepalive_requests 1000000;
                    location / {{ auth_request /muster; try_files /none =404; }}
                    location = /muster {{
                        internal; proxy_pass http://muster/v1/forward-auth;
                        proxy_http_version 1.1; proxy_set_header Connection \"\";
                        proxy_pass_request_headers off; proxy_pass_request_body off;
                        proxy_set_header Content-Length \"\"; proxy_set_header X-Client-Cert $ssl_client_escaped_cert;
                    }}
                }}
                server {{
                    listen 127.0.0.1:{by_files} ssl; ssl_verify_client on; ssl_verify_depth 3;
                    ssl_client_certificate {room}/muster/ca.pem; ssl_crl {room}/muster/crl.pem;
                    location / {{ try_files /none =404; }}
                }}
            }}",
            socket = socket.display(),
        );
        fs::write(self.config(), config).expect("a file");
        let mut command = Command::new(&self.program);
        command.args(["-c", &self.config()]).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Running(command.spawn().expect("it runs")));
        until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", by_files)).is_ok());
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
