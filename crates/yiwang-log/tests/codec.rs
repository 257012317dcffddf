//! Properties of the stored form, seen through the public API of the memory log.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::collection::vec;
use proptest::prelude::*;
use yiwang_log::{Batch, BatchLimit, Event, Log, MemoryConfig, Route, Start, TopicSpec};

type Wanted = (u16, Vec<u8>, Vec<(String, Vec<u8>)>, Vec<u8>);

fn record() -> impl Strategy<Value = Wanted> {
    let header = ("[a-z]{0,8}", vec(any::<u8>(), 0..9));
    (0..3_u16, vec(any::<u8>(), 0..20), vec(header, 0..3), vec(any::<u8>(), 0..200))
}

async fn through(records: &[Wanted], split: usize, limit: BatchLimit) -> Vec<Vec<Wanted>> {
    let topics = vec![TopicSpec::stream("raw", 3, &[])];
    let log = Log::open_memory(MemoryConfig::default(), topics).unwrap();
    for part in records.chunks(split) {
        let mut batch = Batch::new();
        for (partition, key, headers, value) in part {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let route = Route::Partition(*partition);
            batch.push(log.topic("raw").unwrap(), route, key, &headers, value);
        }
        log.writer().append(batch).await.unwrap().safe().await.unwrap();
    }
    let mut reader = log.reader("raw", "", Start::Committed).await.unwrap();
    let mut out = vec![Vec::new(); 3];
    while out.iter().map(Vec::len).sum::<usize>() < records.len() {
        let Event::Records(read) = reader.next(limit).await.unwrap() else { continue };
        assert!(read.len() <= limit.records_max);
        assert!(read.len() == 1 || read.bytes() <= limit.bytes_max);
        let of_partition: &mut Vec<Wanted> = &mut out[usize::from(read.partition)];
        for record in read.iter() {
            assert_eq!(record.seq, of_partition.len() as u64);
            let headers =
                record.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            let (key, value) = (record.key.to_vec(), record.value.to_vec());
            of_partition.push((read.partition, key, headers, value));
        }
        assert_eq!(read.end().seq, of_partition.len() as u64);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(
        records in vec(record(), 1..60),
        split in 1..20_usize,
        records_max in 1..20_usize,
        bytes_max in 1..2000_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let limit = BatchLimit { records_max, bytes_max };
        let out = runtime.block_on(through(&records, split, limit));
        for (partition, found) in out.into_iter().enumerate() {
            let wanted: Vec<_> =
                records.iter().filter(|r| usize::from(r.0) == partition).cloned().collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
