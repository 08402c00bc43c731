//! Lets gRPC clients in whose `:authority` is the path of the socket.
//!
//! Clients built on the C core (Python, C++, Ruby) send `:authority: tmp%2Fmuster.sock` over a UNIX socket. That
//! is no legal authority (RFC 3986 3.2), and the HTTP/2 server resets the stream before anybody sees it. What
//! the authority says does not matter on a UNIX socket, so the bytes that are not allowed in it are replaced
//! while they arrive. The length stays, and so does everything that HPACK keeps track of (RFC 7541): the client
//! remembers what it sent and the server what it got, entry for entry.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, UdsConnectInfo};
use tonic::{Request, Status};

use crate::agent::workload::connection_limit::Guest;

/// Length of the text that every HTTP/2 client begins with (RFC 9113 3.4).
const PREFACE: usize = 24;
/// Length of a frame's header (RFC 9113 4.1).
const FRAME_HEADER: usize = 9;
/// Largest frame that is looked into: the largest that our server accepts.
const FRAME_MAX: usize = 16_384;
const TYPE_HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;
/// Bytes that are taken from the socket at a time.
const CHUNK: usize = 8 * 1024;
/// How long a connection stays that is there only to be told that it is one too many.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
const AUTHORITY: &[u8] = b":authority";
/// Index of `:authority` in HPACK's static table (RFC 7541 appendix A).
const AUTHORITY_INDEX: usize = 1;

/// A connection whose incoming `:authority` is always legal.
#[derive(Debug)]
pub(crate) struct FixAuthority {
    stream: UnixStream,
    frames: Frames,
    /// Counts for as long as the connection is open.
    guest: Guest,
    /// When the connection of a guest who is turned away ends.
    end: Option<Pin<Box<Sleep>>>,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) struct WorkloadCaller {
    unix: UdsConnectInfo,
    /// Why every call is refused.
    refusal: Option<Arc<str>>,
}

/// Whose process calls, for the log.
#[derive(Debug, Default)]
pub(crate) struct CallerProcess {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub pid: Option<i32>,
}

impl WorkloadCaller {
    /// Who makes a call; a connection that is one too many is there only to be told so.
    pub(crate) fn admitted<T>(request: &Request<T>) -> Result<CallerProcess, Status> {
        let Some(caller) = request.extensions().get::<Self>() else { return Ok(CallerProcess::default()) };
        if let Some(refusal) = &caller.refusal {
            return Err(Status::resource_exhausted(&**refusal));
        }
        let Some(peer) = caller.unix.peer_cred else { return Ok(CallerProcess::default()) };
        Ok(CallerProcess { uid: Some(peer.uid()), gid: Some(peer.gid()), pid: peer.pid() })
    }
}

impl FixAuthority {
    pub(crate) fn new(stream: UnixStream, guest: Guest) -> Self {
        let end = guest.refusal().map(|_| Box::pin(sleep(TOLD_WITHIN)));
        Self { stream, frames: Frames { untouched: PREFACE, ..Frames::default() }, guest, end }
    }
}

/// What has arrived: first what can be passed on, then what is not complete yet.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    /// How many of the bytes have been passed on.
    passed: usize,
    /// How many of the bytes can be passed on, including those that have been.
    ready: usize,
    /// How many of the bytes to come, after those that are ready, are nobody's business here.
    untouched: usize,
}

impl Frames {
    /// Takes in what arrived, and finds out how much of it is complete.
    fn take_in(&mut self, arrived: &[u8]) {
        if self.passed == self.ready {
            self.bytes.drain(..self.passed);
            (self.ready, self.passed) = (0, 0);
        }
        self.bytes.extend_from_slice(arrived);
        loop {
            let skipped = self.untouched.min(self.bytes.len() - self.ready);
            self.ready += skipped;
            self.untouched -= skipped;
            let waiting = self.bytes.get_mut(self.ready..).unwrap_or_default();
            let Some((&mut [a, b, c, kind, flags, ..], rest)) =
                waiting.split_first_chunk_mut::<FRAME_HEADER>()
            else {
                return;
            };
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if kind == TYPE_HEADERS && length <= FRAME_MAX {
                let Some(payload) = rest.get_mut(..length) else { return };
                mend(payload, flags);
            }
            self.untouched = FRAME_HEADER + length;
        }
    }

    /// No more will come; what is incomplete is passed on as it is.
    fn end(&mut self) {
        self.ready = self.bytes.len();
    }

    fn pass_on(&mut self, to: &mut ReadBuf<'_>) -> bool {
        let ready = self.bytes.get(self.passed..self.ready).unwrap_or_default();
        let fits = ready.len().min(to.remaining());
        to.put_slice(ready.get(..fits).unwrap_or_default());
        self.passed += fits;
        fits > 0
    }
}

/// Replaces what is illegal in the authority of a HEADERS frame.
fn mend(payload: &mut [u8], flags: u8) {
    let padding = usize::from(flags & FLAG_PADDED != 0);
    let priority = if flags & FLAG_PRIORITY != 0 { 5 } else { 0 };
    if let Some(mut fields) = payload.get_mut(padding + priority..) {
        while let Some(rest) = mend_field(fields) {
            fields = rest;
        }
    }
}

/// Goes past one field of a header block (RFC 7541 6) and mends its value when it is the authority. `None` when
/// there is no whole field any more.
fn mend_field(block: &mut [u8]) -> Option<&mut [u8]> {
    let first = *block.first()?;
    let prefix_bits = match first {
        0x80.. => return Some(integer(block, 7)?.1),
        0x40.. => 6,
        0x20.. => return Some(integer(block, 5)?.1),
        _ => 4,
    };
    let (index, rest) = integer(block, prefix_bits)?;
    let (named, rest) = if index == 0 {
        let (name, _, rest) = string(rest)?;
        (*name == *AUTHORITY, rest)
    } else {
        (index == AUTHORITY_INDEX, rest)
    };
    let (value, huffman, rest) = string(rest)?;
    if named && !huffman {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        value.iter_mut().filter(|b| !legal(**b)).for_each(|b| *b = b'-');
    }
    Some(rest)
}

/// A number in the low bits of the first byte, and on (RFC 7541 5.1).
fn integer(block: &mut [u8], prefix_bits: u32) -> Option<(usize, &mut [u8])> {
    let (first, mut rest) = block.split_first_mut()?;
    let most = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(*first) & most;
    if value < most {
        return Some((value, rest));
    }
    // Three more bytes say more than fits into a frame.
    for shift in [0, 7, 14] {
        let (byte, after) = rest.split_first_mut()?;
        value += usize::from(*byte & 0x7f) << shift;
        rest = after;
        if *byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// A text, whether it is Huffman-coded, and what follows it (RFC 7541 5.2).
fn string(block: &mut [u8]) -> Option<(&mut [u8], bool, &mut [u8])> {
    let huffman = block.first()? & 0x80 != 0;
    let (length, rest) = integer(block, 7)?;
    let (text, rest) = rest.split_at_mut_checked(length)?;
    Some((text, huffman, rest))
}

/// What comes out of a connection on which these pieces arrive.
#[cfg(fuzzing)]
pub(crate) fn fix_authority<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> Vec<u8> {
    let mut frames = Frames { untouched: PREFACE, ..Frames::default() };
    let mut out = Vec::new();
    let pass_on = |frames: &mut Frames, out: &mut Vec<u8>| {
        let mut space = [0; 64];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            if !frames.pass_on(&mut buffer) {
                return;
            }
            out.extend_from_slice(buffer.filled());
        }
    };
    for piece in pieces {
        frames.take_in(piece);
        pass_on(&mut frames, &mut out);
    }
    frames.end();
    pass_on(&mut frames, &mut out);
    out
}

impl AsyncRead for FixAuthority {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.frames.pass_on(buffer) || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            std::task::ready!(Pin::new(&mut this.stream).poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                this.frames.end();
                this.frames.pass_on(buffer);
                return Poll::Ready(Ok(()));
            }
            this.frames.take_in(chunk.filled());
        }
    }
}

impl AsyncWrite for FixAuthority {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl Connected for FixAuthority {
    type ConnectInfo = WorkloadCaller;

    fn connect_info(&self) -> WorkloadCaller {
        WorkloadCaller { unix: self.stream.connect_info(), refusal: self.guest.refusal().cloned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn text(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text].concat()
    }

    /// A field with `:authority` in each of the forms that HPACK has for it.
    fn forms(value: &[u8]) -> [Vec<u8>; 4] {
        let value = text(value);
        [
            [&[0x41][..], &value].concat(),
            [&[0x01][..], &value].concat(),
            [&[0x11][..], &value].concat(),
            [&[0x40][..], &text(AUTHORITY), &value].concat(),
        ]
    }

    fn through(input: &[u8], at_a_time: usize) -> Vec<u8> {
        let mut frames = Frames { untouched: PREFACE, ..Frames::default() };
        let mut output = Vec::new();
        let mut pass = |frames: &mut Frames| {
            let mut room = [0; 7];
            let mut buffer = ReadBuf::new(&mut room);
            while frames.pass_on(&mut buffer) {
                output.extend_from_slice(buffer.filled());
                buffer.clear();
            }
        };
        for chunk in input.chunks(at_a_time) {
            frames.take_in(chunk);
            pass(&mut frames);
        }
        frames.end();
        pass(&mut frames);
        output
    }

    #[test]
    fn illegal_authorities_are_mended_and_nothing_else_is() {
        let preface = [b'P'; PREFACE];
        // What comes before and after: indexed, a size update, other fields, one of which quotes the name.
        let decoy = [&[0x40][..], &text(b"x"), &text(b"\x0a:authority\x02%%")].concat();
        for (bad, good) in forms(b"tmp%2Fx.sock").into_iter().zip(forms(b"tmp-2Fx.sock")) {
            let block = |field: &[u8]| [&[0x83, 0x3f, 0x21][..], field, &decoy, &[0xbe]].concat();
            for (flags, before) in [(0x4, &[][..]), (0x2c, &[0, 1, 1, 1, 1, 1])] {
                let frames = |field: &[u8]| {
                    let headers = frame(TYPE_HEADERS, flags, &[before, &block(field)].concat());
                    let data = frame(0, 0, &block(&bad));
                    [&preface[..], &frame(4, 0, &[]), &headers, &data, &headers].concat()
                };
                for at_a_time in [1, 2, 3, 10, 1000] {
                    assert_eq!(through(&frames(&bad), at_a_time), frames(&good), "{at_a_time}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_header_block_passes_as_it_is() {
        let preface = [b'P'; PREFACE];
        let mut cases = vec![Vec::new(), vec![1, 2, 3], frame(TYPE_HEADERS, 0, &[])];
        for payload in [&[0x41][..], &[0x41, 0x7f], &[0x41, 0x05, b'%'], &[0x41, 0xff, 0xff, 0xff, 0xff, 1]] {
            cases.push(frame(TYPE_HEADERS, 0xff, payload));
            cases.push(frame(TYPE_HEADERS, 0, payload));
        }
        // Huffman-coded, too large to be looked into, and cut.
        cases.push(frame(TYPE_HEADERS, 0, &[0x41, 0x82, b'%', b'%']));
        let large = [&forms(b"a%b")[0][..], &[0; FRAME_MAX]].concat();
        cases.push(frame(TYPE_HEADERS, 0, &large));
        let whole = frame(TYPE_HEADERS, 0, &forms(b"a%b")[0]);
        cases.push(whole[..whole.len() - 1].to_vec());
        for case in cases {
            let input = [&preface[..], &case].concat();
            for at_a_time in [1, 5000] {
                assert_eq!(through(&input, at_a_time), input);
            }
        }
    }
}
