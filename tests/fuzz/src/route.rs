//! The routing step: packs, sessions of Sparkplug edge nodes, and the snapshots of a partition.

use std::sync::Arc;

use yiwang_core::district::{District, FileSet};
use yiwang_core::ledger::Stage;
use yiwang_core::record::{BodyKind, Lane, Raw, Signal};
use yiwang_core::registry::Registry;
use yiwang_core::route::{
    Input, PartitionState, Place, Quarantined, Reading, Shard, Shared, Sink, Workspace,
};

use crate::Check;
use crate::samples::RECEIVED_AT;

const GATEWAY: &str = "smoke-01/S-0001";
const NODE: &str = "fuzz-1/g.e";
/// The messages of one input at most.
const MESSAGES_MAX: usize = 64;

const DEVICES: &str = "product_key,device_name,area_code,gateway,alias
smoke-01,S-0001,310118001001,,
smoke-01,S-0002,310118001001,smoke-01/S-0001,
wl-radar-01,R-0001,310118001001,smoke-01/S-0001,
fuzz-1,g.e,310118001001,,
fuzz-1,child-1,310118001001,fuzz-1/g.e,g.e/d1
fuzz-1,child-2,310118001001,fuzz-1/g.e,g.e/d2
";

const SPARKPLUG: &str = "schema: yiwang-thing/1
profile: {productKey: fuzz-1, name: fuzz, version: 1.0.0, kind: test/fuzz}
access: {identity: seq}
codec: {kind: sparkplugB, map: {temp: {metric: cpuTemp, scale: 0.1}}}
properties:
  - {identifier: level, required: true, dataType: {type: double, specs: {min: -2, max: 12}}}
  - {identifier: temp, dataType: {type: int}}
  - {identifier: doorOpen, dataType: {type: bool}}
  - {identifier: note, dataType: {type: text, specs: {size: 8}}}
  - {identifier: list, dataType: {type: array, specs: {item: {type: int}, size: 3}}}
tests: [{hex: 'ff', topic: spBv1.0/g/NDATA/e, expect: {quarantined: CODEC}}]
";

/// The topics of [`sparkplug`], chosen by a byte.
const TOPICS: [&str; 9] = [
    "spBv1.0/g/NBIRTH/e",
    "spBv1.0/g/DBIRTH/e/d1",
    "spBv1.0/g/DBIRTH/e/d2",
    "spBv1.0/g/NDATA/e",
    "spBv1.0/g/DDATA/e/d1",
    "spBv1.0/g/DDATA/e/d2",
    "spBv1.0/g/DDEATH/e/d1",
    "spBv1.0/g/NDEATH/e",
    "spBv1.0/g/DDATA/e/d3",
];

fn folder(name: &str) -> FileSet {
    let folder = format!("{}/../../config/{name}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).expect("the configuration is there");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).expect("the file can be read"))
    };
    entries.map(file).collect()
}

fn shared() -> Shared {
    let (district, problems) = District::load(&folder("district"));
    let district = district.unwrap_or_else(|| panic!("{problems:#?}"));
    let mut files = folder("products");
    files.insert("fuzz-1.thing.yaml".to_owned(), SPARKPLUG.to_owned());
    files.insert("devices.csv".to_owned(), DEVICES.to_owned());
    let (registry, problems) = Registry::load(&files, Arc::new(district));
    let registry = registry.unwrap_or_else(|| panic!("{problems:#?}"));
    Shared::new(Arc::new(registry)).0.expect("the rules of the shipped products compile")
}

/// Counts, and fails where the step caught a panic.
#[derive(Default)]
struct Rows {
    quarantined: u64,
}

impl Sink for Rows {
    fn reading(&mut self, _: &Reading<'_>) {}

    fn signal(&mut self, _: &Signal) {}

    fn quarantine(&mut self, row: &Quarantined<'_>) {
        assert!(!row.detail.contains("panic"), "{}", row.detail);
        self.quarantined += 1;
    }
}

struct Router {
    shared: Shared,
    work: Workspace,
}

impl Router {
    fn new() -> Self {
        Self { shared: shared(), work: Workspace::default() }
    }

    /// Routes messages of one device through a new state, and checks the ledger and the snapshot.
    fn run<'a>(&mut self, messages: impl Iterator<Item = Raw<'a>>) {
        let mut state = PartitionState::new(&self.shared, Shard::WHOLE);
        let mut rows = Rows::default();
        for (seq, raw) in (0..).zip(messages) {
            let place = Place { epoch: 1, partition: 0, seq };
            state.route(&self.shared, place, &Input::Raw(raw), &mut self.work, &mut rows);
        }
        let ledger = state.counters().to_ledger(0);
        assert_eq!(ledger.imbalance(Stage::Router), 0);
        let expected = ledger.row(Stage::Router, "quarantined")
            + ledger.row(Stage::Router, "item_quarantined");
        assert_eq!(rows.quarantined, expected, "a row for each");
        let bytes = state.encode(&self.shared);
        let again = PartitionState::restore(&bytes, &self.shared, Shard::WHOLE, &mut rows);
        let again = again.expect("what was written is read");
        assert_eq!(again.encode(&self.shared), bytes);
    }
}

fn raw<'a>(device: &'a str, kind: BodyKind, path: &'a str, payload: &'a [u8], seq: i64) -> Raw<'a> {
    Raw {
        device,
        lane: Lane::Listen,
        kind,
        path,
        listener: "mqtt",
        peer: "127.0.0.1:9",
        received_at: RECEIVED_AT + seq * 500,
        payload,
    }
}

/// A pack, twice: the second one is a duplicate or has the same fate.
pub(crate) fn pack() -> Check {
    let mut router = Router::new();
    Box::new(move |bytes| {
        let one = |seq| raw(GATEWAY, BodyKind::Other, "pack", bytes, seq);
        router.run((0..2).map(one));
    })
}

/// Messages of an edge node, each with a byte for its topic and two for its length.
pub(crate) fn sparkplug() -> Check {
    let mut router = Router::new();
    Box::new(move |bytes| {
        let mut rest = bytes;
        let messages = (0..MESSAGES_MAX as i64).map_while(|seq| {
            let ([topic, low, high], after) = rest.split_first_chunk::<3>()?;
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
            let (payload, after) = after.split_at(length);
            rest = after;
            let path = TOPICS[usize::from(*topic) % TOPICS.len()];
            Some(raw(NODE, BodyKind::Raw, path, payload, seq))
        });
        router.run(messages);
    })
}

/// The snapshot of a partition.
pub(crate) fn snapshot() -> Check {
    let shared = shared();
    Box::new(move |bytes| {
        let mut rows = Rows::default();
        let Ok(state) = PartitionState::restore(bytes, &shared, Shard::WHOLE, &mut rows) else {
            return;
        };
        // What was believed is a state like any other: written, read and written again it is the same.
        let bytes = state.encode(&shared);
        let again = PartitionState::restore(&bytes, &shared, Shard::WHOLE, &mut rows);
        assert_eq!(again.expect("what was written is read").encode(&shared), bytes);
    })
}
