//! Making a snapshot: what the store writes goes out part by part, and is counted into a digest.

use std::io::{self, Write};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::mpsc;

use super::{FrameSource, ShipError};
use crate::replica::layout::SnapshotName;
use crate::replica::place::{OpenPlace, PART};
use crate::replica::segment::SnapshotEntry;

pub(super) async fn make_snapshot(
    place: OpenPlace,
    source: Arc<dyn FrameSource>,
    name: SnapshotName,
    begins_anew: bool,
) -> Result<SnapshotEntry, ShipError> {
    let (parts, mut made) = mpsc::channel(2);
    let writing = tokio::task::spawn_blocking(move || {
        let mut output = Parts { part: Vec::with_capacity(PART), parts };
        let taken = source.snapshot(&mut output)?;
        output.send().map_err(|error| error.to_string())?;
        Ok::<_, String>(taken)
    });
    let mut upload = place.upload(name.name.clone());
    let (mut octets, mut digest) = (0, Context::new(&SHA256));
    let mut failed = None;
    while let Some(part) = made.recv().await {
        let part: Vec<u8> = part;
        octets += part.len() as u64;
        digest.update(&part);
        if let Err(error) = upload.part(part).await {
            failed = Some(error);
            break;
        }
    }
    drop(made);
    let written = writing.await.map_err(|_| ShipError::Source("a snapshot failed".to_owned()))?;
    let placed = match (failed, written) {
        (Some(error), _) => Err(error.into()),
        (None, Err(why)) => Err(ShipError::Source(why)),
        (None, Ok(placed)) => Ok(placed),
    };
    let placed = match placed {
        Ok(placed) => placed,
        Err(error) => {
            upload.give_up().await;
            return Err(error);
        }
    };
    upload.finish().await?;
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest.finish().as_ref());
    Ok(SnapshotEntry { at: name.at, begins_anew, place: placed, octets, sha256, name: name.name })
}

/// Hands on what is written in parts of one size.
struct Parts {
    part: Vec<u8>,
    parts: mpsc::Sender<Vec<u8>>,
}

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART));
        self.parts.blocking_send(part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Parts {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let room = PART - self.part.len();
        let taken = octets.get(..room.min(octets.len())).unwrap_or_default();
        self.part.extend_from_slice(taken);
        if self.part.len() == PART {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
