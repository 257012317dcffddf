//! Fixtures of the conformance suite: how each implementation is opened and opened again.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use yiwang_log::{BatchLimit, EmbeddedConfig, Event, Log, MemoryConfig, Reader, TopicSpec};

/// One implementation with its place.
pub enum Fixture {
    Memory,
    /// The folder, and from how many bytes on a group goes to value files.
    Embedded(tempfile::TempDir, usize),
    #[cfg(feature = "kafka")]
    Kafka(yiwang_log::KafkaConfig),
}

impl Fixture {
    pub fn memory() -> Self {
        Self::Memory
    }

    pub fn embedded() -> Self {
        Self::Embedded(tempfile::tempdir().unwrap(), usize::MAX)
    }

    /// Every chunk that may goes to a value file.
    pub fn embedded_direct() -> Self {
        Self::Embedded(tempfile::tempdir().unwrap(), 0)
    }

    /// Topics of its own on a real broker.
    #[cfg(feature = "kafka")]
    pub fn kafka() -> Self {
        let brokers = std::env::var("YIWANG_TEST_KAFKA").expect(
            "the feature kafka is on, so its tests need a broker: start one with \
             deploy/dev/services.sh and set YIWANG_TEST_KAFKA=host:port",
        );
        let mut config = yiwang_log::KafkaConfig::new(brokers);
        config.prefix = format!("test-{:016x}.", rand::random::<u64>());
        (config.replication, config.min_insync) = (1, 1);
        config.connect_wait_max = Some(Duration::from_secs(30));
        Self::Kafka(config)
    }

    pub fn epoch(&self) -> u32 {
        1
    }

    pub fn seed(&self) -> u64 {
        7
    }

    pub async fn open(&self, topics: Vec<TopicSpec>) -> Log {
        match self {
            Self::Memory => Log::open_memory(MemoryConfig::default(), topics).unwrap(),
            Self::Embedded(dir, direct_bytes_min) => {
                let direct_bytes_min = *direct_bytes_min;
                let config = EmbeddedConfig { direct_bytes_min, ..EmbeddedConfig::new(dir.path()) };
                Log::open_embedded(config, topics).unwrap()
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => Log::open_kafka(config.clone(), topics).await.unwrap(),
        }
    }

    /// The same log after an orderly stop; for memory the log as it is.
    pub async fn reopen(&self, log: Log, topics: Vec<TopicSpec>) -> Log {
        match self {
            Self::Memory => log,
            _ => {
                log.close().await.unwrap();
                self.open(topics).await
            }
        }
    }

    /// Waits for a condition that the log's own thread brings about.
    pub async fn until(&self, mut ready: impl FnMut() -> bool) {
        let waiting = async {
            while !ready() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        waited.expect("the condition comes true within 20 s");
    }
}

/// Partition, sequence number, key and value.
pub type Read = (u16, u64, Vec<u8>, Vec<u8>);

/// Reads until `count` records were seen.
pub async fn read_records(reader: &mut Reader, count: usize) -> Vec<Read> {
    let mut out = Vec::new();
    while out.len() < count {
        match reader.next(BatchLimit::default()).await.unwrap() {
            Event::Records(records) => {
                assert!(!records.is_empty(), "the log ended after {} records", out.len());
                out.extend(records.iter().map(|record| {
                    (records.partition, record.seq, record.key.to_vec(), record.value.to_vec())
                }));
            }
            Event::Assigned(_) | Event::Revoked(_) => {}
        }
    }
    out
}

/// Reads until the log ends; how many records came.
pub async fn drain(reader: &mut Reader) -> usize {
    let mut count = 0;
    loop {
        match reader.next(BatchLimit::default()).await.unwrap() {
            Event::Records(records) if records.is_empty() => return count,
            Event::Records(records) => count += records.len(),
            Event::Assigned(_) | Event::Revoked(_) => {}
        }
    }
}

pub struct Sample {
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Vec<u8>,
}

/// Records of all sizes, the empty ones included.
pub fn collect(seed: u64) -> Vec<Sample> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut bytes = |length_max: usize| -> Vec<u8> {
        let length = rng.random_range(0..=length_max);
        (0..length).map(|_| rng.random()).collect()
    };
    (0..200)
        .map(|number| Sample {
            key: bytes(40),
            headers: (0..number % 4).map(|h| (format!("h{h}"), bytes(20))).collect(),
            value: if number % 50 == 49 { bytes(200_000) } else { bytes(600) },
        })
        .collect()
}
