//! What answers a connection's requests, and what is noted of them: which connections have one open, so that others
//! make way for newcomers before they do; what the answers hold in memory; how many come from strangers; and when a
//! connection is between two requests.
//!
//! A request is open from its head to the last of its answer, so a stream of events is open all along. An answer is
//! held until the last of its bytes has left the process, wherever inside the HTTP library they wait.

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Buf, Bytes, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::domain::network::networks::accountable;
use crate::tls::listener::admission::{OpenRequest, Requests};
use crate::tls::listener::send_budget::{Charge, Ender, Payer, SendBudget, Standing, StreamTask};
use crate::tls::listener::stall::{RequestClock, RequestInProgress};

/// Largest piece of an answer that is handed over at once, in bytes: what the HTTP/2 library keeps for a slow
/// reader of one stream.
const PIECE_MAX: usize = 64 * 1024;

tokio::task_local! {
    /// The task itself, where it serves an HTTP/2 stream.
    pub(crate) static STREAM: StreamTask;
}

/// What answers the requests of one connection.
pub trait Answering:
    Service<
        Request<Incoming>,
        Response = Response<Self::Body>,
        Error: Into<Box<dyn Error + Send + Sync>>,
        Future: Send + 'static,
    > + Send
    + 'static
{
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> Answering for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Body = B;
}

/// On an answer: its body is shared by everybody who asks for it, so that holding it costs nothing but its place. So is what
/// is said bit by bit, such as what every watcher of trust is told.
#[derive(Debug, Clone, Copy)]
pub struct SharedBody;

/// On an answer: who pays for it instead of the connection's peer, where that is a proxy that is believed.
#[derive(Debug, Clone, Copy)]
pub struct ChargedTo(pub IpAddr);

/// In a request: the place that it takes among those of its connection that come from nobody in particular.
#[derive(Debug, Clone, Default)]
pub struct Unproven(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Unproven {
    /// The request comes from somebody, and gives its place back.
    pub fn proved(&self) {
        drop(self.hold(None));
    }

    fn hold(&self, place: Option<OwnedSemaphorePermit>) -> Option<OwnedSemaphorePermit> {
        std::mem::replace(&mut *self.0.lock(), place)
    }
}

/// What is noted of the requests of one connection.
#[derive(Debug, Clone)]
pub(crate) struct RequestTracking {
    /// `None` where nobody makes way because of them.
    pub(crate) requests: Option<Requests>,
    pub(crate) budget: Arc<SendBudget>,
    /// Who pays unless an answer says otherwise.
    pub(crate) payer: Payer,
    /// Places for requests that have not proved who they come from; `None` where all of them have.
    pub(crate) strangers: Option<Arc<Semaphore>>,
    /// Ends the connection.
    pub(crate) connection: CancellationToken,
    /// For HTTP/1, whose requests come one after the other.
    pub(crate) clock: Option<Arc<RequestClock>>,
}

/// A service whose requests are noted.
#[derive(Debug)]
pub(crate) struct Noting<S> {
    pub(crate) service: S,
    pub(crate) notes: RequestTracking,
}

impl<S: Answering> Service<Request<Incoming>> for Noting<S> {
    type Response = Response<NotedBody<S::Body>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let notes = self.notes.clone();
        let open = notes.requests.as_ref().map(Requests::open);
        let answering_now = notes.clock.clone().map(RequestClock::answering);
        let (ender, place) = (Ender::new(notes.connection.clone()), Unproven::default());
        request.extensions_mut().insert(ender.clone());
        request.extensions_mut().insert(place.clone());
        // Nothing of it runs before it is awaited.
        let answering = self.service.call(request);
        Box::pin(async move {
            if let Ok(stream) = STREAM.try_with(StreamTask::clone) {
                ender.runs_on(stream);
            }
            if let Some(strangers) = notes.strangers.clone() {
                // The semaphore is never closed.
                place.hold(strangers.acquire_owned().await.ok());
            }
            let mut response = answering.await?;
            let shared = response.extensions_mut().remove::<SharedBody>().is_some();
            let charged_to = response.extensions_mut().remove::<ChargedTo>();
            let payer =
                charged_to.map_or(notes.payer, |ChargedTo(client)| Payer::Address(accountable(client)));
            let size = response.body().size_hint().exact();
            let sending = Sending { budget: notes.budget, payer, ender, place };
            let held = match size {
                // Without a body there is nothing to hold; one of unknown length is charged piece by piece.
                Some(0) => sending.hold(None),
                Some(size) => sending.hold(Some(if shared { 0 } else { size })),
                None if shared => sending.stand(),
                None => sending.hold(None),
            };
            Ok(response.map(|body| NotedBody {
                body: Box::pin(body),
                rest: Bytes::new(),
                charged_whole: size.is_some() || shared,
                held,
                sending,
                open,
                _answering: answering_now,
            }))
        })
    }
}

/// How the bytes of one answer are paid for.
#[derive(Debug)]
struct Sending {
    budget: Arc<SendBudget>,
    payer: Payer,
    ender: Ender,
    place: Unproven,
}

impl Sending {
    /// Charges so many bytes, if any.
    fn hold(&self, bytes: Option<u64>) -> Arc<Held> {
        let charge = match bytes {
            Some(bytes) => Cost::Charge(self.budget.charge(self.payer.clone(), bytes, self.ender.clone())),
            None => Cost::Nothing,
        };
        Arc::new(Held { cost: charge, _place: self.place.clone() })
    }

    /// Charges nothing, whatever is said.
    fn stand(&self) -> Arc<Held> {
        let cost = Cost::Standing(self.budget.stand(self.ender.clone()));
        Arc::new(Held { cost, _place: self.place.clone() })
    }
}

/// What an answer holds as long as any of it is here.
#[derive(Debug)]
struct Held {
    cost: Cost,
    _place: Unproven,
}

#[derive(Debug)]
enum Cost {
    Nothing,
    Charge(Charge),
    /// What is said bit by bit to everybody costs nothing, but somebody has to take it.
    Standing(Standing),
}

/// The body of an answer whose request is open for as long as this is there.
#[derive(Debug)]
pub(crate) struct NotedBody<B> {
    body: Pin<Box<B>>,
    /// What the body has given and has not been handed over.
    rest: Bytes,
    /// Whether it is paid for as a whole, because the length was known or the bytes are there anyway. Otherwise each piece
    /// is, while it waits.
    charged_whole: bool,
    held: Arc<Held>,
    sending: Sending,
    open: Option<OpenRequest>,
    /// Says on drop that the connection is between two requests again.
    _answering: Option<RequestInProgress>,
}

impl<B> NotedBody<B> {
    /// The next piece of what the body has given.
    fn piece(&mut self) -> HeldBytes {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE_MAX));
        let held = if self.charged_whole {
            Arc::clone(&self.held)
        } else {
            self.sending.hold(Some(bytes.len() as u64))
        };
        if let Cost::Standing(standing) = &held.cost {
            standing.says();
        }
        HeldBytes { bytes, held }
    }
}

impl<B: Body<Data = Bytes>> Body for NotedBody<B> {
    type Data = HeldBytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<HeldBytes>, B::Error>>> {
        if let Some(open) = &self.open {
            open.moved();
        }
        if self.rest.is_empty() {
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(trailers) => {
                        let trailers = trailers.into_trailers().unwrap_or_default();
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = self.piece();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut with_rest = SizeHint::new();
        with_rest.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            with_rest.set_upper(upper + rest);
        }
        with_rest
    }
}

/// Bytes of an answer on their way to the client.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    bytes: Bytes,
    held: Arc<Held>,
}

impl Buf for HeldBytes {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        match &self.held.cost {
            Cost::Nothing => {}
            Cost::Charge(charge) => charge.moved(),
            Cost::Standing(standing) => standing.moved(),
        }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        if let Cost::Standing(standing) = &self.held.cost {
            standing.is_gone();
        }
    }
}
