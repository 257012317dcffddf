//! The session of an edge node: what its births have told, and where its sequence stands.
//!
//! Part of the router's state of the node, so everything in it follows from the records of its partition: the clock is
//! theirs, and a replay makes the same session. It judges the order of messages and never reads a value. It knows when
//! births should be asked for, but sends nothing.

use super::payload::{Datatype, Payload};
use super::topic::{MessageType, Topic};
use super::{BD_SEQ, Metric};
use crate::codec::proto::Broken;
use crate::record::Millis;
use crate::route::bytes::{Damaged, Reader, Writer};

/// Most metrics that an edge node and its devices may have.
const METRICS_MAX: usize = 20_000;
/// Most bytes of a metric's name.
const NAME_BYTES_MAX: usize = 256;
/// Most devices of an edge node.
const DEVICES_MAX: usize = 2_000;
/// So long a gap may stay open before births are asked for.
const GAP_MS_MAX: Millis = 2_000;
/// Births are asked for at most once in so long.
const ASK_EVERY_MS: Millis = 60_000;
/// Values of the sequence number.
const SEQ_VALUES: u64 = 256;

/// What a message is to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts: `seq` does not wrap and never repeats within a `boot`.
    Counted {
        /// Number of the connection.
        boot: u64,
        /// Number of the message in it.
        seq: u64,
        /// Messages before it are missing.
        gap: bool,
    },
    /// The death of the connection that stands.
    Died,
    /// Older than what stands: the death of an earlier connection, or a message from before the newest birth.
    Stale,
    /// From a host: nothing that an edge node says.
    Command,
}

/// Why a message was refused; births are wanted in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A metric that cannot be read.
    Broken(Broken),
    /// What only a birth tells, or a type that no property has.
    Unknown(&'static str),
    /// What the content should be.
    Schema(&'static str),
}

impl From<Broken> for Refused {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// The session of one edge node.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// As told by the newest birth of the node, while it lives.
    bd_seq: Option<u64>,
    /// That number, or one that goes on where nodes count from 0 again.
    boot: u64,
    /// Time of the newest birth of the node, as it says.
    born: Option<Millis>,
    /// Unwrapped number of that birth.
    first: u64,
    /// Highest unwrapped number; `None` before the first message.
    last: Option<u64>,
    /// Bit n: number `last - 1 - n` has not come.
    missing: u128,
    missing_since: Millis,
    /// Births are wanted whatever the sequence says.
    wanted: bool,
    asked_at: Option<Millis>,
    /// In the order of their first birth; the node itself has no name.
    devices: Vec<Told>,
    /// By alias.
    aliases: Vec<Alias>,
}

/// What the newest birth of a device has told.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    device: Box<str>,
    /// By name.
    metrics: Vec<Known>,
}

/// A metric that a birth has told.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    name: Box<str>,
    datatype: Datatype,
    alias: Option<u64>,
}

/// Where the metric of an alias stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alias {
    alias: u64,
    device: u32,
    metric: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// One that has heard nothing.
    pub(crate) const fn new() -> Self {
        Self {
            bd_seq: None,
            boot: 0,
            born: None,
            first: 0,
            last: None,
            missing: 0,
            missing_since: 0,
            wanted: false,
            asked_at: None,
            devices: Vec::new(),
            aliases: Vec::new(),
        }
    }

    /// Places a message in the sequence. A duplicate changes nothing and gets the same place again.
    ///
    /// # Errors
    /// A number that is missing or beyond its range.
    pub fn observe(
        &mut self,
        topic: &Topic<'_>,
        payload: &Payload<'_>,
        now: Millis,
    ) -> Result<Standing, Refused> {
        let observed = match topic.kind {
            MessageType::NodeCommand | MessageType::DeviceCommand => Ok(Standing::Command),
            MessageType::NodeDeath => bd_seq(payload).map(|bd_seq| self.death(bd_seq)),
            MessageType::NodeBirth => self.birth(payload),
            _ => seq(payload).map(|seq| self.advance(seq, now)),
        };
        if observed.is_err() {
            self.want_births();
        }
        observed
    }

    /// Takes what a birth tells, after [`Session::observe`] has placed it.
    ///
    /// # Errors
    /// A metric that cannot be read or has no name, an alias of another metric, or more than the limits allow: then
    /// nothing is taken.
    pub fn learn(&mut self, topic: &Topic<'_>, payload: &Payload<'_>) -> Result<(), Refused> {
        let node = topic.kind == MessageType::NodeBirth;
        match self.told(topic.device, node, payload) {
            Ok(metrics) => {
                if node {
                    self.devices.clear();
                    self.aliases.clear();
                }
                self.replace(topic.device, metrics);
                Ok(())
            }
            Err(refused) => {
                self.want_births();
                Err(refused)
            }
        }
    }

    /// Forgets a device that ended.
    pub fn forget(&mut self, device: &str) {
        if self.device_index(device).is_some() {
            self.replace(device, Vec::new());
        }
    }

    /// Name and type of a metric of this device; `None` if no birth has told it.
    #[must_use]
    pub fn name_of<'s>(
        &'s self,
        device: &str,
        metric: &Metric<'s>,
    ) -> Option<(&'s str, Option<Datatype>)> {
        let known = match (metric.alias, metric.name) {
            (_, Some(name)) => {
                let known = self.metric(device, name);
                return Some((name, metric.datatype.or(known.map(|known| known.datatype))));
            }
            (Some(alias), None) => {
                let place = self.alias(alias)?;
                let told = self.devices.get(place.device as usize)?;
                told.metrics.get(place.metric as usize).filter(|_| *told.device == *device)?
            }
            (None, None) => return None,
        };
        Some((&known.name, metric.datatype.or(Some(known.datatype))))
    }

    /// Births are wanted: something came that only they explain.
    pub fn want_births(&mut self) {
        self.wanted = true;
    }

    /// Whether births should be asked for now; answers yes at most once a minute, and counts as asked.
    pub fn ask(&mut self, now: Millis) -> bool {
        let gap = self.missing != 0 && now.saturating_sub(self.missing_since) >= GAP_MS_MAX;
        let rested = self.asked_at.is_none_or(|at| now.saturating_sub(at) >= ASK_EVERY_MS);
        let ask = (self.wanted || gap) && rested;
        if ask {
            self.wanted = false;
            self.asked_at = Some(now);
        }
        ask
    }

    /// Writes it.
    pub fn encode(&self, to: &mut Writer) {
        let option = |to: &mut Writer, value: Option<u64>| {
            to.bool(value.is_some());
            to.uint(value.unwrap_or(0));
        };
        option(to, self.bd_seq);
        to.uint(self.boot);
        option(to, self.born.map(i64::cast_unsigned));
        to.uint(self.first);
        option(to, self.last);
        to.uint(self.missing as u64);
        to.uint((self.missing >> 64) as u64);
        to.int(self.missing_since);
        to.bool(self.wanted);
        option(to, self.asked_at.map(i64::cast_unsigned));
        to.count(self.devices.len());
        for told in &self.devices {
            to.text(&told.device);
            to.count(told.metrics.len());
            for known in &told.metrics {
                to.text(&known.name);
                to.byte(known.datatype.0);
                option(to, known.alias);
            }
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Damaged bytes.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        fn option(from: &mut Reader<'_>) -> Result<Option<u64>, Damaged> {
            let (some, value) = (from.bool()?, from.uint()?);
            Ok(some.then_some(value))
        }
        let mut read = Self {
            bd_seq: option(from)?,
            boot: from.uint()?,
            born: option(from)?.map(u64::cast_signed),
            first: from.uint()?,
            last: option(from)?,
            missing: u128::from(from.uint()?) | u128::from(from.uint()?) << 64,
            missing_since: from.int()?,
            wanted: from.bool()?,
            asked_at: option(from)?.map(u64::cast_signed),
            ..Self::new()
        };
        read.devices = from.list(|from| {
            let device = from.text()?.into();
            let metrics = from.list(|from| {
                let name = from.text()?.into();
                Ok(Known { name, datatype: Datatype(from.byte()?), alias: option(from)? })
            })?;
            Ok(Told { device, metrics })
        })?;
        let sorted = |told: &Told| told.metrics.is_sorted_by(|a, b| a.name < b.name);
        if !read.devices.iter().all(sorted) {
            return Err(Damaged("metrics out of order"));
        }
        for (device, told) in (0..).zip(&read.devices) {
            read.aliases.extend(places(device, &told.metrics));
        }
        read.aliases.sort_unstable();
        // Far from where counting on would overflow.
        if read.last.unwrap_or(0).max(read.first) > i64::MAX as u64 {
            return Err(Damaged("sequence number too large"));
        }
        Ok(read)
    }

    fn death(&mut self, bd_seq: u64) -> Standing {
        if self.bd_seq != Some(bd_seq) {
            return Standing::Stale;
        }
        // What it said of its aliases ended with it.
        self.bd_seq = None;
        self.missing = 0;
        self.devices.clear();
        self.aliases.clear();
        Standing::Died
    }

    fn birth(&mut self, payload: &Payload<'_>) -> Result<Standing, Refused> {
        let (bd_seq, seq) = (bd_seq(payload)?, seq(payload)?);
        let again = self.bd_seq == Some(bd_seq);
        if again && self.born == payload.timestamp && seq == self.first % SEQ_VALUES {
            return Ok(Standing::Counted { boot: self.boot, seq: self.first, gap: false });
        }
        let new = self.last.is_none() || bd_seq > self.boot;
        self.boot = match (again, new) {
            (true, _) => self.boot,
            (false, true) => bd_seq,
            (false, false) => self.boot.saturating_add(1),
        };
        // A node that is asked for its births counts from 0 again in the same connection.
        let base =
            if again { self.last.map_or(0, |last| (last | (SEQ_VALUES - 1)) + 1) } else { 0 };
        self.bd_seq = Some(bd_seq);
        self.born = payload.timestamp;
        self.first = base + seq;
        self.last = Some(self.first);
        (self.missing, self.wanted) = (0, false);
        Ok(Standing::Counted { boot: self.boot, seq: self.first, gap: false })
    }

    fn advance(&mut self, seq: u64, now: Millis) -> Standing {
        let boot = self.boot;
        let Some(last) = self.last else {
            (self.first, self.last) = (seq, Some(seq));
            self.want_births();
            return Standing::Counted { boot, seq, gap: false };
        };
        if self.bd_seq.is_none() {
            self.want_births();
        }
        let ahead = seq.wrapping_sub(last) % SEQ_VALUES;
        if ahead == 0 || ahead >= SEQ_VALUES / 2 {
            return self.behind(last, (SEQ_VALUES - ahead) % SEQ_VALUES);
        }
        let skipped = (1_u128 << (ahead - 1)) - 1;
        if skipped != 0 && self.missing == 0 {
            self.missing_since = now;
        }
        // The place of `last` itself, then those that were skipped.
        self.missing = self.missing.checked_shl(ahead as u32).unwrap_or(0) | skipped;
        let seq = last + ahead;
        self.last = Some(seq);
        Standing::Counted { boot, seq, gap: skipped != 0 }
    }

    /// A message that is not the newest: late or a duplicate, unless it is from before the newest birth.
    fn behind(&mut self, last: u64, by: u64) -> Standing {
        let Some(seq) = last.checked_sub(by).filter(|seq| *seq >= self.first) else {
            return Standing::Stale;
        };
        if by > 0 {
            self.missing &= !(1_u128 << (by - 1));
        }
        Standing::Counted { boot: self.boot, seq, gap: false }
    }

    /// The metrics that a birth tells, by name.
    fn told(&self, device: &str, node: bool, payload: &Payload<'_>) -> Result<Vec<Known>, Refused> {
        let own = self.device_index(device);
        if !node && own.is_none() && self.devices.len() > DEVICES_MAX {
            return Err(Refused::Schema("at most 2000 devices of an edge node"));
        }
        let others = (0..).zip(&self.devices).filter(|(index, _)| !node && Some(*index) != own);
        let others: usize = others.map(|(_, told)| told.metrics.len()).sum();
        let mut metrics: Vec<Known> = Vec::new();
        for metric in payload.metrics() {
            let metric = metric?;
            let name = metric.name.ok_or(Refused::Schema("a name of every metric of a birth"))?;
            if name.len() > NAME_BYTES_MAX {
                return Err(Refused::Schema("names of metrics of at most 256 bytes"));
            }
            let datatype = metric.datatype;
            let datatype =
                datatype.ok_or(Refused::Schema("a datatype of every metric of a birth"))?;
            metrics.push(Known { name: name.into(), datatype, alias: metric.alias });
            if others + metrics.len() > METRICS_MAX {
                return Err(Refused::Schema("at most 20000 metrics of an edge node"));
            }
        }
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        // The newest of two with one name is the last.
        metrics.dedup_by(|later, earlier| {
            let same = later.name == earlier.name;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        let mut aliases: Vec<u64> = metrics.iter().filter_map(|known| known.alias).collect();
        aliases.sort_unstable();
        let foreign = |alias: &u64| {
            let place = self.alias(*alias).filter(|_| !node);
            place.is_some_and(|place| Some(place.device) != own)
        };
        if aliases.windows(2).any(|pair| pair[0] == pair[1]) || aliases.iter().any(foreign) {
            return Err(Refused::Schema("aliases that are unique in the edge node"));
        }
        Ok(metrics)
    }

    /// Puts metrics in the place of what a device has told before. Births of many devices follow each other, so each
    /// moves the aliases of the others and copies nothing of them.
    fn replace(&mut self, device: &str, metrics: Vec<Known>) {
        let index = self.device_index(device).unwrap_or_else(|| {
            self.devices.push(Told { device: device.into(), metrics: Vec::new() });
            self.devices.len() as u32 - 1
        });
        self.aliases.retain(|place| place.device != index);
        self.aliases.extend(places(index, &metrics));
        // Stable, since that is fast for what is nearly sorted.
        self.aliases.sort();
        if let Some(told) = self.devices.get_mut(index as usize) {
            told.metrics = metrics;
        }
    }

    fn alias(&self, alias: u64) -> Option<Alias> {
        let at = self.aliases.binary_search_by_key(&alias, |place| place.alias).ok()?;
        self.aliases.get(at).copied()
    }

    fn device_index(&self, device: &str) -> Option<u32> {
        let index = self.devices.iter().position(|told| *told.device == *device)?;
        Some(index as u32)
    }

    fn metric(&self, device: &str, name: &str) -> Option<&Known> {
        let told = self.devices.get(self.device_index(device)? as usize)?;
        let at = told.metrics.binary_search_by(|known| (*known.name).cmp(name)).ok()?;
        told.metrics.get(at)
    }
}

/// The aliases among the metrics of a device.
fn places(device: u32, metrics: &[Known]) -> impl Iterator<Item = Alias> {
    let known = (0..).zip(metrics);
    known.filter_map(move |(metric, known)| Some(Alias { alias: known.alias?, device, metric }))
}

/// The sequence number, which births, data and deaths of devices have.
fn seq(payload: &Payload<'_>) -> Result<u64, Refused> {
    let seq = payload.seq.filter(|seq| *seq < SEQ_VALUES);
    seq.ok_or(Refused::Schema("seq of 0 to 255"))
}

/// The number of the connection, which births and deaths of the node have.
fn bd_seq(payload: &Payload<'_>) -> Result<u64, Refused> {
    for metric in payload.metrics() {
        let metric = metric?;
        if metric.name == Some(BD_SEQ) {
            let datatype = metric.datatype.unwrap_or(Datatype(4));
            let value = datatype.whole(metric.carried).and_then(|value| u64::try_from(value).ok());
            return value.ok_or(Refused::Schema("bdSeq of at least 0"));
        }
    }
    Err(Refused::Schema("a metric bdSeq"))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
