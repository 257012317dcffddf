//! The durable log between the loops: ordered per key, partitioned, acknowledged only when it can no longer be lost.
//!
//! One API, three implementations behind a private enum: embedded (fjall), Kafka (librdkafka, feature `kafka`) and
//! memory (tests: seeded faults). This is the only crate that names fjall or rdkafka. It stores bytes and refuses to
//! know what they mean.
