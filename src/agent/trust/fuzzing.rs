//! Doors for the fuzz targets: trust updates as the watcher takes them, and the kept file as a start reads it.

use jiff::{SignedDuration, Timestamp};

use crate::agent::trust::kept::{MAGIC, decode, encode};
use crate::agent::trust::state::TrustState;
use crate::agent::trust::update::UpdateReader;
use crate::domain::sha256::sha256;
use crate::grpc::proto::TrustUpdate;

const HOLDER: &str = "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1";

/// Messages of a server, each behind two octets with its length, a minute apart. What is refused changes nothing, and a denied
/// serial is never taken back before its end.
pub(crate) fn follow_updates(mut data: &[u8]) {
    let mut now = Timestamp::from_second(1_795_000_000).expect("within range");
    let (mut reader, mut held) = (UpdateReader::default(), None::<TrustState>);
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (message, after) = rest.split_at(length);
        data = after;
        now += SignedDuration::from_mins(1);
        let Some(message) = TrustUpdate::from_bytes(message) else { continue };
        let Ok(Some(whole)) = reader.take(message) else { continue };
        let before = held.clone();
        if whole.snapshot {
            if let Ok(state) = TrustState::from_snapshot(before.as_ref(), whole, now) {
                held = Some(state);
            }
        } else if let Some(state) = &mut held {
            if state.apply(whole, now).is_err() {
                assert_eq!(held, before);
            }
        }
        let (Some(before), Some(after)) = (before, &held) else { continue };
        for (serial, denied) in before.denied {
            let kept = after.denied.get(&serial);
            assert!(denied.until < now || kept.is_some_and(|kept| kept.until >= denied.until));
        }
    }
}

/// As it is, and as what stands behind a digest that fits. What is read is the same when it is written again.
pub(crate) fn read_kept(data: &[u8]) {
    for content in [data.to_vec(), [MAGIC, &sha256(&[data]), data].concat()] {
        if let Some(state) = decode(&content, HOLDER) {
            assert_eq!(decode(&encode(&state, HOLDER), HOLDER), Some(state));
        }
    }
}
