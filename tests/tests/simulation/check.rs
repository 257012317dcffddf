//! The accounting of the delivery contract over what a simulation left behind.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use yiwang_core::ids::{self, Id};
use yiwang_core::incident::Outcome;
use yiwang_core::ledger::Stage;
use yiwang_core::record::Signal;
use yiwang_log::{BatchLimit, Event, Log, Position, Start};
use yiwang_proto::record::v1;
use yiwang_proto::signal_from_bytes;
use yiwang_proto::wire::{RawRecord, read_raw};
use yiwang_store::{IncidentFilter, Scope};

use crate::centre::{Live, outside};
use crate::fleet::{Kind, Name};
use crate::world::Rest;

/// One record as it lies on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: u16,
    pub seq: u64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Everything on a topic, by partition and place.
pub async fn records(log: &Log, topic: &str) -> Vec<Record> {
    let at = |partition| Position { epoch: 1, partition, seq: 0 };
    let start = Start::At((0..log.partitions(topic)).map(at).collect());
    let mut reader = log.reader(topic, "", start).await.unwrap();
    let mut left = 0;
    for partition in 0..log.partitions(topic) {
        left += log.head(topic, partition).await.unwrap();
    }
    let mut next = BTreeMap::new();
    let mut all = Vec::new();
    while left > 0 {
        let Event::Records(records) = reader.next(BatchLimit::default()).await.unwrap() else {
            continue;
        };
        for record in records.iter() {
            // A fault may have let the reader begin again.
            let next = next.entry(records.partition).or_insert(0);
            if record.seq != *next {
                continue;
            }
            *next += 1;
            left -= 1;
            let (key, value) = (record.key.to_vec(), record.value.to_vec());
            all.push(Record { partition: records.partition, seq: record.seq, key, value });
        }
    }
    all.sort_by_key(|record| (record.partition, record.seq));
    all
}

/// What one topic of outputs holds per key, in order, repeats of the same bytes left out.
pub async fn outputs(log: &Log, topic: &str) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut all: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in records(log, topic).await {
        if seen.insert((record.key.clone(), record.value.clone())) {
            all.entry(record.key).or_default().push(record.value);
        }
    }
    all
}

/// What the raw log says must have become of its records.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    raw: u64,
    routed: u64,
    duplicate: u64,
    quarantined: u64,
    /// Ids of the readings' raw records per device, in the order in which they first arrived.
    readings: BTreeMap<String, Vec<Id>>,
    /// What lies in quarantine, how often.
    held: BTreeMap<Name, u64>,
    /// All messages on the log.
    stored: BTreeSet<Name>,
}

async fn expected(rest: &Rest) -> Expected {
    let attempted = rest.fleet.attempted();
    let mut all = Expected::default();
    for record in records(&rest.log, "raw").await {
        let RawRecord::Raw(raw) = read_raw(&record.key, &record.value).unwrap() else { continue };
        let body = String::from_utf8(raw.payload.to_vec()).unwrap();
        let name = (raw.device.to_owned(), body);
        let message = attempted.get(&name).unwrap_or_else(|| panic!("phantom {name:?}"));
        all.raw += 1;
        let first = all.stored.insert(name.clone());
        match message.kind {
            Kind::Good if first => {
                all.routed += 1;
                let id = ids::raw_by_sequence(raw.device, 1, message.seq);
                all.readings.entry(name.0).or_default().push(id);
            }
            Kind::Good | Kind::Wrong if !first => all.duplicate += 1,
            _ => {
                all.quarantined += 1;
                *all.held.entry(name).or_default() += 1;
            }
        }
    }
    all
}

/// No loss, no phantom, one fate each, order per device.
pub async fn fates(rest: &Rest) {
    let expected = expected(rest).await;
    let lost: Vec<_> = rest.fleet.promised().difference(&expected.stored).cloned().collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let ledger = &rest.ledger;
    let row = |row| ledger.row(Stage::Router, row);
    assert_eq!(ledger.imbalance(Stage::Router), 0);
    let counted = (row("raw"), row("routed"), row("duplicate"), row("quarantined"));
    let Expected { raw, routed, duplicate, quarantined, .. } = expected;
    assert_eq!(counted, (raw, routed, duplicate, quarantined), "raw, routed, duplicate, held");
    assert_eq!((row("rejected"), row("pending")), (0, 0));

    let mut readings: BTreeMap<String, Vec<Id>> = BTreeMap::new();
    for (_, values) in outputs(&rest.log, "readings").await {
        for value in values {
            let reading = v1::Reading::decode(value.as_slice()).unwrap();
            readings.entry(reading.device).or_default().push(id(&reading.raw));
        }
    }
    assert_eq!(readings, expected.readings, "readings in the order of first arrival");

    let mut held: BTreeMap<Name, u64> = BTreeMap::new();
    for (_, values) in outputs(&rest.log, "quarantine").await {
        for value in values {
            let row = v1::Quarantine::decode(value.as_slice()).unwrap();
            let body = String::from_utf8(row.payload).unwrap();
            *held.entry((row.device, body)).or_default() += 1;
        }
    }
    assert_eq!(held, expected.held, "quarantine");
}

fn id(bytes: &[u8]) -> Id {
    Id::from_bytes(bytes.try_into().unwrap())
}

/// Every signal on the log, each once.
pub async fn signals(log: &Log) -> Vec<Signal> {
    let mut all = BTreeMap::new();
    for record in records(log, "signals").await {
        let signal = signal_from_bytes(&record.value).unwrap();
        let name = (signal.source.clone(), signal.event_id.clone());
        if let Some(known) = all.insert(name, signal.clone()) {
            assert_eq!(known, signal, "two signals of one id differ");
        }
    }
    all.into_values().collect()
}

/// Each signal one outcome, one incident per opening signal, one dispatch per incident, no version twice or missing.
pub async fn effects(rest: &Rest) {
    let signals = signals(&rest.log).await;
    let rows = known(&rest.live, &signals);
    assert_eq!(rows.len(), signals.len(), "each signal has one outcome");
    let repeated = records(&rest.log, "signals").await.len();
    let store = rest.live.store.clone();
    let (incidents, outbox, ledger, recount, damage) = outside(async move {
        let filter = IncidentFilter::default();
        (
            store.list(&Scope::All, &filter, None, 10_000).await.unwrap(),
            store.outbox_after(0, 100_000).await.unwrap(),
            store.ledger().await.unwrap(),
            store.recount().await.unwrap(),
            store.damage().await.unwrap(),
        )
    });
    assert!(damage.is_empty(), "{damage:?}");

    let opened: BTreeSet<Id> = rows
        .iter()
        .filter(|row| row.outcome == Outcome::Opened)
        .map(|row| ids::incident(&row.signal.source, &row.signal.event_id))
        .collect();
    let made: BTreeSet<Id> = incidents.iter().map(|incident| incident.id).collect();
    assert_eq!(made, opened, "one incident per opening signal");
    assert_eq!(incidents.len(), made.len());
    for incident in &incidents {
        let raising = [Outcome::Opened, Outcome::Attached];
        let joined = rows
            .iter()
            .filter(|row| row.incident == Some(incident.id) && raising.contains(&row.outcome));
        assert_eq!(joined.count(), incident.signals as usize, "signals of {}", incident.id);
        let changes: Vec<_> =
            outbox.iter().filter(|entry| entry.row.incident == incident.id).collect();
        let versions: Vec<i64> = changes.iter().map(|entry| entry.row.version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "versions of {}: {versions:?}", incident.id);
        assert_eq!(versions.last(), Some(&incident.version));
        let dispatches = changes
            .iter()
            .filter(|entry| entry.row.action == yiwang_core::incident::Action::Dispatch);
        assert!(dispatches.count() <= 1, "{} was dispatched twice", incident.id);
    }
    for (entry, seq) in outbox.iter().zip(1..) {
        assert_eq!(entry.seq, seq, "the outbox has no gap");
    }

    let counts = |rows: &[yiwang_store::LedgerCount]| -> BTreeMap<(String, String), i64> {
        rows.iter().map(|row| ((row.stage.clone(), row.name.clone()), row.value)).collect()
    };
    let (ledger, recount) = (counts(&ledger), counts(&recount));
    for (name, value) in &recount {
        assert_eq!(ledger.get(name), Some(value), "ledger of {name:?}");
    }
    let centre = |name: &str| ledger.get(&("centre".into(), name.into())).copied().unwrap_or(0);
    assert_eq!(centre("signals"), repeated as i64, "each record of the topic was counted once");
    assert_eq!(centre("duplicate"), (repeated - signals.len()) as i64);
    assert_eq!(centre("content_differs"), 0);
}

fn known(live: &Live, signals: &[Signal]) -> Vec<yiwang_core::incident::SignalRow> {
    let (store, signals) = (live.store.clone(), signals.to_vec());
    outside(async move {
        let keys: Vec<_> =
            signals.iter().map(|it| (it.source.as_str(), it.event_id.as_str())).collect();
        store.known_signals(&keys).await.unwrap()
    })
}

/// A record for people.
pub fn shown(topic: &str, value: &[u8]) -> String {
    match topic {
        "signals" => format!("{:?}", v1::Signal::decode(value).unwrap()),
        "readings" => format!("{:?}", v1::Reading::decode(value).unwrap()),
        _ => format!("{:?}", v1::Quarantine::decode(value).unwrap()),
    }
}
