//! An HTTP/2 connection on which frames are written and read by hand (RFC 9113 4.1), for clients that no library
//! would be.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http::trusting;
use super::server::Server;

/// `GET https://x/healthz` in HPACK's static table and literals (RFC 7541 6).
pub const HEALTHZ: &[u8] = b"\x82\x87\x04\x08/healthz\x41\x01x";
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: u16 = 4;

pub struct Frames {
    stream: TlsStream<TcpStream>,
    /// What has come in and has not been looked at.
    received: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub length: usize,
}

impl Frames {
    pub async fn open(server: &Server) -> Self {
        Self::open_from(Ipv4Addr::UNSPECIFIED.into(), server).await
    }

    /// The same from another address of this machine.
    pub async fn open_from(client: IpAddr, server: &Server) -> Self {
        Self::open_with(client, server, &[]).await
    }

    /// The same for a client that takes only so much of each answer until it says otherwise.
    pub async fn open_with_window(client: IpAddr, server: &Server, window: u32) -> Self {
        let settings = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
        Self::open_with(client, server, &settings).await
    }

    async fn open_with(client: IpAddr, server: &Server, settings: &[u8]) -> Self {
        let mut tls = trusting(&server.server_ca()).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let address = server.hello.url.strip_prefix("https://").unwrap().trim_end_matches('/').to_owned();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((client, 0).into()).unwrap();
        let tcp = socket.connect(address.parse().unwrap()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut this = Self { stream, received: Vec::new() };
        this.write(SETTINGS, 0, 0, settings).await.unwrap();
        this
    }

    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat()).await
    }

    /// `GET https://x` of a short path, with short header fields.
    pub async fn get(&mut self, stream: u32, path: &str, fields: &[(&str, &str)]) {
        // Lengths up to 126 are one octet (RFC 7541 5.1).
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let mut block = [b"\x82\x87\x04".to_vec(), text(path), b"\x41\x01x".to_vec()].concat();
        for (name, value) in fields {
            assert!(name.len().max(value.len()) < 127);
            block.extend([vec![0], text(name), text(value)].concat());
        }
        self.write(HEADERS, END_STREAM | END_HEADERS, stream, &block).await.unwrap();
    }

    /// The next frame; `None` when the server has closed, however it did. What has been read of one is kept when this
    /// is given up.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, _, id @ ..] = &self.received[..]
                && let Some(id) = id.first_chunk()
            {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                let frame = Frame { kind: *kind, stream: u32::from_be_bytes(*id), length };
                if self.received.len() >= 9 + length {
                    self.received.drain(..9 + length);
                    return Some(frame);
                }
            }
            let read = self.stream.read_buf(&mut self.received).await;
            if !read.is_ok_and(|read| read > 0) {
                return None;
            }
        }
    }

    /// The frames that come until nothing has for a while, or the server has closed.
    pub async fn until_quiet(&mut self, pause: Duration) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = tokio::time::timeout(pause, self.next()).await {
            frames.push(frame);
        }
        frames
    }

    /// Some more of what the server says, as it comes.
    pub async fn read(&mut self, said: &mut Vec<u8>) -> std::io::Result<usize> {
        self.stream.read_buf(said).await
    }

    pub async fn shutdown(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Asks for `/healthz` and waits for the answer's body.
    pub async fn answered(&mut self) {
        self.write(HEADERS, END_STREAM | END_HEADERS, 1, HEALTHZ).await.unwrap();
        let mut said = Vec::new();
        while !said.windows(6).any(|part| part == b"status") {
            assert!(self.read(&mut said).await.unwrap() > 0, "these frames are sound: {said:?}");
        }
    }

    /// What the server said until it closed; it must, within this time.
    pub async fn closed(mut self, within: Duration) -> Vec<u8> {
        let mut said = Vec::new();
        // However it ends, it ends.
        drop(
            tokio::time::timeout(within, self.stream.read_to_end(&mut said))
                .await
                .expect("the server closes"),
        );
        said
    }
}
