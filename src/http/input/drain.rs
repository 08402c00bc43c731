//! Request bodies that nobody has read to their end.
//!
//! A refusal is often decided before the body is looked at. Answering then while the client is still
//! sending makes some clients lose the answer, so a little of what is left is taken in first.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tower::ServiceExt;

/// How much of an unread body is taken in, in bytes, and for how long.
const TAKEN_MAX: usize = 512 * 1024;
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

type Slot = Arc<Mutex<Option<Incoming>>>;

/// A body that leaves what is unread of it behind when it is dropped.
struct DrainOnDrop {
    incoming: Option<Incoming>,
    slot: Slot,
}

impl Body for DrainOnDrop {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) {
            *self.slot.lock() = Some(incoming);
        }
    }
}

/// Answers a request, and takes in what the answer left of its body.
pub(crate) async fn answer(router: Router, request: Request<Incoming>) -> Response<axum::body::Body> {
    // A client that asked before sending has sent nothing, and is not to be encouraged.
    let asked_first = request.headers().contains_key(header::EXPECT);
    let slot = Slot::default();
    let lent = request.map(|incoming| {
        axum::body::Body::new(DrainOnDrop { incoming: Some(incoming), slot: Arc::clone(&slot) })
    });
    let Ok(response) = router.oneshot(lent).await;
    let left = slot.lock().take();
    if let Some(left) = left.filter(|_| !asked_first) {
        // Whether it was all or not, the answer is the same.
        let _ = tokio::time::timeout(TAKEN_WITHIN, take_in(left)).await;
    }
    response
}

async fn take_in(mut body: Incoming) {
    let mut room = TAKEN_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = room.checked_sub(length) else { return };
        room = rest;
    }
}
