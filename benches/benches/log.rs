//! Stage benchmark: append to the embedded log until it is safe, by bytes of a batch.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use yiwang_log::{Batch, EmbeddedConfig, Log, Route, key_hash, standard_topics};

const VALUE: [u8; 250] = [b'x'; 250];

fn append(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = Log::open_embedded(EmbeddedConfig::new(folder.path()), standard_topics(8));
    let log = log.expect("a new log opens");
    let (writer, topic) = (log.writer(), log.topic("raw").expect("a standard topic"));
    let mut group = c.benchmark_group("log-append");
    group.sample_size(10);
    for records in [64_u64, 1024] {
        let fill = || {
            let mut batch = Batch::new();
            for number in 0..records {
                let key = number.to_le_bytes();
                batch.push(topic, Route::Key { hash: key_hash(&key) }, &key, &[], &VALUE);
            }
            batch
        };
        group.throughput(Throughput::Elements(records));
        group.bench_function(format!("{records} records of 250 B, safe"), |b| {
            let append = |batch| {
                runtime.block_on(async {
                    let receipt = writer.append(batch).await.expect("the log takes a batch");
                    receipt.safe().await.expect("the batch becomes safe")
                })
            };
            b.iter_batched(fill, append, BatchSize::LargeInput);
        });
    }
    group.finish();
    runtime.block_on(log.close()).expect("the log closes");
}

criterion_group!(benches, append);
criterion_main!(benches);
