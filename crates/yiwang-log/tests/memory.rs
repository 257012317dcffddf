//! The memory log's faults: seeded, repeatable, and never a broken promise.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::Duration;

use yiwang_log::{
    Batch, BatchLimit, Event, Faults, Log, MemoryConfig, Receipt, Route, Start, TopicSpec,
};

fn topics() -> Vec<TopicSpec> {
    vec![TopicSpec::stream("raw", 2, &["router"])]
}

fn faulty(seed: u64) -> MemoryConfig {
    let faults = Faults {
        sync_delay_max: Duration::from_millis(20),
        receipt_delay_max: Duration::from_millis(50),
        append_delay_max: Duration::from_millis(5),
        rebalance_ratio: 0.1,
    };
    MemoryConfig { seed, faults, ..MemoryConfig::default() }
}

async fn append(log: &Log, number: u64) -> Receipt {
    let mut batch = Batch::new();
    let partition = Route::Partition((number % 2) as u16);
    batch.push(log.topic("raw").unwrap(), partition, b"k", &[], &number.to_le_bytes());
    log.writer().append(batch).await.unwrap()
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

/// Reads until every number below `count` was seen; the order of first sights per partition.
async fn read(log: &Log, count: usize) -> (Vec<Vec<u64>>, usize) {
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let committer = reader.committer();
    let (mut seen, mut repeats, mut rounds) = (vec![Vec::new(), Vec::new()], 0, 0);
    while seen[0].len() + seen[1].len() < count {
        let limit = BatchLimit { records_max: 3, bytes_max: 1000 };
        let Event::Records(records) = reader.next(limit).await.unwrap() else { continue };
        let of_partition = &mut seen[usize::from(records.partition)];
        for record in records.iter() {
            match number(record.value) {
                known if of_partition.contains(&known) => repeats += 1,
                new => of_partition.push(new),
            }
        }
        rounds += 1;
        if rounds % 4 == 0 {
            committer.commit(records.end()).await.unwrap();
        }
    }
    (seen, repeats)
}

async fn run(seed: u64) -> (Vec<u64>, usize) {
    let log = Log::open_memory(faulty(seed), topics()).unwrap();
    let mut receipts = Vec::new();
    for number in 0..100 {
        receipts.push(append(&log, number).await);
    }
    let mut order = Vec::new();
    let mut waiting: Vec<_> = receipts
        .into_iter()
        .enumerate()
        .map(|(index, receipt)| {
            Box::pin(async move {
                receipt.safe().await.unwrap();
                index as u64
            })
        })
        .collect();
    while !waiting.is_empty() {
        let mut done = None;
        std::future::poll_fn(|context| {
            for (at, future) in waiting.iter_mut().enumerate() {
                if let std::task::Poll::Ready(index) = future.as_mut().poll(context) {
                    done = Some((at, index));
                    return std::task::Poll::Ready(());
                }
            }
            std::task::Poll::Pending
        })
        .await;
        let (at, index) = done.unwrap();
        drop(waiting.remove(at));
        order.push(index);
    }
    let (seen, repeats) = read(&log, 100).await;
    for (partition, numbers) in seen.iter().enumerate() {
        let wanted: Vec<_> = (0..100).filter(|n| n % 2 == partition as u64).collect();
        assert_eq!(numbers, &wanted, "first sights are in order and complete");
    }
    (order, repeats)
}

#[tokio::test(start_paused = true)]
async fn the_seed_decides_everything() {
    let (order, repeats) = run(1).await;
    assert_eq!(run(1).await, (order.clone(), repeats));
    assert_ne!(run(2).await.0, order);
    assert_ne!(order, (0..100).collect::<Vec<_>>(), "receipts complete out of order");
    assert!(repeats > 0, "a rebalance brings records again");
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_safe_and_no_more_than_was_tried() {
    for seed in 0..50 {
        let log = Log::open_memory(faulty(seed), topics()).unwrap();
        let mut acked = Vec::new();
        let mut open = Vec::new();
        for number in 0..40 {
            let receipt = append(&log, number).await;
            if number % 8 == 7 {
                receipt.safe().await.unwrap();
                acked.push(number);
            } else {
                open.push(receipt);
            }
        }
        let after = log.crash();
        assert!(log.writer().append(Batch::new()).await.is_err());
        for receipt in open {
            // What was not yet said to be safe may be either; it must not hang.
            let _ = receipt.safe().await;
        }
        let mut kept = 0;
        for partition in 0..2 {
            kept += after.head("raw", partition).await.unwrap();
        }
        let (seen, _) = read(&after, kept as usize).await;
        let seen: Vec<_> = seen.concat();
        assert!(acked.iter().all(|number| seen.contains(number)), "seed {seed}");
        assert!(seen.iter().all(|number| *number < 40));
        append(&after, 40).await.safe().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_byte_budget_holds_appends_back() {
    let config = MemoryConfig { queue_bytes_max: 100, ..faulty(5) };
    let log = Log::open_memory(config, topics()).unwrap();
    for number in 0..50 {
        let receipt = append(&log, number).await;
        assert!(log.status().queued_bytes <= 100);
        drop(receipt);
    }
    log.close().await.unwrap();
    assert_eq!(log.head("raw", 0).await.unwrap(), 25);
}
