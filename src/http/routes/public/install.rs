//! The program itself, for machines that join: the running one for this server's own platform, and what lies in the
//! data directory for others. Anybody may have it; it holds no secret.
//!
//! A download is bounded in memory and held to a pace: whoever takes nothing for a while loses it, and where room is
//! short, whoever has the most downloads gives one up to whoever has fewer.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::http::Shared;
use crate::http::input::extract::{ClientAddress, Id};
use crate::http::input::fair_slots::{FairSlot, FairSlots};
use crate::http::problem::Problem;
use crate::http::reply::{Cached, Media, Program};

/// The running program, also after another one has taken its name.
const RUNNING: &str = "/proc/self/exe";
const FILE: &str = "muster";
/// Downloads at a time, from everybody together: 32 MiB at most.
const DOWNLOADS_MAX: usize = 256;
pub(crate) type DownloadSlots = FairSlots<DOWNLOADS_MAX>;
/// Bytes that are read at a time; one such piece waits for the client while the next is read.
const PIECE: usize = 64 * 1024;
/// A client that takes nothing for so long is not waited for.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Longest name of an operating system or an architecture.
const NAME_MAX: usize = 32;

/// `OS-ARCH`, or a text that names no platform.
pub(crate) struct Platform(Option<String>);

impl FromStr for Platform {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let plain = |name: &str| {
            (1..=NAME_MAX).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let named = text.split_once('-').is_some_and(|(os, arch)| plain(os) && plain(arch));
        Ok(Self(named.then(|| text.to_owned())))
    }
}

/// This server's own platform, as `uname` and Rust name it.
fn own_platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

pub(crate) async fn program(
    State(shared): State<Shared>,
    ClientAddress(client): ClientAddress,
    Id(platform): Id<Platform>,
    method: Method,
    headers: HeaderMap,
) -> Result<Media<Cached<Program>>, Problem> {
    let Some((file, length, tag)) = open(&shared, &platform).await else {
        let own = own_platform();
        return Err(Problem::not_found(&format!(
            "This server has no program for that platform. It offers its own, {own}; others are served from install/OS-ARCH/muster in its data directory."
        )));
    };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag);
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, tag),
    ];
    if known {
        return Ok(Media::new((StatusCode::NOT_MODIFIED, head)));
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let place = shared.downloads.place_of_richer(client);
        let place = place.ok_or_else(|| Problem::busy("Too many download the program now. Try again."))?;
        send(file, length, place)
    };
    Ok(Media::new((head, [(header::CONTENT_LENGTH, HeaderValue::from(length))], body)))
}

/// The file for a platform, its length, and what tells it from others of its name.
async fn open(shared: &Shared, platform: &Platform) -> Option<(File, u64, HeaderValue)> {
    let platform = platform.0.as_ref()?;
    let path = if *platform == own_platform() {
        PathBuf::from(RUNNING)
    } else {
        shared.facts.install_dir.as_ref()?.join(platform).join(FILE)
    };
    let file = File::open(&path).await.ok()?;
    let metadata = file.metadata().await.ok().filter(std::fs::Metadata::is_file)?;
    let changed = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let tag = format!("\"{:x}-{:x}\"", metadata.len(), changed.unwrap_or_default().as_nanos());
    Some((file, metadata.len(), HeaderValue::try_from(tag).ok()?))
}

/// Sends as many bytes as were announced, if they are there; else the answer breaks off.
fn send(file: File, length: u64, place: FairSlot<DOWNLOADS_MAX>) -> Body {
    let (pieces, body) = mpsc::channel::<io::Result<Bytes>>(1);
    tokio::spawn(async move {
        let mut file = file.take(length);
        loop {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece).await;
            let piece = match read {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    Ok(piece.into())
                }
                Err(error) => Err(error),
            };
            let broken = piece.is_err();
            let taken = tokio::select! {
                taken = timeout(TAKEN_WITHIN, pieces.send(piece)) => matches!(taken, Ok(Ok(()))),
                () = place.pushed_out.cancelled() => false,
            };
            if broken || !taken {
                return;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_two_plain_names() {
        let named = |text: &str| text.parse::<Platform>().unwrap().0.is_some();
        assert!(named("linux-x86_64") && named("linux-aarch64") && named(&own_platform()));
        for bad in [
            "",
            "linux",
            "linux-",
            "-x",
            "linux-..",
            "..-..",
            "a-b/c",
            "a-b.c",
            "A-b",
            "a-b-c",
            &"a-".repeat(99),
        ] {
            assert!(!named(bad), "{bad:?}");
        }
    }
}
