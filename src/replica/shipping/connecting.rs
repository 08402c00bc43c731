//! Looking at a replica before anything is written: whose history lies there, and whether this server may go on with it.

use std::sync::Arc;

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use jiff::Timestamp;

use super::{LATER_TERM, Link, NOT_OURS, OTHER_STORE, ShipError, Shipping, UNSAFE};
use crate::ca::envelope::Envelope;
use crate::domain::withdrawal::StoreId;
use crate::replica::data_key::{self, DataKeyError, KeyOf};
use crate::replica::history::{self, Descriptor, FORMAT, HistoryError};
use crate::replica::layout;
use crate::replica::place::{OpenPlace, Put};
use crate::replica::segment::{DataKey, SegmentEntry, SegmentNumber, digest_of};
use crate::store::{FramePlace, KnownPlace};

/// How many segments before the last are looked through for its last frame.
const LOOKED_BACK: u64 = 64;

impl Shipping {
    /// Looks what lies there, and finds out whether this server may go on with it.
    pub(super) async fn connect(&self) -> Result<Link, ShipError> {
        let settings = self.settings.clone();
        let opening = tokio::task::spawn_blocking(move || OpenPlace::open(&settings, true)).await;
        let place = opening.map_err(|_| ShipError::Source("looking at it failed".to_owned()))??;
        self.connect_to(place).await
    }

    async fn connect_to(&self, place: OpenPlace) -> Result<Link, ShipError> {
        let store = self.source.store().map_err(ShipError::Source)?;
        let term = self.source.term();
        let remembered = self.state.read(&self.settings.place.to_string());
        let described = history::descriptor(&place).await?;
        if described.is_some_and(|described| described != store) {
            return Err(OTHER_STORE);
        }
        if described.is_none() && remembered.as_ref().is_some_and(|it| it.segment > 0) {
            return Err(ShipError::Gone);
        }
        probe(&place, self.source.now()).await?;
        if described.is_none() {
            let descriptor = Descriptor { format: FORMAT, store: store.to_string() };
            let octets = serde_json::to_vec(&descriptor).map_err(|_| ShipError::Seal)?;
            if place.create(layout::DESCRIPTOR, octets).await? == Put::Taken
                && history::descriptor(&place).await? != Some(store)
            {
                return Err(OTHER_STORE);
            }
        }
        let terms = layout::terms_in(&place.folders(None).await?);
        if terms.last().is_some_and(|last| *last > term) {
            return Err(LATER_TERM);
        }
        let last = history::last_segment(&place, term).await?;
        let envelope = self.source.envelope().map_err(ShipError::Source)?;
        let (key, opens) = self.key(&place, store, term, &envelope).await?;
        let mut link = Link {
            place,
            store,
            term,
            key,
            segment: 0,
            digest: [0; 32],
            frame: 0,
            at: None,
            unbroken: None,
            files: None,
            snapshot_at: None,
            snapshot_again: None,
            pending: None,
            making: None,
        };
        let Some(last) = last else {
            let gone = remembered.is_some_and(|it| it.term == term && it.segment > 0);
            return if gone { Err(ShipError::Gone) } else { Ok(link) };
        };
        let octets = link.place.get(&layout::segment(SegmentNumber { term, number: last })).await?;
        let octets = octets.ok_or(HistoryError::Missing { term, number: last })?;
        (link.segment, link.digest) = (last, digest_of(&octets));
        let ours = remembered.is_some_and(|it| it.is_ours(term, last, &link.digest));
        let known = if opens { self.where_it_ends(&mut link, envelope).await? } else { None };
        match known {
            Some(KnownPlace::GoesOn(unbroken)) => link.unbroken = Some(unbroken),
            Some(KnownPlace::Foreign) => return Err(NOT_OURS),
            // What was missed meanwhile is in a snapshot.
            Some(KnownPlace::TooOld) | None if ours => {}
            Some(KnownPlace::TooOld) | None => return Err(NOT_OURS),
        }
        self.status.answers();
        self.status.has(link.frame, link.at, 0);
        Ok(link)
    }

    /// The frame with which it ends, and whether that is in our log.
    async fn where_it_ends(
        &self,
        link: &mut Link,
        envelope: Envelope,
    ) -> Result<Option<KnownPlace>, ShipError> {
        let history = history::ReplicaHistory::open(link.place.clone(), Arc::new(envelope)).await?;
        let newest = history.snapshots(link.term).await?.pop();
        link.snapshot_at = newest.map(|snapshot| snapshot.at);
        if let Some(at) = link.snapshot_at {
            self.status.has_snapshot(at);
        }
        let first = link.segment.saturating_sub(LOOKED_BACK).max(1);
        for number in (first..=link.segment).rev() {
            let at = SegmentNumber { term: link.term, number };
            let Some((_, segment)) = history.segment(at).await? else { return Ok(None) };
            let place = segment.entries.iter().rev().find_map(|entry| match entry {
                SegmentEntry::Frame(frame) => {
                    Some((FramePlace { number: frame.number, digest: frame.digest }, frame.at))
                }
                SegmentEntry::Snapshot(snapshot) if snapshot.begins_anew => {
                    Some((snapshot.place, snapshot.at))
                }
                _ => None,
            });
            if let Some((place, at)) = place {
                (link.frame, link.at) = (place.number, Some(at));
                return Ok(Some(self.tap.knows(place)));
            }
        }
        Ok(None)
    }

    /// The newest key of the term that our envelope opens, or a new one; whether the newest one opened.
    async fn key(
        &self,
        place: &OpenPlace,
        store: StoreId,
        term: u64,
        envelope: &Envelope,
    ) -> Result<((u32, DataKey), bool), ShipError> {
        let names = place.names(&layout::keys(term)).await?;
        let newest = names.iter().filter_map(|name| layout::key_number(name)).max();
        if let Some(number) = newest
            && let Some(sealed) = place.get(&layout::key(term, number)).await?
        {
            match data_key::open(KeyOf { store, term, number }, &sealed, envelope) {
                Ok(key) => return Ok(((number, key), true)),
                // Sealed by the envelope before this one.
                Err(DataKeyError::Envelope(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let number = newest.unwrap_or(0) + 1;
        let (key, sealed) = data_key::make(KeyOf { store, term, number }, envelope)?;
        match place.create(&layout::key(term, number), sealed).await? {
            Put::Done => Ok(((number, key), false)),
            // Somebody has made it at the same moment; it is looked at again.
            Put::Taken => Err(ShipError::Source("another server is beginning to write there".to_owned())),
        }
    }
}

/// Writes one name twice: where that is possible, two servers could write one history.
pub(super) async fn probe(place: &OpenPlace, now: Timestamp) -> Result<(), ShipError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| ShipError::Seal)?;
    let name = format!("{}/{:015}-{}", layout::PROBES, now.as_millisecond(), HEXLOWER.encode(&random));
    let first = place.create(&name, b"first".to_vec()).await?;
    let second = place.create(&name, b"second".to_vec()).await?;
    let there = place.get(&name).await?;
    // What is left of it does no harm.
    let _ = place.delete(&name).await;
    let is_safe = (first, second) == (Put::Done, Put::Taken) && there.as_deref() == Some(&b"first"[..]);
    if is_safe { Ok(()) } else { Err(UNSAFE) }
}
