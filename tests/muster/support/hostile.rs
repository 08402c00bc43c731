//! A server that stands where the agent rotates and answers as a test says: with the real server's answer, with
//! that answer changed, or with anything at all.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::http::Http;
use super::impostor::{Certified, certified};

/// How requests are answered.
#[derive(Clone)]
pub enum Script {
    /// As the real server does.
    Honest,
    /// As the real server does, changed.
    Changed(fn(&mut Value)),
    /// With bytes, and an end.
    Bytes(Vec<u8>),
}

/// Runs until the test's runtime ends.
pub struct Hostile {
    pub url: String,
    pub ca_pem: String,
    pub ca_pin: String,
    script: Arc<Mutex<Script>>,
}

/// A whole HTTP response.
pub fn response(status: u16, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// A refusal as Muster words it.
pub fn problem(status: u16, code: &str) -> Script {
    let body = format!(r#"{{"status":{status},"code":"{code}","detail":"scripted"}}"#);
    Script::Bytes(response(status, "application/problem+json", &body))
}

impl Hostile {
    pub async fn before(real: Http, script: Script) -> Self {
        let Certified { tls, ca_pem, ca_pin } = certified("127.0.0.1");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(script));
        let current = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let script = current.lock().clone();
                tokio::spawn(answer(tcp, tls.clone(), real.clone(), script));
            }
        });
        Self { url, ca_pem, ca_pin, script }
    }

    /// From now on.
    pub fn become_honest(&self) {
        *self.script.lock() = Script::Honest;
    }
}

async fn answer(tcp: TcpStream, tls: TlsAcceptor, real: Http, script: Script) -> Option<()> {
    let mut stream = tls.accept(tcp).await.ok()?;
    let mut request = Vec::new();
    let (head, body) = loop {
        if let Some(whole) = whole(&request) {
            break whole;
        }
        let mut buffer = [0; 8192];
        let length @ 1.. = stream.read(&mut buffer).await.ok()? else { return None };
        request.extend_from_slice(&buffer[..length]);
    };
    let path = head.split(' ').nth(1)?.to_owned();
    let bytes = match script {
        Script::Bytes(bytes) => bytes,
        Script::Honest | Script::Changed(_) => {
            let real = real.post(&path, &serde_json::from_slice(&body).ok()?).await;
            let mut answer: Value = serde_json::from_slice(&real.body).ok()?;
            if let Script::Changed(change) = script {
                change(&mut answer);
            }
            response(real.status, "application/json", &answer.to_string())
        }
    };
    stream.write_all(&bytes).await.ok()?;
    stream.shutdown().await.ok()
}

/// Head and body of a request, when all of it is there.
fn whole(request: &[u8]) -> Option<(String, Vec<u8>)> {
    let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let length: usize = length.trim().parse().unwrap();
    let body = request.get(end + 4..end + 4 + length)?;
    Some((head, body.to_vec()))
}
