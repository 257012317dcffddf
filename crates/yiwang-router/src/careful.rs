//! A record that ends the process: found by what the lives that ended left behind, and set aside untried.
//!
//! A panic is caught where it happens. An abort (a stack that overflows, memory that is gone) takes the whole process, which
//! would come back and end at the same record for ever. So every life notes where it begins on a partition. After some that
//! got nowhere a life is careful: it makes safe what it is about to try before it tries it, first by batch, then record by
//! record in the batch that was tried last. A record at which enough lives have ended is quarantined untried. Invariants: of
//! the partitions of a process one has a mark at a time, so that an end has one suspect; a suspect is tried again only after
//! a calm that is longer each time, so that what ends lives for another reason ends them there (decision 0023).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use yiwang_core::record::{BodyKind, Lane, Raw};
use yiwang_core::route::Input;
use yiwang_core::route::bytes::{Damaged, Reader, Writer};
use yiwang_log::RecordRef;
use yiwang_proto::wire::{RawRecord, read_raw};

use crate::generation::{Entry, get};

/// Most records of a partition that are remembered as not to be tried; the oldest are forgotten first.
const CONDEMNED_MAX: usize = 64;

/// Before a record is tried again, for each time that it was tried.
const CALM: Duration = Duration::from_secs(1);

const LIFE: &str = "life";
const TRYING: &str = "trying";

/// What is known of a partition's lives.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trial {
    /// Where the newest life began.
    at: u64,
    /// Lives in a row that began there.
    lives: u32,
    /// What the last careful life was about to try.
    found: Option<Trying>,
    /// Not to be tried again.
    condemned: Vec<Condemned>,
}

/// Records from one on and up to another that are tried together, for the how manieth time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trying {
    from: u64,
    to: u64,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Condemned {
    seq: u64,
    attempts: u32,
}

/// How a life begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Beginning {
    /// As most do.
    Usual,
    /// With care: the last ones got nowhere, or were careful themselves.
    Careful,
    /// The same, and this record is not tried any more.
    Condemning(u64),
}

/// The next records that are tried together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    pub to: u64,
    /// What has to be safe before.
    pub mark: Option<Trying>,
}

impl Trying {
    fn is_one(&self) -> bool {
        self.to - self.from == 1
    }

    /// How long nothing is to be done before.
    pub(crate) fn calm(&self) -> Duration {
        CALM * self.attempts.saturating_sub(1)
    }

    pub(crate) fn entry(&self) -> Entry {
        let mut to = Writer::default();
        to.uint(self.from);
        to.uint(self.to);
        to.uint(u64::from(self.attempts));
        (TRYING.into(), to.bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes);
        Ok(Self { from: from.uint()?, to: from.uint()?, attempts: from.small()? })
    }
}

/// That nothing is tried.
pub(crate) fn no_trying() -> Entry {
    (TRYING.into(), Vec::new())
}

impl Trial {
    /// What topic `state` says of a partition; what cannot be read is as if it had not been written.
    pub(crate) fn of(entries: &[(Bytes, Bytes)]) -> Self {
        let life = get(entries, LIFE).and_then(|bytes| Self::decode(bytes).ok());
        let found = get(entries, TRYING).and_then(|bytes| Trying::decode(bytes).ok());
        Self { found: found.filter(|it| it.from < it.to), ..life.unwrap_or_default() }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes);
        let (at, lives) = (from.uint()?, from.small()?);
        let condemned = from.list(|r| Ok(Condemned { seq: r.uint()?, attempts: r.small()? }))?;
        Ok(Self { at, lives, found: None, condemned })
    }

    fn entry(&self) -> Entry {
        let mut to = Writer::default();
        to.uint(self.at);
        to.uint(u64::from(self.lives));
        to.count(self.condemned.len());
        for condemned in &self.condemned {
            to.uint(condemned.seq);
            to.uint(u64::from(condemned.attempts));
        }
        (LIFE.into(), to.bytes)
    }

    /// A life begins here; says how, and what has to be safe before it tries anything.
    pub(crate) fn begin(&mut self, at: u64, attempts_max: u32) -> (Beginning, Vec<Entry>) {
        self.lives = if self.at == at { self.lives.saturating_add(1) } else { 1 };
        self.at = at;
        let stale = self.found.take_if(|found| found.to <= at).is_some();
        let often = |found: &mut Trying| found.is_one() && found.attempts >= attempts_max;
        if let Some(Trying { from: seq, attempts, .. }) = self.found.take_if(often) {
            self.condemned.retain(|other| other.seq != seq);
            self.condemned.push(Condemned { seq, attempts });
            self.condemned.drain(..self.condemned.len().saturating_sub(CONDEMNED_MAX));
            // The mark goes after the verdict is safe: were it the other way round, it would be tried again.
            return (Beginning::Condemning(seq), vec![self.entry(), no_trying()]);
        }
        let careful = self.found.is_some() || self.lives > attempts_max;
        let beginning = if careful { Beginning::Careful } else { Beginning::Usual };
        let mut entries = vec![self.entry()];
        entries.extend(stale.then(no_trying));
        (beginning, entries)
    }

    /// What a careful life tries next, of the records from one on and up to another.
    pub(crate) fn part(&self, from: u64, end: u64) -> Part {
        let trying = |to, attempts| Part { to, mark: Some(Trying { from, to, attempts }) };
        match self.found {
            // Passed by the last life already.
            Some(found) if from < found.from => Part { to: end.min(found.from), mark: None },
            Some(found) if found.is_one() && from < found.to => {
                trying(from + 1, found.attempts + 1)
            }
            Some(found) if from < found.to => trying(from + 1, 1),
            _ => trying(end, 1),
        }
    }

    /// A record of topic `raw` as the step takes it.
    pub(crate) fn input<'a>(&self, record: &RecordRef<'a>) -> Input<'a> {
        let input = input(record);
        let condemned = self.condemned.iter().find(|condemned| condemned.seq == record.seq);
        let Some(Condemned { attempts, .. }) = condemned.copied() else {
            #[cfg(feature = "fault-points")]
            crate::fault::strike(record.value);
            return input;
        };
        let unknown = |device, received_at| Raw {
            device,
            lane: Lane::Listen,
            kind: BodyKind::Other,
            path: "",
            listener: "",
            peer: "",
            received_at,
            payload: record.value,
        };
        let raw = match input {
            Input::Raw(raw) | Input::Named { raw, .. } | Input::Poison { raw, .. } => raw,
            Input::Clear(clear) => unknown(clear.device, clear.received_at),
            Input::Tick { received_at } => unknown("", received_at),
            Input::Unreadable { key, .. } => unknown(key, record.appended_at),
        };
        Input::Poison { raw, attempts }
    }
}

/// A record of topic `raw` as it is.
pub(crate) fn input<'a>(record: &RecordRef<'a>) -> Input<'a> {
    match read_raw(record.key, record.value) {
        Ok(RawRecord::Raw(raw)) => Input::Raw(raw),
        Ok(RawRecord::Clear(clear)) => Input::Clear(clear),
        Ok(RawRecord::Tick { received_at, .. }) => Input::Tick { received_at },
        Err(_) => {
            let key = std::str::from_utf8(record.key).unwrap_or_default();
            Input::Unreadable { key, bytes: record.value }
        }
    }
}

/// The care of a process: its partitions take turns.
#[derive(Debug, Default)]
pub(crate) struct Care {
    on: AtomicBool,
    /// The partition whose mark stands.
    pub marked: Mutex<Option<u16>>,
}

impl Care {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// One partition of the process has reason to be careful, so all are: an end must not be counted against a partition
    /// that only happened to have a mark.
    pub(crate) fn begin(&self) {
        self.on.store(true, Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.on.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ATTEMPTS_MAX: u32 = 3;

    fn put(topic: &mut Vec<(Bytes, Bytes)>, entries: Vec<Entry>) {
        for (key, value) in entries {
            topic.retain(|(known, _)| **known != *key);
            topic.push((key.into(), value.into()));
        }
    }

    /// A life over records 0..head in batches: ends at the first record that ends it and that is tried, leaving in the topic
    /// what was safe. True if it got to the head.
    fn live(topic: &mut Vec<(Bytes, Bytes)>, poison: &[u64], head: u64, batch: u64) -> bool {
        let mut trial = Trial::of(topic);
        let (beginning, entries) = trial.begin(0, ATTEMPTS_MAX);
        put(topic, entries);
        let careful = beginning != Beginning::Usual;
        let ends = |seq: u64| {
            poison.contains(&seq) && !trial.condemned.iter().any(|condemned| condemned.seq == seq)
        };
        let mut next = 0;
        while next < head {
            let end = (next + batch).min(head);
            while next < end {
                let part =
                    if careful { trial.part(next, end) } else { Part { to: end, mark: None } };
                put(topic, part.mark.iter().map(Trying::entry).collect());
                if (next..part.to).any(ends) {
                    return false;
                }
                next = part.to;
            }
        }
        true
    }

    proptest! {
        #[test]
        fn what_ends_lives_is_found_and_nothing_else(
            poison in prop::collection::btree_set(0..200_u64, 0..4),
            head in 200..230_u64,
            batches in prop::collection::vec(1..90_u64, 40),
        ) {
            let poison: Vec<_> = poison.into_iter().collect();
            let mut topic = Vec::new();
            let lives = batches.iter().position(|batch| live(&mut topic, &poison, head, *batch));
            // Usual lives, then for each poison one by batch and enough by record.
            let most = match poison.len() {
                0 => 0,
                some => ATTEMPTS_MAX as usize + some * (1 + ATTEMPTS_MAX as usize),
            };
            prop_assert!(lives.is_some_and(|lives| lives <= most), "{lives:?} of {most}");
            let condemned: Vec<_> = Trial::of(&topic).condemned.iter().map(|it| it.seq).collect();
            prop_assert_eq!(condemned, poison);
        }
    }

    #[test]
    fn progress_is_a_new_beginning() {
        let mut topic = Vec::new();
        for _ in 0..=ATTEMPTS_MAX {
            assert!(!live(&mut topic, &[7], 20, 5));
        }
        let mut trial = Trial::of(&topic);
        assert_eq!(trial.found, Some(Trying { from: 5, to: 10, attempts: 1 }));
        // A snapshot in the midst of what was tried: care goes on; one behind it: all is as usual.
        assert_eq!(trial.clone().begin(6, ATTEMPTS_MAX).0, Beginning::Careful);
        let (beginning, entries) = trial.begin(10, ATTEMPTS_MAX);
        put(&mut topic, entries);
        assert_eq!((beginning, Trial::of(&topic)), (Beginning::Usual, trial));
    }
}
