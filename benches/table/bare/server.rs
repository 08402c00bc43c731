//! The server of `bare`, a process of its own: TLS with the product's settings, HTTP/1.1, and one thing that it does.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use muster::tls::server_config::https_config;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::bare::issuer::{Answer, Signing};
use crate::bare::writer::{self, Row};

/// Most of a request's body.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Serves with its data in an empty directory. The first line it prints is its address; it ends when its input does, which is
/// when whoever started it does.
pub fn serve(room: &Path) {
    let (signing, certificate) = Signing::set_up(room);
    let desk = Arc::new(Desk { signing, rows: writer::start(&room.join("bare.redb")) });
    let tls = TlsAcceptor::from(https_config(certificate));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    println!("{}", listener.local_addr().expect("it is bound"));
    runtime.spawn(accept(listener, tls, desk));
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    runtime.shutdown_background();
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, desk: Arc<Desk>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, desk) = (tls.clone(), Arc::clone(&desk));
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let stream = TokioIo::new(tls.accept(stream).await?);
            let service = service_fn(move |request| respond(Arc::clone(&desk), request));
            // Clients go without a word, so how a connection ended says nothing.
            let _ = http1::Builder::new().serve_connection(stream, service).await;
            io::Result::Ok(())
        });
    }
}

/// Where requests become certificates.
struct Desk {
    signing: Signing,
    rows: SyncSender<Row>,
}

async fn respond(desk: Arc<Desk>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::default();
    match answer(desk, request).await {
        Some(body) => *response.body_mut() = Full::from(body),
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

async fn answer(desk: Arc<Desk>, request: Request<Incoming>) -> Option<Vec<u8>> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await.ok()?.to_bytes();
    // Signatures take long for a thread that many connections share.
    let (answer, written) = tokio::task::spawn_blocking(move || desk.take(&body)).await.ok()??;
    written.await.ok()?;
    serde_json::to_vec(&answer).ok()
}

impl Desk {
    /// The answer, which may be given once its row is written.
    fn take(&self, body: &[u8]) -> Option<(Answer, oneshot::Receiver<()>)> {
        let issued = self.signing.issue(body)?;
        let (written, is_written) = oneshot::channel();
        self.rows.send(Row { serial: issued.serial, certificate: issued.der, written }).ok()?;
        Some((issued.answer, is_written))
    }
}
