//! The life of one message, told again: the step is pure, so the partition is replayed up to the record, and watched.
//!
//! An id may be that of a raw record, a reading, a signal or a quarantine row. Owns the search for the record behind it and
//! what a [`Trace`] says. It writes nothing, commits nothing and holds nobody up: it reads as nobody's group.

mod find;
mod replay;
mod seen;

use std::sync::Arc;

use yiwang_core::ids::{Id, key_hash};
use yiwang_core::route::Fate;
use yiwang_core::routes::Stream;
use yiwang_core::rules::{Judgement, Standing};
use yiwang_log::{Log, Scan};

use crate::{Bundle, Error};
use replay::{Found, Replay};

pub use seen::Output;

/// The life of one message.
#[derive(Debug)]
pub struct Trace {
    /// Its raw id; zero for a tick.
    pub raw: Id,
    /// Partition of topic `raw`, and its number there.
    pub partition: u16,
    /// Its number in the partition.
    pub seq: u64,
    /// When the log stored it, ms UTC.
    pub appended_at: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// The record as it lies on topic `raw`.
    pub value: Vec<u8>,
    /// What became of it.
    pub fate: Fate,
    /// The configuration that it was routed with.
    pub config: Id,
    /// First record that was replayed to know the state before it.
    pub replayed_from: u64,
    /// Whether the state before it is known for certain: nothing that came before was expired.
    pub exact: bool,
    /// The model and codec of the device that it came from, `pk@version` and the codec's digest.
    pub codec: Option<(String, Id)>,
    /// What came out, each with where it lies.
    pub outputs: Vec<Traced>,
    /// The rules of the devices that it is about.
    pub rules: Vec<RuleTrace>,
    /// Numbers of later records of the same id in the partition: duplicates.
    pub repeats: Vec<u64>,
}

/// An output and where it lies.
#[derive(Debug)]
pub struct Traced {
    /// The output.
    pub output: Output,
    /// Its records on the log.
    pub places: Vec<Lies>,
}

/// A record on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lies {
    /// Topic.
    pub topic: String,
    /// Partition of it.
    pub partition: u16,
    /// Number in it.
    pub seq: u64,
}

/// What a rule made of the record.
#[derive(Debug)]
pub struct RuleTrace {
    /// The device.
    pub device: String,
    /// The condition's text.
    pub when: String,
    /// Whether the record concerns it at all: it has what the rule reads, or moved it.
    pub looked: bool,
    /// Whether it judged a value of the record, and why if it did not.
    pub judgement: Judgement,
    /// Where it stood before; `None` for a device that was not heard before.
    pub before: Option<Standing>,
    /// Where it stood after.
    pub after: Standing,
    /// Names of the windows of maintenance that its raise waits for then.
    pub held_by: Vec<Arc<str>>,
}

/// What names a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its id, or that of an output.
    Id(Id),
    /// Where it lies in topic `raw`: the only name of what was rejected, repeated or is no message.
    At {
        /// Partition.
        partition: u16,
        /// Number in it.
        seq: u64,
    },
}

impl Wanted {
    /// Reads 32 hexadecimal digits or `raw/PARTITION/SEQ`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some(place) = text.strip_prefix("raw/") else { return Id::parse(text).map(Self::Id) };
        let (partition, seq) = place.split_once('/')?;
        Some(Self::At { partition: partition.parse().ok()?, seq: seq.parse().ok()? })
    }
}

/// Tells the life of a message; `None` if nothing that is kept is it. `current` is used where the configuration of
/// then is gone.
///
/// # Errors
/// The log cannot be read.
pub async fn trace(
    log: &Log,
    current: &Arc<Bundle>,
    wanted: Wanted,
) -> Result<Option<Trace>, Error> {
    let topics = topics(current);
    let (device, order) = match wanted {
        Wanted::Id(id) => {
            let device = find::device_of(log, &topics, id).await?;
            let order = likely_first(log, current, device.as_deref());
            (device, order)
        }
        Wanted::At { partition, .. } => {
            let order = (0..log.partitions("raw")).filter(|number| *number == partition);
            (None, order.collect())
        }
    };
    for partition in order {
        let mut replay = Replay::open(log, current, partition).await?;
        if let Some(found) = replay.find(wanted).await? {
            let mut trace = tell(replay, found, device.as_deref()).await?;
            place(log, &topics, &mut trace).await?;
            return Ok(Some(trace));
        }
    }
    Ok(None)
}

/// The partitions of `raw`, first the one in which the records of a device lie now.
fn likely_first(log: &Log, current: &Bundle, device: Option<&str>) -> Vec<u16> {
    let mut order: Vec<u16> = (0..log.partitions("raw")).collect();
    if let Some(device) = device {
        let place = current.shared().registry().place(device);
        let likely = log.partition_of("raw", key_hash(place));
        order.sort_by_key(|partition| *partition != likely);
    }
    order
}

/// The topics in which outputs lie: a signal of an absence in `lifecycle`, until it is told as it is.
fn topics(bundle: &Bundle) -> Vec<(String, Stream)> {
    let own = Stream::ALL.into_iter().map(|stream| (stream.as_str().to_owned(), stream));
    let own = own.chain([(find::LIFECYCLE.to_owned(), Stream::Signals)]);
    let further = bundle.routes().topics().iter();
    own.chain(further.map(|topic| (topic.name.to_string(), topic.stream))).collect()
}

/// The second replay, which knows where to stop.
async fn tell(replay: Replay<'_>, found: Found, device: Option<&str>) -> Result<Trace, Error> {
    let told = replay.tell(found.seq, device).await?;
    let outputs = told.outputs.into_iter().map(|output| Traced { output, places: Vec::new() });
    Ok(Trace {
        raw: told.raw,
        partition: told.partition,
        seq: found.seq,
        appended_at: told.appended_at,
        key: told.key,
        value: told.value,
        fate: told.fate,
        config: told.config,
        replayed_from: told.from,
        exact: told.exact,
        codec: told.codec,
        outputs: outputs.collect(),
        rules: told.rules,
        repeats: found.repeats,
    })
}

/// Finds where the outputs lie.
async fn place(log: &Log, topics: &[(String, Stream)], trace: &mut Trace) -> Result<(), Error> {
    for (topic, stream) in topics {
        let mut scan = Scan::open(log, topic).await?;
        while let Some(records) = scan.next().await? {
            for record in scan.of(&records) {
                let Some(id) = find::id_of(topic, *stream, record.value) else { continue };
                let outputs = trace.outputs.iter_mut();
                for traced in outputs.filter(|it| it.output.is(*stream, &id)) {
                    let (partition, seq) = (records.partition, record.seq);
                    traced.places.push(Lies { topic: topic.clone(), partition, seq });
                }
            }
        }
    }
    Ok(())
}
