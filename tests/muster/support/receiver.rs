//! Receivers of webhooks that were not written for Muster: they write down what they are sent, and answer as a test wants.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

#[derive(Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    /// Answers every request with these octets.
    pub async fn answering(answer: &'static str) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), None, move |_| answer.to_owned()).await
    }

    /// Answers each as a function says, over TLS where there is something to present.
    pub async fn at(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Received) -> String + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener: TcpListener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (answer, to) = (Arc::new(answer), Arc::clone(&received));
        let serving = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, answer, to) = (tls.clone(), Arc::clone(&answer), Arc::clone(&to));
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                one(stream, &*answer, &to).await;
                            }
                        }
                        None => one(tcp, &*answer, &to).await,
                    }
                });
            }
        });
        Self { address, received, serving }
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    /// The `type` of each message so far.
    pub fn types(&self) -> Vec<String> {
        let types = |it: &Received| it.json()["type"].as_str().unwrap_or_default().to_owned();
        self.received.lock().iter().map(types).collect()
    }
}

async fn one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(dyn Fn(&Received) -> String + Send + Sync),
    to: &Mutex<Vec<Received>>,
) {
    let mut octets = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let received = Received { head: head.to_owned(), body: body.to_owned() };
            if body.len() >= received.header("content-length").parse().unwrap_or(0) {
                let answer = answer(&received);
                to.lock().push(received);
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
                return;
            }
        }
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(length) => octets.extend_from_slice(&part[..length]),
        }
    }
}
