//! What lies in topic `state` of a partition: generations of its states, and its configuration markers.
//!
//! A generation is chunks and then a marker that names their number, length and digest; three take turns, so one is
//! always whole: an owner may die in the midst of one while another is torn by a former owner that has not heard yet
//! that the partition is no longer its own. A configuration marker says from which raw position on an epoch is in force. Only keys and
//! values are made here; appending them in the right order is the worker's.

use std::collections::VecDeque;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;
use yiwang_core::ids::Id;
use yiwang_core::route::bytes::{Damaged, Reader, Writer};

use crate::forward::Forwarded;

/// Largest chunk; well below any log's record limit.
pub(crate) const CHUNK_BYTES_MAX: usize = 512 << 10;
/// Generations that take turns.
const SLOTS: u64 = 3;
/// Most configuration markers kept of a partition.
pub(crate) const MARKERS_MAX: usize = 16;

/// One record of topic `state`.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Of the routing of a partition of `raw`.
    Routing,
    /// Of the folding of a partition of `lifecycle`.
    Storms,
}

impl Of {
    fn prefix(self, slot: u64) -> String {
        let name = match self {
            Self::Routing => "generation",
            Self::Storms => "storms",
        };
        format!("{name}/{slot}/")
    }
}

/// A partition's state at a position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Generation {
    /// Whose it is.
    pub of: Of,
    /// Ascending; every third has the same keys.
    pub number: u64,
    /// Epoch of the topic that is read.
    pub topic_epoch: u32,
    /// Next record to read.
    pub seq: u64,
    /// Configuration that the state belongs to, or was written under.
    pub config: Id,
    /// The state.
    pub bytes: Vec<u8>,
    /// What was forwarded until then.
    pub forwarded: Forwarded,
}

/// From this raw position on, this configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub from: u64,
    pub config: Id,
}

impl Generation {
    /// Its records, the marker last.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let prefix = self.of.prefix(self.number % SLOTS);
        let mut entries = chunks(&prefix, self.number, &self.bytes);
        let mut to = Writer::default();
        to.uint(self.number);
        to.uint(u64::from(self.topic_epoch));
        to.uint(self.seq);
        to.id(self.config);
        seal(&mut to, &self.bytes);
        self.forwarded.encode(&mut to);
        entries.push((format!("{prefix}marker").into_bytes(), to.bytes));
        entries
    }

    /// The newest whole generation of a partition's entries.
    pub(crate) fn newest(entries: &[(Bytes, Bytes)], of: Of) -> Option<Self> {
        Self::whole(entries, of).into_iter().max_by_key(|generation| generation.number)
    }

    /// The whole generations of a partition's entries.
    pub(crate) fn whole(entries: &[(Bytes, Bytes)], of: Of) -> Vec<Self> {
        let read = |slot: u64| Self::read(entries, of, slot).ok().flatten();
        (0..SLOTS).filter_map(read).collect()
    }

    fn read(entries: &[(Bytes, Bytes)], of: Of, slot: u64) -> Result<Option<Self>, Damaged> {
        let prefix = of.prefix(slot);
        let Some(marker) = get(entries, &format!("{prefix}marker")) else { return Ok(None) };
        let mut from = Reader::new(marker);
        let (number, topic_epoch, seq) = (from.uint()?, from.small()?, from.uint()?);
        let config = from.id()?;
        let bytes = unseal(entries, &prefix, number, &mut from)?;
        let forwarded = Forwarded::decode(&mut from)?;
        Ok(Some(Self { of, number, topic_epoch, seq, config, bytes, forwarded }))
    }
}

/// Bytes as records under a prefix, each with the number of the whole it belongs to.
pub(crate) fn chunks(prefix: &str, number: u64, bytes: &[u8]) -> Vec<Entry> {
    let chunk = |(index, chunk): (usize, &[u8])| {
        let mut value = number.to_be_bytes().to_vec();
        value.extend_from_slice(chunk);
        (chunk_key(prefix, index).into_bytes(), value)
    };
    bytes.chunks(CHUNK_BYTES_MAX).enumerate().map(chunk).collect()
}

pub(crate) fn chunk_key(prefix: &str, index: usize) -> String {
    format!("{prefix}{index:06}")
}

fn seal(to: &mut Writer, bytes: &[u8]) {
    to.uint(bytes.len() as u64);
    to.id(Id(xxh3_128(bytes)));
}

pub(crate) fn unseal(
    entries: &[(Bytes, Bytes)],
    prefix: &str,
    number: u64,
    from: &mut Reader<'_>,
) -> Result<Vec<u8>, Damaged> {
    let (length, digest): (usize, Id) = (from.small()?, from.id()?);
    let mut bytes = Vec::new();
    for index in 0..length.div_ceil(CHUNK_BYTES_MAX) {
        let value = get(entries, &chunk_key(prefix, index)).ok_or(Damaged("no such chunk"))?;
        let (head, chunk) = value.split_first_chunk::<8>().ok_or(Damaged("short chunk"))?;
        if u64::from_be_bytes(*head) != number {
            return Err(Damaged("chunk of another generation"));
        }
        bytes.extend_from_slice(chunk);
    }
    if bytes.len() == length && Id(xxh3_128(&bytes)) == digest {
        Ok(bytes)
    } else {
        Err(Damaged("digest differs"))
    }
}

pub(crate) fn get<'a>(entries: &'a [(Bytes, Bytes)], key: &str) -> Option<&'a [u8]> {
    entries.iter().find(|(k, _)| **k == *key.as_bytes()).map(|(_, value)| &**value)
}

/// The markers of a partition, ascending; none before the first start.
pub(crate) fn markers(entries: &[(Bytes, Bytes)]) -> Vec<Marker> {
    let Some(value) = get(entries, "markers") else { return Vec::new() };
    let mut from = Reader::new(value);
    from.list(|r| Ok(Marker { from: r.uint()?, config: r.id()? })).unwrap_or_default()
}

/// The configuration that a record was routed with, as far as the markers reach.
pub(crate) fn in_force(markers: &[Marker], seq: u64) -> Option<Id> {
    markers.iter().rev().find(|marker| marker.from <= seq).map(|marker| marker.config)
}

/// The markers that a replay from `seq` under `config` still meets.
pub(crate) fn pending(markers: &[Marker], seq: u64, config: Id) -> VecDeque<Marker> {
    let ahead = |m: &&Marker| m.from > seq || (m.from == seq && m.config != config);
    markers.iter().filter(ahead).copied().collect()
}

/// Adds a marker; those that no replay can reach any more are left out.
pub(crate) fn add_marker(markers: &mut Vec<Marker>, marker: Marker) {
    markers.push(marker);
    markers.drain(..markers.len().saturating_sub(MARKERS_MAX));
}

/// The record of the markers.
pub(crate) fn markers_entry(markers: &[Marker]) -> Entry {
    let mut to = Writer::default();
    to.count(markers.len());
    for marker in markers {
        to.uint(marker.from);
        to.id(marker.config);
    }
    (b"markers".to_vec(), to.bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(entries: Vec<Entry>) -> Vec<(Bytes, Bytes)> {
        entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    fn generation(number: u64, bytes: Vec<u8>) -> Generation {
        let forwarded = Forwarded::default();
        let (of, seq, config) = (Of::Routing, number * 10, Id(7));
        Generation { of, number, topic_epoch: 1, seq, config, bytes, forwarded }
    }

    /// As a compacted topic keeps them: the newest value of a key.
    fn put(to: &mut Vec<(Bytes, Bytes)>, entries: &[(Bytes, Bytes)]) {
        for (key, value) in entries {
            to.retain(|(known, _)| known != key);
            to.push((key.clone(), value.clone()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn a_torn_generation_leaves_the_one_before(sizes in prop::collection::vec(0..1_200_000_usize, 2..5), cut in 0.0..1.0) {
            let mut topic = Vec::new();
            let mut last = None;
            for (number, size) in (1..).zip(sizes) {
                let made = generation(number, vec![number as u8; size]);
                let entries = stored(made.entries());
                let whole = (cut * entries.len() as f64) as usize;
                let mut torn = topic.clone();
                put(&mut torn, &entries[..whole]);
                prop_assert_eq!(Generation::newest(&torn, Of::Routing), last.clone());
                put(&mut topic, &entries);
                last = Some(made);
                prop_assert_eq!(Generation::newest(&topic, Of::Routing), last.clone());
            }
        }
    }

    #[test]
    fn a_former_owner_and_a_death_leave_one_whole() {
        let mut topic = Vec::new();
        for number in 1..=9 {
            put(&mut topic, &stored(generation(number, vec![1; 2 * CHUNK_BYTES_MAX]).entries()));
        }
        let whole = topic.clone();
        for late in 7..=10 {
            // The former owner's chunks come between those of the owner's generations, at any time.
            let mut torn = whole.clone();
            let foreign = generation(late, vec![2; 2 * CHUNK_BYTES_MAX]).entries();
            put(&mut torn, &stored(foreign[..1].to_vec()));
            let next = generation(10, vec![1; 2 * CHUNK_BYTES_MAX]).entries();
            put(&mut torn, &stored(next[..1].to_vec()));
            let found = Generation::newest(&torn, Of::Routing).expect("one is whole");
            assert!(found.number >= 8 && found.bytes[0] == 1, "{late}: {}", found.number);
        }
    }

    #[test]
    fn markers_come_back() {
        let made = [Marker { from: 0, config: Id(1) }, Marker { from: 9, config: Id(2) }];
        assert_eq!(markers(&stored(vec![markers_entry(&made)])), made);
        assert_eq!(markers(&[]), []);
    }
}
