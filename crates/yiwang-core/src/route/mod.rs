//! The routing step: raw records of one partition become readings, signals and quarantine rows, each with one fate.
//!
//! Owns the state of a partition and its snapshot. Pure: the same records from the same state give the same outputs
//! with the same ids, so a crash is answered by a replay. Time is that of records and ticks. Retry the append of what
//! came out, never the step: a step that ran has marked ids as seen.

mod batch;
pub mod bytes;
mod change;
mod clear;
#[cfg(test)]
mod clear_tests;
mod counters;
#[cfg(test)]
pub(crate) mod fixture;
mod fold;
#[cfg(test)]
mod fold_tests;
#[cfg(test)]
mod history_tests;
mod listed;
#[cfg(test)]
mod listed_tests;
#[cfg(test)]
mod maintenance_tests;
#[cfg(test)]
mod moved_tests;
mod pack;
mod shared;
mod snapshot;
mod sparkplug;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod tick;
pub mod window;

pub use counters::RouteCounters;
pub use fold::Turn;
pub use listed::Shard;
pub use shared::Shared;
pub use state::{PartitionState, Workspace};

use crate::ids::Id;
use crate::record::{Absence, Absent, Clear, Command, Millis, QuarantineReason, Raw, Signal};
use crate::registry::{Device, DeviceNo};
use crate::sample::{Flags, PropertyRef, Sampled, Samples, Value};
use crate::thing::{DataType, Product, Property};

/// Where a record lies: what names it when nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Topic epoch.
    pub epoch: u32,
    /// Partition of `raw`.
    pub partition: u16,
    /// Sequence number in it.
    pub seq: u64,
}

/// One record of `raw`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input<'a> {
    /// Bytes of a device.
    Raw(Raw<'a>),
    /// Bytes that name their device themselves, by the product's `codec.device`, and stand for the moment they tell:
    /// a line of a file. What `raw` says of device and time is not read.
    Named {
        /// Number of the product in the registry.
        product: u16,
        /// The bytes.
        raw: Raw<'a>,
    },
    /// A gateway's heartbeat.
    Tick {
        /// When, ms UTC.
        received_at: Millis,
    },
    /// An operator clears an alarm.
    Clear(Clear<'a>),
    /// A record at which the process has ended so often that it is not tried again.
    Poison {
        /// As received.
        raw: Raw<'a>,
        /// How often it was tried.
        attempts: u32,
    },
    /// A record that is not what its topic promises; it has a fate all the same.
    Unreadable {
        /// Its key, as far as it is text.
        key: &'a str,
        /// Its value.
        bytes: &'a [u8],
    },
}

/// Why an understood record was refused after it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The device is disabled or retired.
    Disabled,
    /// The restart counter went back without `backfill`.
    Replay,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Disabled, Self::Replay];

    /// The published code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Replay => "REPLAY",
        }
    }
}

/// What became of a record: exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A heartbeat: counted apart.
    Tick,
    /// An operator's clear, done or found to be about nothing: counted apart, as no device said it.
    Clear,
    /// Understood; its outputs, possibly none, were handed out.
    Routed,
    /// Could not be normalised; the bytes were handed out with the reason.
    Quarantined(QuarantineReason),
    /// Its id was in the window.
    Duplicate,
    /// Understood and refused by policy.
    Rejected(Rejection),
}

/// One normalised set of values of one device at one device time; borrowed, to be encoded at once.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Its id.
    pub id: Id,
    /// Id of the raw record.
    pub raw: Id,
    /// Dense number of the device in this registry.
    pub device_no: DeviceNo,
    /// The device.
    pub device: &'a Device,
    /// Its product.
    pub product: &'a Product,
    /// Index of the device event, if the values are its outputs.
    pub event: Option<u16>,
    /// Time that rules believe.
    pub t: Millis,
    /// When the hub received it.
    pub received_at: Millis,
    /// Flags of the whole set.
    pub flags: Flags,
    /// Whether the condition of any alarm rule is true on these values, be an alarm raised or not.
    pub alarming: bool,
    /// The values.
    pub values: &'a [Sampled],
    /// The arena of their texts.
    pub samples: &'a Samples,
}

impl<'a> Reading<'a> {
    /// The model of a value; `None` for an unknown property.
    #[must_use]
    pub fn property(&self, sampled: &Sampled) -> Option<&'a Property> {
        let PropertyRef::Known(index) = sampled.property else { return None };
        let event = self.event.and_then(|event| self.product.events.get(usize::from(event)));
        let list = event.map_or(&self.product.properties, |event| &event.outputs);
        list.get(usize::from(index))
    }

    /// The name of a value.
    #[must_use]
    pub fn identifier(&self, sampled: &Sampled) -> &'a str {
        match sampled.property {
            PropertyRef::Unknown(span) => self.samples.text_at(span),
            PropertyRef::Known(_) => self.property(sampled).map_or("", |p| &p.identifier),
        }
    }

    /// The word of an enum value; `None` for any other.
    #[must_use]
    pub fn word(&self, sampled: &Sampled) -> Option<&'a str> {
        let Value::Enum(index) = sampled.value else { return None };
        match &self.property(sampled)?.data {
            DataType::Enum(words) => words.get(usize::from(index)).map(AsRef::as_ref),
            _ => None,
        }
    }
}

/// A record that could not be normalised, with its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Quarantined<'a> {
    /// As received.
    pub raw: &'a Raw<'a>,
    /// Raw id.
    pub id: Id,
    /// Why.
    pub reason: QuarantineReason,
    /// Path, expected, found.
    pub detail: &'a str,
    /// The product whose codec tried.
    pub product: Option<&'a Product>,
    /// How often it was tried.
    pub attempts: u32,
}

/// Where outputs go, in order; called many times for one record.
pub trait Sink {
    /// Readings of these devices are likely to come next: a hint that a sink may use to fetch what it keeps of them.
    fn expect(&mut self, devices: &[DeviceNo]) {
        let _ = devices;
    }
    /// A reading.
    fn reading(&mut self, reading: &Reading<'_>);
    /// A signal.
    fn signal(&mut self, signal: &Signal);
    /// A signal of an absence that may be folded; a sink that folds nothing takes it as any other.
    fn absence(&mut self, absence: &Absence) {
        if absence.what == Absent::Says {
            self.signal(&absence.signal);
        }
    }
    /// A quarantine row.
    fn quarantine(&mut self, row: &Quarantined<'_>);
    /// A command to a device; rare, and nothing to a sink that only counts or shows what devices said.
    fn command(&mut self, command: &Command) {
        let _ = command;
    }
}
