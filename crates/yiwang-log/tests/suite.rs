//! One conformance suite over every implementation of the log, the memory log included.
//!
//! Kafka runs with the feature `kafka` and needs `YIWANG_TEST_KAFKA=host:port`; with the feature on
//! and the variable missing its tests fail rather than pass unseen.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod suite_support;

use suite_support::{Fixture, collect, drain, read_records};
use yiwang_log::{
    Batch, BatchLimit, EmbeddedConfig, Event, Log, Position, Reserve, Route, Space, Start,
    TopicSpec, key_hash,
};

fn topics() -> Vec<TopicSpec> {
    vec![TopicSpec::stream("raw", 4, &["router"]), TopicSpec::compacted("state", 2)]
}

async fn append(log: &Log, records: &[(&str, &str)]) {
    let mut batch = Batch::new();
    let topic = log.topic("raw").unwrap();
    for (key, value) in records {
        let route = Route::Key { hash: key_hash(key.as_bytes()) };
        batch.push(topic, route, key.as_bytes(), &[("n", b"v")], value.as_bytes());
    }
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
}

async fn order_per_key(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let mut receipts = Vec::new();
    for number in 0..500 {
        let mut batch = Batch::new();
        for device in 0..5 {
            let key = format!("device-{device}");
            let route = Route::Key { hash: key_hash(key.as_bytes()) };
            let value = format!("{number}");
            batch.push(log.topic("raw").unwrap(), route, key.as_bytes(), &[], value.as_bytes());
        }
        receipts.push(log.writer().append(batch).await.unwrap());
    }
    for receipt in receipts {
        receipt.safe().await.unwrap();
    }
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let mut last = std::collections::HashMap::new();
    for (_, _, key, value) in read_records(&mut reader, 2500).await {
        let number: i64 = String::from_utf8(value).unwrap().parse().unwrap();
        let before = last.insert(key, number).unwrap_or(-1);
        assert_eq!(before + 1, number, "records of a key are in order and complete");
    }
    assert_eq!(last.len(), 5);
    log.close().await.unwrap();
}

async fn extents_name_the_places(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let topic = log.topic("raw").unwrap();
    let mut batch = Batch::new();
    for partition in [0, 1, 0] {
        batch.push(topic, Route::Partition(partition), b"k", &[], b"v");
    }
    let appended = log.writer().append(batch).await.unwrap().safe().await.unwrap();
    let mut places: Vec<_> =
        appended.extents().iter().map(|at| (at.partition, at.first, at.last)).collect();
    places.sort_unstable();
    assert_eq!(places, [(0, 0, 1), (1, 0, 0)]);
    assert_eq!(log.head("raw", 0).await.unwrap(), 2);
    assert_eq!(log.head("raw", 3).await.unwrap(), 0);
    let empty = log.writer().append(Batch::new()).await.unwrap().safe().await.unwrap();
    assert!(empty.extents().is_empty());
    log.close().await.unwrap();
}

async fn resumes_from_committed(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    append(&log, &[("a", "1"), ("a", "2"), ("a", "3")]).await;
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let read = read_records(&mut reader, 3).await;
    let (partition, seq, ..) = read[1];
    let position = Position { epoch: fixture.epoch(), partition, seq: seq + 1 };
    reader.committer().commit(position).await.unwrap();
    drop(reader);
    let log = fixture.reopen(log, topics()).await;
    assert_eq!(log.committed("raw", "router").await.unwrap(), [position]);
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let values: Vec<_> = read_records(&mut reader, 1).await.into_iter().map(|r| r.3).collect();
    assert_eq!(values, [b"3".to_vec()]);
    log.close().await.unwrap();
}

async fn starts_at_a_position(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    append(&log, &[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")]).await;
    let partition = log.partition_of("raw", key_hash(b"a"));
    let at = Position { epoch: fixture.epoch(), partition, seq: 2 };
    let mut reader = log.reader("raw", "group-at", Start::At(vec![at])).await.unwrap();
    let read = read_records(&mut reader, 2).await;
    assert_eq!(read.iter().map(|r| r.1).collect::<Vec<_>>(), [2, 3]);
    reader.seek(Position { seq: 1, ..at }).unwrap();
    let read = read_records(&mut reader, 3).await;
    assert_eq!(read.iter().map(|r| r.1).collect::<Vec<_>>(), [1, 2, 3]);
    log.close().await.unwrap();
}

async fn limits_are_kept(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let records: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let records: Vec<_> = records.iter().map(|value| ("a", value.as_str())).collect();
    append(&log, &records).await;
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let limit = BatchLimit { records_max: 7, bytes_max: 1 << 20 };
    let mut seqs = Vec::new();
    while seqs.len() < 100 {
        if let Event::Records(records) = reader.next(limit).await.unwrap() {
            assert!(records.len() <= 7 && !records.is_empty());
            assert_eq!(records.end().seq, records.iter().last().unwrap().seq + 1);
            seqs.extend(records.iter().map(|record| record.seq));
        }
    }
    assert_eq!(seqs, (0..100).collect::<Vec<_>>());
    log.close().await.unwrap();
}

async fn compacted_keeps_newest(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let topic = log.topic("state").unwrap();
    let writer = log.writer();
    let mut batch = Batch::new();
    batch.push(topic, Route::Partition(1), b"a", &[], b"1");
    batch.push(topic, Route::Partition(1), b"b", &[], b"1");
    batch.push(topic, Route::Partition(1), b"a", &[], b"2");
    batch.push(topic, Route::Partition(1), b"gone", &[], b"1");
    batch.push(topic, Route::Partition(0), b"a", &[], b"other");
    writer.append(batch).await.unwrap().safe().await.unwrap();
    let mut batch = Batch::new();
    batch.push(topic, Route::Partition(1), b"gone", &[], b"");
    writer.append(batch).await.unwrap().safe().await.unwrap();
    let log = fixture.reopen(log, topics()).await;
    let pairs = |list: Vec<(bytes::Bytes, bytes::Bytes)>| -> Vec<(Vec<u8>, Vec<u8>)> {
        list.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    };
    let newest = pairs(log.compacted("state", 1).await.unwrap());
    assert_eq!(newest, [(b"a".to_vec(), b"2".to_vec()), (b"b".to_vec(), b"1".to_vec())]);
    let other = pairs(log.compacted("state", 0).await.unwrap());
    assert_eq!(other, [(b"a".to_vec(), b"other".to_vec())]);
    log.close().await.unwrap();
}

async fn assigns_at_start_and_ends_at_close(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let event = reader.next(BatchLimit::default()).await.unwrap();
    let Event::Assigned(mut partitions) = event else { panic!("{event:?} before Assigned") };
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2, 3]);
    append(&log, &[("a", "1")]).await;
    assert_eq!(read_records(&mut reader, 1).await.len(), 1);
    let (closed, rest) = tokio::join!(log.close(), drain(&mut reader));
    closed.unwrap();
    assert_eq!(rest, 0);
    assert!(log.writer().append(Batch::new()).await.is_err(), "a closed log takes nothing");
}

async fn readers_follow_the_writer(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let write = async {
        for number in 0..50 {
            append(&log, &[("a", &number.to_string())]).await;
        }
    };
    let (read, ()) = tokio::join!(read_records(&mut reader, 50), write);
    let values: Vec<_> = read.into_iter().map(|r| String::from_utf8(r.3).unwrap()).collect();
    assert_eq!(values, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    log.close().await.unwrap();
}

async fn commits_only_move_forward(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    append(&log, &[("a", "1"), ("a", "2")]).await;
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let (partition, ..) = read_records(&mut reader, 2).await[0];
    let at = |seq| Position { epoch: fixture.epoch(), partition, seq };
    let committer = reader.committer();
    committer.commit(at(2)).await.unwrap();
    committer.commit(at(1)).await.unwrap();
    drop(reader);
    let log = fixture.reopen(log, topics()).await;
    assert_eq!(log.committed("raw", "router").await.unwrap(), [at(2)]);
    log.close().await.unwrap();
}

async fn bytes_come_back_exactly(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let records = collect(fixture.seed());
    let mut batch = Batch::new();
    for record in &records {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let route = Route::Partition(2);
        batch.push(log.topic("raw").unwrap(), route, &record.key, &headers, &record.value);
    }
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
    let log = fixture.reopen(log, topics()).await;
    let mut reader = log.reader("raw", "exact", Start::Committed).await.unwrap();
    let mut read = 0;
    while read < records.len() {
        let limit = BatchLimit { records_max: 3, bytes_max: 2000 };
        if let Event::Records(batch) = reader.next(limit).await.unwrap() {
            for record in batch.iter() {
                let wanted = &records[read];
                assert_eq!(record.key, wanted.key);
                assert_eq!(record.value, wanted.value);
                let headers: Vec<_> = record
                    .headers()
                    .map(|(name, value)| (name.to_owned(), value.to_vec()))
                    .collect();
                assert_eq!(headers, wanted.headers);
                read += 1;
            }
        }
    }
    log.close().await.unwrap();
}

/// Room for a few records of 1,000 bytes; one named reader.
async fn one_record_lies_in_several_topics(fixture: &Fixture) {
    let mut topics = topics();
    topics.push(TopicSpec::stream("copies", 2, &[]));
    let log = fixture.open(topics).await;
    let (raw, copies) = (log.topic("raw").unwrap(), log.topic("copies").unwrap());
    let mut batch = Batch::new();
    for number in 0..50 {
        let key = format!("device-{}", number % 7);
        let route = Route::Key { hash: key_hash(key.as_bytes()) };
        batch.push(raw, route, key.as_bytes(), &[], format!("{number}").as_bytes());
        let bytes = batch.bytes();
        if number % 2 == 0 {
            batch.push_again(copies);
            assert!(batch.bytes() > bytes, "what the log will hold counts against its budget");
        }
    }
    assert_eq!(batch.len(), 75);
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
    let mut reader = log.reader("copies", "", Start::Committed).await.unwrap();
    let mut copied = read_records(&mut reader, 25).await;
    assert!(
        copied.iter().all(|(partition, _, key, _)| {
            *partition == log.partition_of("copies", key_hash(key))
        })
    );
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let even = |value: &[u8]| std::str::from_utf8(value).unwrap().parse::<u32>().unwrap() % 2 == 0;
    let mut first = read_records(&mut reader, 50).await;
    first.retain(|(_, _, _, value)| even(value));
    for records in [&mut copied, &mut first] {
        records.sort_unstable_by(|a, b| (&a.2, a.1).cmp(&(&b.2, b.1)));
    }
    let said = |records: &[suite_support::Read]| -> Vec<_> {
        records.iter().map(|(_, _, key, value)| (key.clone(), value.clone())).collect()
    };
    assert_eq!(said(&copied), said(&first), "the same records in the same order of each key");
    log.close().await.unwrap();
}

fn small_topics() -> Vec<TopicSpec> {
    let mut raw = TopicSpec::stream("raw", 1, &["router"]);
    raw.retention.bytes_max = 10_000;
    vec![raw]
}

async fn append_sized(log: &Log, count: usize) {
    let value = "x".repeat(1000);
    for _ in 0..count {
        append(log, &[("a", &value)]).await;
    }
}

async fn waits_when_full_until_a_reader_moves(fixture: &Fixture) {
    let log = fixture.open(small_topics()).await;
    append_sized(&log, 10).await;
    fixture.until(|| !log.status().full.is_empty()).await;
    assert!(log.status().held.is_empty(), "it is the reader that it waits for");
    let more = append_sized(&log, 1);
    tokio::pin!(more);
    assert!(stays_pending(&mut more).await, "an append went into a full topic");
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let read = read_records(&mut reader, 10).await;
    let position = Position { epoch: fixture.epoch(), partition: 0, seq: read[5].1 };
    reader.committer().commit(position).await.unwrap();
    more.await;
    assert!(log.status().full.is_empty());
    log.close().await.unwrap();
}

/// A disk with less free than the reserve: nothing comes in from outside; what is compacted, and above half of the
/// reserve every other stream, is written. Nobody else's files matter: the reserve is chosen by what is free.
async fn waits_for_the_disk(fixture: &Fixture) {
    let Fixture::Embedded(dir, _) = fixture else { panic!("only where there is a disk") };
    let topics = || {
        let raw = TopicSpec { intake: true, ..TopicSpec::stream("raw", 1, &["router"]) };
        vec![raw, TopicSpec::stream("signals", 1, &[]), TopicSpec::compacted("state", 1)]
    };
    let open = |bytes_min| {
        let reserve = Reserve { percent: 0, bytes_min };
        let config = EmbeddedConfig { reserve, ..EmbeddedConfig::new(dir.path()) };
        Log::open_embedded(config, topics()).unwrap()
    };
    let log = open(1);
    append(&log, &[("a", "1")]).await;
    fixture.until(|| log.status().space.is_some()).await;
    let Space { free, reserve: 1 } = log.status().space.unwrap() else { panic!("its own reserve") };
    assert!(log.status().full.is_empty());
    log.close().await.unwrap();

    let cases = [(free + free / 2, &["raw"][..]), (u64::MAX, &["raw", "signals"])];
    for (reserve, waiting) in cases {
        let log = open(reserve);
        fixture.until(|| log.status().full == waiting).await;
        assert_eq!(log.status().held, waiting, "it is the disk that they wait for");
        for name in ["raw", "signals", "state"] {
            let mut batch = Batch::new();
            batch.push(log.topic(name).unwrap(), Route::Partition(0), b"a", &[], b"2");
            let writer = log.writer();
            let appended = writer.append(batch);
            tokio::pin!(appended);
            if waiting.contains(&name) {
                let waits = stays_pending(&mut appended).await;
                assert!(waits, "{name} at a reserve of {reserve}");
            } else {
                appended.await.unwrap().safe().await.unwrap();
            }
        }
        log.close().await.unwrap();
    }
    let log = open(1);
    let heads = [log.head("raw", 0).await.unwrap(), log.head("signals", 0).await.unwrap()];
    assert_eq!(heads, [1, 1], "what waited was not written");
    log.close().await.unwrap();
}

/// Whether it is not done although it is polled many times.
async fn stays_pending(future: &mut (impl Future + Unpin)) -> bool {
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = &mut *future => return false,
            () = tokio::task::yield_now() => {}
        }
    }
    true
}

async fn retention_never_passes_a_reader(fixture: &Fixture) {
    let log = fixture.open(small_topics()).await;
    append_sized(&log, 5).await;
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let mut read = read_records(&mut reader, 5).await;
    for round in 1..=20 {
        let position = Position { epoch: fixture.epoch(), partition: 0, seq: round * 5 - 2 };
        reader.committer().commit(position).await.unwrap();
        append_sized(&log, 5).await;
        read.extend(read_records(&mut reader, 5).await);
    }
    assert_eq!(read.iter().map(|r| r.1).collect::<Vec<_>>(), (0..105).collect::<Vec<_>>());
    fixture.until(|| log.status().partitions[0].first > 80).await;
    let status = log.status().partitions.remove(0);
    assert!(status.first <= 98, "records from 98 on are not passed, kept from {}", status.first);
    assert_eq!(status.next, 105);
    drop(reader);
    let log = fixture.reopen(log, small_topics()).await;
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let again = read_records(&mut reader, 7).await;
    assert_eq!(again.iter().map(|r| r.1).collect::<Vec<_>>(), (98..105).collect::<Vec<_>>());
    let gone = Position { epoch: fixture.epoch(), partition: 0, seq: 3 };
    let mut late = log.reader("raw", "late", Start::At(vec![gone])).await.unwrap();
    let assigned = late.next(BatchLimit::default()).await.unwrap();
    assert!(matches!(assigned, Event::Assigned(_)));
    let error = late.next(BatchLimit::default()).await.unwrap_err();
    assert!(matches!(error, yiwang_log::Error::OutOfRange { position: 3, .. }), "{error}");
    log.close().await.unwrap();
}

async fn one_reader_a_group(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let first = log.reader("raw", "router", Start::Committed).await.unwrap();
    let error = log.reader("raw", "router", Start::Committed).await.unwrap_err();
    assert!(matches!(error, yiwang_log::Error::ReaderBusy { .. }));
    let _anonymous = log.reader("raw", "", Start::Committed).await.unwrap();
    let _another = log.reader("raw", "", Start::Committed).await.unwrap();
    drop(first);
    log.reader("raw", "router", Start::Committed).await.unwrap();
    log.close().await.unwrap();
}

async fn commit_beyond_the_end_is_refused(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let position = Position { epoch: fixture.epoch(), partition: 0, seq: 1 };
    let error = reader.committer().commit(position).await.unwrap_err();
    assert!(matches!(error, yiwang_log::Error::OutOfRange { .. }), "{error}");
    log.close().await.unwrap();
}

macro_rules! conformance {
    ($name:ident, $fixture:expr, [$($case:ident),* $(,)?]) => {
        mod $name {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&$fixture).await;
            })*
        }
    };
}

macro_rules! suite {
    ($name:ident, $fixture:expr, [$($more:ident),* $(,)?]) => {
        conformance!($name, $fixture, [
            order_per_key,
            extents_name_the_places,
            resumes_from_committed,
            starts_at_a_position,
            limits_are_kept,
            compacted_keeps_newest,
            assigns_at_start_and_ends_at_close,
            readers_follow_the_writer,
            commits_only_move_forward,
            bytes_come_back_exactly,
            one_record_lies_in_several_topics,
            $($more,)*
        ]);
    };
}

suite!(
    memory,
    super::Fixture::memory(),
    [
        waits_when_full_until_a_reader_moves,
        retention_never_passes_a_reader,
        one_reader_a_group,
        commit_beyond_the_end_is_refused,
    ]
);

suite!(
    embedded,
    super::Fixture::embedded(),
    [
        waits_when_full_until_a_reader_moves,
        retention_never_passes_a_reader,
        one_reader_a_group,
        commit_beyond_the_end_is_refused,
        waits_for_the_disk,
    ]
);

suite!(
    embedded_direct,
    super::Fixture::embedded_direct(),
    [waits_when_full_until_a_reader_moves, retention_never_passes_a_reader]
);

#[cfg(feature = "kafka")]
suite!(
    kafka,
    super::Fixture::kafka(),
    [
        opened_by_several_at_once,
        two_readers_share_a_group,
        waits_without_a_broker,
        waits_for_a_deleted_topic,
    ]
);

/// Reads until these partitions have been assigned and no others.
#[cfg(feature = "kafka")]
async fn until_owned(reader: &mut yiwang_log::Reader, count: usize) -> Vec<u16> {
    let mut owned = std::collections::BTreeSet::new();
    while owned.len() != count {
        match reader.next(BatchLimit::default()).await.unwrap() {
            Event::Assigned(partitions) => owned.extend(partitions),
            Event::Revoked(partitions) => owned.retain(|p| !partitions.contains(p)),
            Event::Records(records) => assert!(!records.is_empty(), "the log ended"),
        }
    }
    owned.into_iter().collect()
}

/// Processes that start together make the topics together, and each finds all of them.
#[cfg(feature = "kafka")]
async fn opened_by_several_at_once(_: &Fixture) {
    let mut specs: Vec<_> = ["raw", "readings", "signals", "incidents"]
        .into_iter()
        .map(|name| TopicSpec::stream(name, 8, &[]))
        .collect();
    specs.push(TopicSpec::compacted("state", 8));
    for _ in 0..3 {
        let fixture = Fixture::kafka();
        let open = || fixture.open(specs.clone());
        let (a, b, c) = tokio::join!(open(), open(), open());
        for log in [a, b, c] {
            for partition in 0..8 {
                assert!(log.compacted("state", partition).await.unwrap().is_empty());
                log.head("incidents", partition).await.unwrap();
            }
            append(&log, &[("a", "1")]).await;
            log.close().await.unwrap();
        }
    }
}

#[cfg(feature = "kafka")]
async fn two_readers_share_a_group(fixture: &Fixture) {
    let log = fixture.open(topics()).await;
    let mut first = log.reader("raw", "router", Start::Committed).await.unwrap();
    assert_eq!(until_owned(&mut first, 4).await, [0, 1, 2, 3]);
    let mut second = log.reader("raw", "router", Start::Committed).await.unwrap();
    // The first one sees its partitions go while the second one sees them come.
    let gives = async {
        loop {
            if let Event::Revoked(gone) = first.next(BatchLimit::default()).await.unwrap() {
                let after = first.committer();
                // Asking for more lets the partitions go; a commit after that is fenced.
                let more = tokio::time::timeout(
                    std::time::Duration::from_millis(500),
                    first.next(BatchLimit::default()),
                );
                let _ = more.await;
                return (gone, after);
            }
        }
    };
    let ((gone, committer), taken) = tokio::join!(gives, until_owned(&mut second, 2));
    assert_eq!(gone, taken);
    let position = Position { epoch: fixture.epoch(), partition: gone[0], seq: 0 };
    let error = committer.commit(position).await.unwrap_err();
    assert_eq!(error.action(), yiwang_log::Action::Fenced);
    let mut batch = Batch::new();
    for partition in 0..4 {
        batch.push(log.topic("raw").unwrap(), Route::Partition(partition), b"k", &[], b"v");
    }
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
    let read = read_records(&mut second, 2).await;
    assert!(read.iter().all(|record| taken.contains(&record.0)));
    let read = read_records(&mut first, 2).await;
    assert!(read.iter().all(|record| !taken.contains(&record.0)));
    // The rest goes over when the first one leaves.
    drop(first);
    until_owned(&mut second, 2).await;
    log.close().await.unwrap();
}

#[cfg(feature = "kafka")]
async fn waits_without_a_broker(fixture: &Fixture) {
    let Fixture::Kafka(config) = fixture else { panic!("only for Kafka") };
    let mut config = config.clone();
    config.brokers = "127.0.0.1:1".to_owned();
    config.request_wait_max = std::time::Duration::from_millis(300);
    config.connect_wait_max = Some(std::time::Duration::from_millis(500));
    let error = Log::open_kafka(config, topics()).await.unwrap_err();
    assert_eq!(error.action(), yiwang_log::Action::Retry);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    let log = fixture.open(topics()).await;
    let findings = log.check().await.unwrap();
    assert!(findings.iter().any(|finding| finding.contains("min.insync.replicas=1")));
    log.close().await.unwrap();
}

/// A topic that someone deletes: appends wait at the byte budget, and when the topic is back every
/// one of them becomes safe, without a restart.
#[cfg(feature = "kafka")]
async fn waits_for_a_deleted_topic(fixture: &Fixture) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    let Fixture::Kafka(config) = fixture else { panic!("only for Kafka") };
    let mut config = config.clone();
    config.queue_bytes_max = 20_000;
    config.options = vec![
        ("topic.metadata.propagation.max.ms".to_owned(), "500".to_owned()),
        ("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned()),
    ];
    let log = Log::open_kafka(config.clone(), topics()).await.unwrap();
    append_sized(&log, 3).await;
    let mut settings = rdkafka::ClientConfig::new();
    settings.set("bootstrap.servers", &config.brokers);
    let admin: AdminClient<_> = settings.create().unwrap();
    let name = format!("{}raw.v1", config.prefix);
    admin.delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
    let full = fixture.until(|| log.status().queued_bytes > 15_000);
    let fill = async {
        let mut receipts = Vec::new();
        for number in 0..50 {
            let mut batch = Batch::new();
            let value = format!("{number:1000}");
            batch.push(log.topic("raw").unwrap(), Route::Partition(0), b"a", &[], value.as_bytes());
            receipts.push(log.writer().append(batch).await.unwrap());
        }
        for receipt in receipts {
            receipt.safe().await.unwrap();
        }
    };
    tokio::pin!(fill);
    tokio::select! {
        () = &mut fill => panic!("appends became safe without their topic"),
        () = full => {}
    }
    // Opening the log makes the topic again.
    let again = Log::open_kafka(config, topics()).await.unwrap();
    fill.await;
    let mut reader = again.reader("raw", "", Start::Committed).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 50 {
        for (.., value) in read_records(&mut reader, 1).await {
            let text = String::from_utf8(value).unwrap();
            seen.extend(text.trim().parse::<u32>());
        }
    }
    again.close().await.unwrap();
    log.close().await.unwrap();
}
