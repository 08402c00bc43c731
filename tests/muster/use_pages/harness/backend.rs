//! What a proxy protects: an application that answers everybody and remembers what it was asked.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What only the application says.
pub const WELCOME: &str = "this is the application";

/// Runs until the test's runtime ends.
#[derive(Debug, Clone)]
pub struct Backend {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let heard = Arc::clone(&heard);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    loop {
                        while let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
                            let head: Vec<u8> = request.drain(..end + 4).collect();
                            heard.lock().push(String::from_utf8_lossy(&head).into_owned());
                            let length = WELCOME.len();
                            let answer =
                                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{WELCOME}");
                            if tcp.write_all(answer.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                        let Ok(1..) = tcp.read_buf(&mut request).await else { return };
                    }
                });
            }
        });
        Self { port, heads }
    }

    /// The heads of the requests since this was last asked.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock())
    }
}
