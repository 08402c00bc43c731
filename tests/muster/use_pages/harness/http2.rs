//! A request over HTTP/2 whose headers are written by hand (RFC 9113, RFC 7541), for names that no library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::cast::Visitor;
use super::door::{APP, Door};
use crate::support::wait::PATIENCE;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const FRAME_HEADER: usize = 9;
/// What every server takes of a frame.
const FRAME_MAX: usize = 16_384;

/// `GET https://app.example.org/` with these headers: whether there was an answer, which may be a refusal.
pub async fn knock(door: &Door, who: &Visitor, headers: &[(&str, &str)]) -> bool {
    timeout(PATIENCE, answered(door, who, headers)).await.expect("an answer or an end").unwrap_or(false)
}

async fn answered(door: &Door, who: &Visitor, headers: &[(&str, &str)]) -> std::io::Result<bool> {
    let mut stream = door.caller(who).with_protocol("h2").dial().await?;
    // Method, scheme and path of the static table, then literals.
    let mut fields = b"\x82\x87\x84".to_vec();
    field(&mut fields, ":authority", APP);
    for (name, value) in headers {
        // Names are in lower case here, or the request is malformed.
        field(&mut fields, &name.to_lowercase(), value);
    }
    assert!(fields.len() <= FRAME_MAX, "{}", fields.len());
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let length = u32::try_from(fields.len()).unwrap().to_be_bytes();
    // The end of the headers and of the stream.
    said.extend([&length[1..], &[HEADERS, 0x5, 0, 0, 0, 1], &fields].concat());
    stream.write_all(&said).await?;
    let mut received = Vec::new();
    loop {
        while let Some(head) = received.first_chunk::<FRAME_HEADER>() {
            let [_, a, b, ..] = *head;
            let whole = FRAME_HEADER + usize::from(u16::from_be_bytes([a, b]));
            if received.starts_with(b"HTTP/1") {
                return Ok(false);
            }
            match head[3] {
                HEADERS => return Ok(true),
                RST_STREAM | GOAWAY => return Ok(false),
                _ if received.len() < whole => break,
                _ => drop(received.drain(..whole)),
            }
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(false);
        }
    }
}

/// A literal without indexing, with a name of its own.
fn field(to: &mut Vec<u8>, name: &str, value: &str) {
    to.push(0);
    for text in [name, value] {
        // A number with a prefix of seven bits.
        let mut rest = text.len();
        if rest < 127 {
            to.push(rest.try_into().unwrap());
        } else {
            to.push(127);
            rest -= 127;
            while rest >= 128 {
                to.push((rest % 128 + 128).try_into().unwrap());
                rest /= 128;
            }
            to.push(rest.try_into().unwrap());
        }
        to.extend(text.bytes());
    }
}
