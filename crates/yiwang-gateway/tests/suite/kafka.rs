//! Kafka intake, over the memory log: offsets are committed after the receipt and never before.

use std::time::Duration;

use super::support::{Hub, topics};
use yiwang_core::record::{BodyKind, Lane};
use yiwang_gateway::{RawConfig, RawKafka, SourceState};
use yiwang_log::{Faults, Log, MemoryConfig, Route};

const TOPIC: &str = "yiwang.intake.v1";

fn intake() -> RawConfig {
    RawConfig {
        name: Some("gw-test".to_owned()),
        kafka: Some(RawKafka::default()),
        ..RawConfig::default()
    }
}

async fn produce(log: &Log, records: &[(&[u8], String)]) {
    let mut batch = log.writer().spare();
    for (key, value) in records {
        let route = Route::Key { hash: yiwang_log::key_hash(key) };
        batch.push(log.topic(TOPIC).unwrap(), route, key, &[], value.as_bytes());
    }
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
}

async fn committed(log: &Log) -> u64 {
    let positions = log.committed(TOPIC, "yiwang-gateway").await.unwrap();
    positions.iter().map(|position| position.seq).sum()
}

#[tokio::test]
async fn stores_and_commits() {
    let log = Log::open_memory(MemoryConfig::default(), topics()).unwrap();
    let records: Vec<_> =
        (0..100).map(|n| (if n % 2 == 0 { &b"p/a"[..] } else { b"p/b" }, n.to_string())).collect();
    produce(&log, &records).await;
    let mut hub = Hub::with(intake(), log.clone()).await;
    let stored = hub.stored(100).await;
    assert!(stored.iter().all(|raw| (raw.lane, raw.kind) == (Lane::Kafka, BodyKind::Property)));
    assert!(stored.iter().all(|raw| raw.listener == TOPIC && raw.path.is_empty()));
    for (device, rest) in [("p/a", 0), ("p/b", 1)] {
        let own = stored.iter().filter(|raw| raw.device == device);
        let own: Vec<_> = own.map(|raw| String::from_utf8(raw.payload.clone()).unwrap()).collect();
        let expected: Vec<_> = (0..100).filter(|n| n % 2 == rest).map(|n| n.to_string()).collect();
        assert_eq!(own, expected);
    }
    // Unusable keys are no reason to lose a record.
    produce(&log, &[(b"", "x".to_owned()), (b"no key", "y".to_owned()), (&[255], "z".to_owned())])
        .await;
    let strange = hub.stored(3).await;
    assert!(strange.iter().all(|raw| raw.device.is_empty()), "{strange:?}");
    assert!(hub.handle.sources().all(|(_, state)| state == SourceState::Up));
    hub.until("all is committed", |handle| handle.ledger().row(Lane::Kafka).acknowledged == 103)
        .await;
    hub.finish().await;
    assert_eq!(committed(&log).await, 103);
}

#[tokio::test]
async fn nothing_is_committed_before_the_receipt() {
    let faults = Faults {
        sync_delay_max: Duration::from_millis(20),
        receipt_delay_max: Duration::from_millis(20),
        rebalance_ratio: 0.05,
        ..Faults::default()
    };
    let config = MemoryConfig { seed: 11, faults, ..MemoryConfig::default() };
    let log = Log::open_memory(config, topics()).unwrap();
    let hub = Hub::with(intake(), log.clone()).await;
    for round in 0..20 {
        let records: Vec<_> = (0..20).map(|n| (&b"p/a"[..], format!("{round}-{n}"))).collect();
        produce(&log, &records).await;
        let committed = committed(&log).await;
        let appended = hub.handle.ledger().row(Lane::Kafka).appended;
        assert!(committed <= hub.heads().await, "{committed} committed, {appended} appended");
    }
    hub.until("all is committed", |handle| {
        let row = handle.ledger().row(Lane::Kafka);
        row.acknowledged >= 400 && row.in_flight == 0
    })
    .await;
    hub.finish().await;
    assert_eq!(committed(&log).await, 400);
}
