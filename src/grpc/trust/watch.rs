//! The stream of one watcher: polled, not fed, so that one who does not read has nothing waiting for it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use hyper::header::HeaderMap;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::encoded::UpdateWriter;
use super::hub::{Next, Snapshot, TrustHub};
use super::places::OpenWatch;
use super::wakers::Place;
use crate::app::Unavailable;
use crate::domain::identity::trust_version::{TrustEpoch, TrustVersion};
use crate::domain::ids::TenantId;
use crate::grpc::gate::Gate;
use crate::grpc::proto::WatchTrustRequest;
use crate::grpc::status::AgentRefusal;
use crate::tls::live::LivePeer;

type Making = Pin<Box<dyn Future<Output = Result<Arc<Snapshot>, Unavailable>> + Send>>;

pub(super) struct TrustWatch {
    hub: Arc<TrustHub>,
    gate: Gate,
    peer: Arc<LivePeer>,
    revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    place: Place,
    _open: OpenWatch,
    /// What the watcher has been told, or says that it has.
    has: TrustVersion,
    /// Whether it has been told anything.
    greeted: bool,
    /// The number of the lists that it has been told; `None`: it wants none.
    lists: Option<u64>,
    /// How many of its turns it has had.
    turns: u64,
    phase: Phase,
}

enum Phase {
    Following,
    /// A snapshot is being made.
    Making(Making),
    /// What is still to be sent of an update.
    Sending(VecDeque<Bytes>),
    /// The status is sent.
    Over,
}

impl TrustWatch {
    pub(super) fn new(
        hub: Arc<TrustHub>,
        gate: Gate,
        peer: Arc<LivePeer>,
        open: OpenWatch,
        request: &WatchTrustRequest,
    ) -> Self {
        let place = hub.wakers.enter(request.answers);
        Self {
            revoked: Box::pin(peer.revoked().clone().cancelled_owned()),
            turns: hub.turns_of(place.number()),
            has: version(request),
            greeted: false,
            lists: request.lists.then_some(0),
            phase: Phase::Following,
            _open: open,
            hub,
            gate,
            peer,
            place,
        }
    }

    fn tenant(&self) -> TenantId {
        self.peer.identity().identity().tenant
    }

    /// Why the stream has to end now. Nothing is told to whom that is true of.
    fn end_before_telling(&self) -> Option<AgentRefusal> {
        if self.hub.has_ended() {
            return Some(AgentRefusal::Stopping);
        }
        self.gate.check(self.peer.identity()).err()
    }

    /// Sees to it that the stream is polled when there may be something to tell, and when it has to end. That may be now.
    fn wait(&mut self, cx: &mut Context<'_>) -> Option<AgentRefusal> {
        self.place.wait(cx.waker());
        let revoked = self.revoked.as_mut().poll(cx).is_ready().then_some(AgentRefusal::Revoked);
        revoked.or_else(|| self.end_before_telling())
    }

    /// What there is to tell at present, if it is no snapshot.
    fn next(&mut self) -> Result<Option<VecDeque<Bytes>>, Making> {
        let mut update = match self.hub.after(&self.has) {
            Next::Snapshot => {
                let hub = Arc::clone(&self.hub);
                return Err(Box::pin(async move { hub.snapshot().await }));
            }
            Next::Wave(wave) => {
                self.has = wave.to;
                // The lists follow when everything is told that is older than they are.
                let told = wave.told_to(self.tenant());
                self.note_said();
                return Ok(Some(told));
            }
            Next::Nothing => UpdateWriter::new(self.has, false),
        };
        let lists = self.add_lists(&mut update);
        let due = self.hub.turns_of(self.place.number()) > self.turns;
        Ok((lists || due || !self.greeted).then(|| self.said(update)))
    }

    /// Adds the lists to an update, if they are wanted and new.
    fn add_lists(&mut self, update: &mut UpdateWriter) -> bool {
        let Some(told) = self.lists else { return false };
        let lists = self.hub.lists();
        if lists.number == told {
            return false;
        }
        self.lists = Some(lists.number);
        lists.fields.iter().for_each(|list| update.add(list.clone()));
        true
    }

    fn said(&mut self, update: UpdateWriter) -> VecDeque<Bytes> {
        self.note_said();
        update.finish()
    }

    fn note_said(&mut self) {
        self.greeted = true;
        self.turns = self.hub.turns_of(self.place.number());
    }

    fn tell_snapshot(&mut self, snapshot: &Snapshot) -> Result<VecDeque<Bytes>, Status> {
        if snapshot.bundle.is_empty() {
            return Err(Status::unavailable("there is no agent CA yet; try again later"));
        }
        // It is shared, so it may be of a while ago. What was told since belongs to it: a new watcher is not to be without what
        // others have, not for a moment.
        let since = self.hub.waves_after(snapshot.version);
        self.has = since.last().map_or(snapshot.version, |wave| wave.to);
        let mut update = UpdateWriter::new(self.has, true);
        let mut bundles = since.iter().rev().map(|wave| &wave.bundle);
        let newest = bundles.find(|bundle| !bundle.is_empty());
        update.add(newest.unwrap_or(&snapshot.bundle).clone());
        for denied in std::iter::once(&snapshot.denied).chain(since.iter().map(|wave| &wave.denied)) {
            update.add_denied(denied, self.tenant());
        }
        let told = std::iter::once(&snapshot.identities).chain(since.iter().map(|wave| &wave.identities));
        told.flatten().for_each(|fields| update.add(fields.clone()));
        // Lists that were told before are told again: a snapshot replaces everything.
        self.lists = self.lists.map(|_| 0);
        self.add_lists(&mut update);
        Ok(self.said(update))
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.phase = Phase::Over;
        let mut trailers = HeaderMap::new();
        // The only error is a text that makes no header, and ours do.
        let _ = status.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// What a watcher says that it has; what can't be read is nothing that this server has told.
fn version(request: &WatchTrustRequest) -> TrustVersion {
    let octets = data_encoding::HEXLOWER.decode(request.epoch.as_bytes()).unwrap_or_default();
    let epoch = <[u8; 16]>::try_from(octets).unwrap_or_default();
    TrustVersion { epoch: TrustEpoch::from_bytes(epoch), number: request.version }
}

impl Body for TrustWatch {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if matches!(this.phase, Phase::Over) {
            return Poll::Ready(None);
        }
        // Whether this poll has asked to be woken. It does when there is nothing to tell: hyper polls again after each frame.
        let mut waits = false;
        loop {
            match &mut this.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Sending(rest) if rest.is_empty() => this.phase = Phase::Following,
                Phase::Sending(rest) => {
                    let next = rest.pop_front();
                    if let Some(refused) = this.end_before_telling() {
                        return this.end(&refused.into());
                    }
                    return Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))));
                }
                Phase::Making(making) => {
                    let made = making.as_mut().poll(cx);
                    if made.is_pending() && !waits {
                        waits = true;
                        if let Some(refused) = this.wait(cx) {
                            return this.end(&refused.into());
                        }
                    }
                    match made {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(snapshot)) => match this.tell_snapshot(&snapshot) {
                            Ok(pieces) => this.phase = Phase::Sending(pieces),
                            Err(status) => return this.end(&status),
                        },
                        Poll::Ready(Err(error)) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::error!(
                                error,
                                "no snapshot of what is denied could be made for a watcher"
                            );
                            return this.end(&Status::unavailable(
                                "trust can't be told at present; try again later",
                            ));
                        }
                    }
                }
                Phase::Following => match this.next() {
                    Err(making) => this.phase = Phase::Making(making),
                    Ok(Some(pieces)) => this.phase = Phase::Sending(pieces),
                    Ok(None) if waits => return Poll::Pending,
                    Ok(None) => {
                        // Then it is looked once more, so that nothing is missed.
                        waits = true;
                        if let Some(refused) = this.wait(cx) {
                            return this.end(&refused.into());
                        }
                    }
                },
            }
        }
    }
}
