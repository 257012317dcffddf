//! Records of the log for people: a pass over a topic, and a record as JSON.

use anyhow::Context;
use serde_json::{Value, json};
use yiwang_core::routes::Topic;
use yiwang_log::{Log, Scan};

/// Begins a pass over a topic.
///
/// # Errors
/// If the topic is unknown or cannot be read.
pub async fn scan(log: &Log, topic: &str) -> anyhow::Result<Scan> {
    anyhow::ensure!(
        log.partitions(topic) > 0,
        "the log has no topic {topic}; see `yiwang log read --help`"
    );
    Scan::open(log, topic).await.context("failed to read the log")
}

/// A topic, and the one of the hub's own topics whose records lie in it.
pub struct Form<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// That of the hub's own, which is another one where routes forward.
    pub of: &'a str,
}

impl<'a> Form<'a> {
    /// Of a topic, given those of the routes.
    pub fn of(topic: &'a str, forwarded: &[Topic]) -> Self {
        let known = forwarded.iter().find(|other| *other.name == *topic);
        Self { topic, of: known.map_or(topic, |known| known.stream.as_str()) }
    }
}

/// A record as one JSON object.
pub fn to_json(form: &Form<'_>, partition: u16, seq: u64, key: &[u8], value: &[u8]) -> Value {
    let Form { topic, of } = form;
    json!({"topic": topic, "partition": partition, "seq": seq, "record": record(of, key, value)})
}

/// What a record of one of the hub's own topics says, or that it cannot be read.
pub fn record(topic: &str, key: &[u8], value: &[u8]) -> Value {
    yiwang_proto::json::record(topic, key, value)
        .unwrap_or_else(|error| json!({"unreadable": error.to_string(), "bytes": value.len()}))
}
