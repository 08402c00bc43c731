//! What answers a connection's requests, and which connections have one open, so that others make way for newcomers
//! before they do.
//!
//! A request is open from its head to the last of its answer, so a stream of events is open all along.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response};

use super::occupancy::{OpenRequest, Requests};

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
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> Answering for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Body = B;
}

/// A service whose requests are noted.
#[derive(Debug)]
pub(super) struct Noting<S> {
    service: S,
    /// `None` where nothing depends on them.
    requests: Option<Requests>,
}

impl<S> Noting<S> {
    pub(super) fn new(service: S, requests: Option<Requests>) -> Self {
        Self { service, requests }
    }
}

impl<S: Answering> Service<Request<Incoming>> for Noting<S> {
    type Response = Response<NotedBody<S::Body>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = self.requests.as_ref().map(Requests::open);
        let answering = self.service.call(request);
        Box::pin(async move { Ok(answering.await?.map(|body| NotedBody { body: Box::pin(body), open })) })
    }
}

/// The body of an answer whose request is open for as long as this is there.
#[derive(Debug)]
pub(super) struct NotedBody<B> {
    body: Pin<Box<B>>,
    open: Option<OpenRequest>,
}

impl<B: Body> Body for NotedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        if let Some(open) = &self.open {
            open.moved();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
