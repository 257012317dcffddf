//! The configurations whose files lie in topic `state`, in the order of when they were last put in force.
//!
//! There are as many as a partition has markers: a replay, and a trace, find the one that was in force. What was in force
//! before goes, or years of changed device lists would be read at every start. Makes keys and values only; appending
//! them in order is the worker's.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;
use yiwang_core::ids::Id;
use yiwang_core::route::bytes::{Damaged, Reader, Writer};

use crate::generation::{CHUNK_BYTES_MAX, Entry, MARKERS_MAX, chunk_key, chunks, get, unseal};

/// What lies there, as far as this process knows; the newest last.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    places: Vec<Place>,
}

/// The files of one configuration.
#[derive(Clone, Debug)]
struct Place {
    config: Id,
    /// Grows with every use of any.
    number: u64,
    length: usize,
    digest: Id,
    /// Whether all chunks are there.
    whole: bool,
}

impl Shelf {
    /// Of the entries of the partition in which they lie.
    pub(crate) fn of(entries: &[(Bytes, Bytes)]) -> Self {
        let mut places: Vec<Place> =
            entries.iter().filter_map(|(key, value)| Place::read(entries, key, value)).collect();
        places.sort_by_key(|place| (place.number, place.config));
        Self { places }
    }

    /// What is to be appended, in this order, when a configuration is put in force: nothing if it already was the last.
    pub(crate) fn put(&mut self, config: Id, files: impl FnOnce() -> Vec<u8>) -> Vec<Entry> {
        let newest = self.places.last();
        if newest.is_some_and(|place| place.config == config && place.whole) {
            return Vec::new();
        }
        let number = newest.map_or(0, |place| place.number) + 1;
        let known = self.places.iter().position(|place| place.config == config);
        let known = known.map(|index| self.places.remove(index)).filter(|place| place.whole);
        let (place, mut entries) = match known {
            Some(place) => (Place { number, ..place }, Vec::new()),
            None => {
                let files = files();
                let (length, digest) = (files.len(), Id(xxh3_128(&files)));
                let place = Place { config, number, length, digest, whole: true };
                (place, chunks(&prefix(config), 0, &files))
            }
        };
        entries.push(place.marker());
        self.places.push(place);
        let over = self.places.len().saturating_sub(MARKERS_MAX);
        entries.extend(self.places.drain(..over).flat_map(|place| place.removal()));
        entries
    }
}

impl Place {
    /// Of a record of the topic, if it is the marker of a configuration.
    fn read(entries: &[(Bytes, Bytes)], key: &[u8], value: &[u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let config = key.strip_prefix("bundle/")?.strip_suffix("/marker")?;
        let config = Id(u128::from_str_radix(config, 16).ok()?);
        let mut from = Reader::new(value);
        let (length, digest) = (from.small().ok()?, from.id().ok()?);
        // Earlier versions wrote none: whoever is used gets one.
        let number = from.uint().unwrap_or(0);
        let mut place = Self { config, number, length, digest, whole: true };
        place.whole = place.chunk_keys().all(|key| get(entries, &key).is_some());
        Some(place)
    }

    fn marker(&self) -> Entry {
        let mut to = Writer::default();
        to.uint(self.length as u64);
        to.id(self.digest);
        to.uint(self.number);
        (marker_key(self.config).into_bytes(), to.bytes)
    }

    /// The marker goes last: as long as it is there, the rest is known to be.
    fn removal(self) -> Vec<Entry> {
        let keys = self.chunk_keys().chain([marker_key(self.config)]);
        keys.map(|key| (key.into_bytes(), Vec::new())).collect()
    }

    fn chunk_keys(&self) -> impl Iterator<Item = String> + use<> {
        let prefix = prefix(self.config);
        (0..self.length.div_ceil(CHUNK_BYTES_MAX)).map(move |index| chunk_key(&prefix, index))
    }
}

/// The files of a configuration, if they are whole.
pub(crate) fn bundle(entries: &[(Bytes, Bytes)], config: Id) -> Option<Vec<u8>> {
    let marker = get(entries, &marker_key(config))?;
    let files: Result<_, Damaged> = unseal(entries, &prefix(config), 0, &mut Reader::new(marker));
    files.ok()
}

fn prefix(config: Id) -> String {
    format!("bundle/{config}/")
}

fn marker_key(config: Id) -> String {
    format!("bundle/{config}/marker")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// As a compacted topic keeps it.
    #[derive(Default)]
    struct Topic(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Topic {
        fn append(&mut self, entries: Vec<Entry>) {
            for (key, value) in entries {
                match value.is_empty() {
                    true => drop(self.0.remove(&key)),
                    false => drop(self.0.insert(key, value)),
                }
            }
        }

        fn entries(&self) -> Vec<(Bytes, Bytes)> {
            let own =
                |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone().into(), value.clone().into());
            self.0.iter().map(own).collect()
        }
    }

    fn files(config: u128) -> Vec<u8> {
        vec![config as u8; CHUNK_BYTES_MAX + 1 + config as usize]
    }

    fn put(topic: &mut Topic, shelf: &mut Shelf, config: u128) -> usize {
        let entries = shelf.put(Id(config), || files(config));
        let count = entries.len();
        topic.append(entries);
        count
    }

    fn fill(topic: &mut Topic, shelf: &mut Shelf) {
        for config in 0..MARKERS_MAX as u128 {
            put(topic, shelf, config);
        }
    }

    fn held(topic: &Topic) -> Vec<u128> {
        let entries = topic.entries();
        (0..100).filter(|config| bundle(&entries, Id(*config)) == Some(files(*config))).collect()
    }

    #[test]
    fn the_last_in_force_are_kept() {
        let (mut topic, mut shelf) = (Topic::default(), Shelf::default());
        let most = MARKERS_MAX as u128;
        for config in 0..most {
            assert_eq!(put(&mut topic, &mut shelf, config), 3);
            assert_eq!(put(&mut topic, &mut shelf, config), 0, "it is the last already");
        }
        assert_eq!(held(&topic), (0..most).collect::<Vec<_>>());
        // The oldest is used again, by a process that has just started: only its marker is written, and the next goes.
        let mut shelf = Shelf::of(&topic.entries());
        assert_eq!(put(&mut topic, &mut shelf, 0), 1);
        assert_eq!(put(&mut topic, &mut shelf, 50), 6);
        let mut expected: Vec<u128> = (2..most).collect();
        expected.insert(0, 0);
        expected.push(50);
        assert_eq!(held(&topic), expected);
        assert_eq!(topic.0.len(), 3 * MARKERS_MAX, "nothing is left behind");
    }

    #[test]
    fn a_torn_removal_is_made_good() {
        let (mut topic, mut shelf) = (Topic::default(), Shelf::default());
        fill(&mut topic, &mut shelf);
        let entries = shelf.put(Id(60), || files(60));
        // The process ends with the first chunk of the oldest removed.
        topic.append(entries[..4].to_vec());
        assert!(!held(&topic).contains(&0));
        let mut shelf = Shelf::of(&topic.entries());
        assert_eq!(shelf.places.len(), MARKERS_MAX + 1, "it is still known");
        put(&mut topic, &mut shelf, 61);
        assert_eq!(topic.0.len(), 3 * MARKERS_MAX);
        // Torn and wanted again: it is written anew.
        topic.0.remove(&chunk_key(&prefix(Id(61)), 0).into_bytes());
        let mut shelf = Shelf::of(&topic.entries());
        assert_eq!(put(&mut topic, &mut shelf, 61), 3);
        assert!(held(&topic).contains(&61));
    }

    #[test]
    fn what_has_no_number_is_the_oldest() {
        let (mut topic, mut shelf) = (Topic::default(), Shelf::default());
        fill(&mut topic, &mut shelf);
        // Markers of earlier versions end before the number.
        let mut old = Writer::default();
        old.uint(files(7).len() as u64);
        old.id(Id(xxh3_128(&files(7))));
        topic.append(vec![(marker_key(Id(7)).into_bytes(), old.bytes)]);
        let mut shelf = Shelf::of(&topic.entries());
        put(&mut topic, &mut shelf, 70);
        assert!(!held(&topic).contains(&7) && held(&topic).contains(&0));
    }
}
