//! Where outputs go beside the hub's own topics: the routing table of the configuration in force, bound to the log.
//!
//! Owns the counts of what was forwarded. A forwarded record is the same bytes once more, so a route costs no encoding.
//! What its topic is gone for (an old configuration is being replayed) is counted as such and never dropped from the
//! hub's own topic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use yiwang_core::ledger::{Counters, Stage};
use yiwang_core::record::{QuarantineReason, Signal};
use yiwang_core::registry::Registry;
use yiwang_core::route::bytes::{Damaged, Reader, Writer};
use yiwang_core::route::{Quarantined, Reading};
use yiwang_core::routes::{Fan, Routes, Stream, Subject};
use yiwang_log::{Batch, Log, TopicId};

use crate::Bundle;

/// A row of the ledger about forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    /// Outputs that a route chose, by route.
    Matched,
    /// Records for a topic, by topic. What a crash makes be appended once more counts once.
    Forwarded,
    /// Records whose topic the log no longer has, by topic.
    Unforwarded,
    /// Readings that left the hub's own topic out.
    Diverted,
}

impl Row {
    const ALL: [Self; 4] = [Self::Matched, Self::Forwarded, Self::Unforwarded, Self::Diverted];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Forwarded => "forwarded",
            Self::Unforwarded => "unforwarded",
            Self::Diverted => "diverted",
        }
    }
}

/// What was forwarded since the log began, by the names of routes and topics: it outlives configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded(BTreeMap<(Row, Arc<str>), u64>);

impl Forwarded {
    pub(crate) fn add(&mut self, other: &Self) {
        for (key, count) in &other.0 {
            *self.0.entry(key.clone()).or_default() += count;
        }
    }

    /// Adds its rows to the ledger of the router.
    pub(crate) fn count(&self, all: &mut Counters) {
        for ((row, name), count) in &self.0 {
            all.add(Stage::Router, row.as_str(), name, *count);
        }
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.count(self.0.len());
        for ((row, name), count) in &self.0 {
            to.byte(*row as u8);
            to.text(name);
            to.uint(*count);
        }
    }

    /// What was encoded; generations of earlier versions end before it.
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        if from.is_empty() {
            return Ok(Self::default());
        }
        let entry = |from: &mut Reader<'_>| {
            let row = *Row::ALL.get(usize::from(from.byte()?)).ok_or(Damaged("no such row"))?;
            Ok(((row, Arc::from(from.text()?)), from.uint()?))
        };
        Ok(Self(from.list(entry)?.into_iter().collect()))
    }
}

/// Plain counts by the numbers of one table.
#[derive(Debug, Default)]
struct Counts {
    matched: Vec<u64>,
    /// By topic.
    forwarded: Vec<u64>,
    unforwarded: Vec<u64>,
    diverted: u64,
}

/// The routing table of the configuration in force, bound to the topics of the log.
#[derive(Debug)]
pub(crate) struct Forward {
    log: Log,
    bundle: Option<Arc<Bundle>>,
    /// By topic number of the table.
    topics: Vec<Option<TopicId>>,
    /// Each fan of readings that any device has, once.
    fans: Vec<Fan>,
    numbers: HashMap<Fan, u32>,
    counts: Counts,
    /// Of the configurations before, since the last [`Forward::take`].
    before: Forwarded,
}

/// Number of a fan of readings under the configuration in force; the first is that of devices without route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FanNo(u32);

impl FanNo {
    /// That of devices without route.
    pub(crate) const NONE: Self = Self(0);
}

impl Forward {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            bundle: None,
            topics: Vec::new(),
            fans: Vec::new(),
            numbers: HashMap::new(),
            counts: Counts::default(),
            before: Forwarded::default(),
        }
    }

    /// Whether this configuration is the one in force.
    pub(crate) fn is_under(&self, bundle: &Bundle) -> bool {
        self.bundle.as_ref().is_some_and(|known| known.epoch() == bundle.epoch())
    }

    /// What follows is routed under this configuration.
    pub(crate) fn under(&mut self, bundle: &Arc<Bundle>) {
        let counted = self.named();
        self.before.add(&counted);
        let routes = bundle.routes();
        let topic = |topic: &yiwang_core::routes::Topic| self.log.topic(&topic.name);
        self.topics = routes.topics().iter().map(topic).collect();
        for (topic, id) in routes.topics().iter().zip(&self.topics) {
            if id.is_none() {
                tracing::warn!(topic = &*topic.name, "topic of an earlier configuration is gone");
            }
        }
        self.counts = Counts {
            matched: vec![0; routes.names().len()],
            forwarded: vec![0; self.topics.len()],
            unforwarded: vec![0; self.topics.len()],
            diverted: 0,
        };
        self.fans = vec![Fan::default()];
        self.numbers = HashMap::from([(Fan::default(), 0)]);
        self.bundle = Some(bundle.clone());
    }

    /// What was forwarded since the last call.
    pub(crate) fn take(&mut self) -> Forwarded {
        let mut taken = std::mem::take(&mut self.before);
        taken.add(&self.named());
        self.counts.matched.fill(0);
        self.counts.forwarded.fill(0);
        self.counts.unforwarded.fill(0);
        self.counts.diverted = 0;
        taken
    }

    fn named(&self) -> Forwarded {
        let Some(bundle) = &self.bundle else { return Forwarded::default() };
        let mut named = Forwarded::default();
        let mut put = |row, name: &Arc<str>, count: u64| {
            if count > 0 {
                named.0.insert((row, name.clone()), count);
            }
        };
        for (name, count) in bundle.routes().names().zip(&self.counts.matched) {
            put(Row::Matched, name, *count);
        }
        for (at, topic) in bundle.routes().topics().iter().enumerate() {
            put(Row::Forwarded, &topic.name, self.counts.forwarded[at]);
            put(Row::Unforwarded, &topic.name, self.counts.unforwarded[at]);
        }
        put(Row::Diverted, &"".into(), self.counts.diverted);
        named
    }

    fn tables(&self, stream: Stream) -> Option<(&Routes, &Arc<Registry>)> {
        let bundle = self.bundle.as_ref()?;
        (!bundle.routes().is_empty(stream)).then(|| (bundle.routes(), bundle.shared().registry()))
    }

    /// The fan of a device's readings; asked when it is first heard.
    pub(crate) fn fan_of(&mut self, reading: &Reading<'_>) -> FanNo {
        let Some((routes, _)) = self.tables(Stream::Readings) else { return FanNo(0) };
        let place = Some(&*reading.device.place);
        let fan = routes.of_reading(Subject { product: &reading.product.key, place });
        let Self { fans, numbers, .. } = self;
        let number = *numbers.entry(fan).or_insert_with_key(|fan| {
            fans.push(fan.clone());
            fans.len() as u32 - 1
        });
        FanNo(number)
    }

    /// The topics of a reading, the hub's own first: `own` is left out where a route says so.
    #[inline]
    pub(crate) fn reading(
        &mut self,
        number: FanNo,
        own: TopicId,
        batch: &mut Batch,
        push: impl FnOnce(&mut Batch, TopicId),
    ) {
        if number == FanNo(0) {
            return push(batch, own);
        }
        let Self { fans, topics, counts, .. } = self;
        let Some(fan) = fans.get(number.0 as usize) else { return push(batch, own) };
        let mut present =
            fan.topics.iter().filter_map(|at| topics.get(usize::from(*at)).copied().flatten());
        let first = if fan.instead { present.next() } else { None };
        counts.diverted += u64::from(first.is_some());
        push(batch, first.unwrap_or(own));
        for topic in present {
            batch.push_again(topic);
        }
        counts.add(fan, topics);
    }

    /// Adds the newest record of the batch, a signal, to the topics that it goes to beside the hub's own.
    pub(crate) fn signal(&mut self, signal: &Signal, batch: &mut Batch) {
        let Some((routes, registry)) = self.tables(Stream::Signals) else { return };
        let district = registry.district.as_deref();
        let place = signal.place.as_deref();
        let place = district.zip(place).and_then(|(district, unit)| district.path_ref(unit));
        let from = Subject { product: product_of(&signal.device), place };
        let fan = routes.of_signal(from, &signal.category, signal.severity);
        self.again(&fan, batch);
    }

    /// The same for a quarantine row.
    pub(crate) fn quarantine(&mut self, row: &Quarantined<'_>, batch: &mut Batch) {
        let Some((routes, registry)) = self.tables(Stream::Quarantine) else { return };
        let device: &str = row.raw.device;
        let reason: QuarantineReason = row.reason;
        let place = registry.device(device).map(|(_, device)| &*device.place);
        let from = Subject { product: product_of(device), place };
        let fan = routes.of_quarantine(from, reason);
        self.again(&fan, batch);
    }

    fn again(&mut self, fan: &Fan, batch: &mut Batch) {
        for at in &fan.topics {
            if let Some(Some(topic)) = self.topics.get(usize::from(*at)) {
                batch.push_again(*topic);
            }
        }
        self.counts.add(fan, &self.topics);
    }
}

impl Counts {
    fn add(&mut self, fan: &Fan, topics: &[Option<TopicId>]) {
        for route in &fan.routes {
            self.matched[usize::from(*route)] += 1;
        }
        for at in &fan.topics {
            let at = usize::from(*at);
            match topics.get(at) {
                Some(Some(_)) => self.forwarded[at] += 1,
                _ => self.unforwarded[at] += 1,
            }
        }
    }
}

/// The product that a device key names.
fn product_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(product, _)| product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_and_may_be_absent() {
        let key = |row, name: &str| (row, Arc::from(name));
        let rows = [(key(Row::Matched, "fire"), 7), (key(Row::Diverted, ""), 300)];
        let forwarded = Forwarded(BTreeMap::from(rows));
        let mut to = Writer::default();
        forwarded.encode(&mut to);
        assert_eq!(Forwarded::decode(&mut Reader::new(&to.bytes)), Ok(forwarded.clone()));
        assert_eq!(Forwarded::decode(&mut Reader::new(&[])), Ok(Forwarded::default()));
        assert!(Forwarded::decode(&mut Reader::new(&to.bytes[..to.bytes.len() - 1])).is_err());
        let mut twice = forwarded.clone();
        twice.add(&forwarded);
        let mut ledger = Counters::new();
        twice.count(&mut ledger);
        assert_eq!(ledger.get(Stage::Router, "matched", "fire"), 14);
        assert_eq!(ledger.get(Stage::Router, "diverted", ""), 600);
        assert_eq!(ledger.imbalance(Stage::Router), 0);
    }
}
