//! The durable log between the loops: ordered per key, partitioned, acknowledged only when it can
//! no longer be lost.
//!
//! One API, three implementations behind a private enum: embedded (fjall), Kafka (librdkafka,
//! feature `kafka`) and memory (tests: seeded faults). This is the only crate that names fjall or
//! rdkafka. It stores bytes and refuses to know what they mean.
//!
//! A [`Batch`] holds records for any topics. [`Writer::append`] waits for room, which is the
//! back-pressure, and returns before the batch is safe; [`Receipt::safe`] resolves once the records
//! cannot be lost. A [`Reader`] yields records in order per partition; [`Committer::commit`] says
//! that everything before a position is done.

mod assemble;
mod batch;
mod chunk;
mod embedded;
mod error;
#[cfg(feature = "kafka")]
mod kafka;
mod log;
mod memory;
mod records;
mod scan;
mod tail;
mod topic;

pub use batch::{Batch, Route};
pub use embedded::{EmbeddedConfig, Floor, Loss, Reserve, Space};
pub use error::{Action, Error, Halt};
#[cfg(feature = "kafka")]
pub use kafka::KafkaConfig;
pub use log::{Appended, Committer, Extent, Log, PartitionStatus, Reader, Receipt, Status, Writer};
pub use memory::{Faults, MemoryConfig};
pub use records::{BatchLimit, Event, Headers, Position, RecordRef, Records, Start};
pub use scan::Scan;
pub use topic::{Kind, Retention, TopicId, TopicSpec, key_hash, standard_topics};
