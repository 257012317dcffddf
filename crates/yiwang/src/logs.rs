//! Reading a topic from its oldest record to the end that it had when the reading began.

use anyhow::Context;
use serde_json::{Value, json};
use yiwang_core::routes::Topic;
use yiwang_log::{BatchLimit, Event, Log, Reader, RecordRef, Records, Start};

/// Nobody's group: it commits nothing and bounds no retention.
const GROUP: &str = "";

/// A pass over a topic; each partition in order.
pub struct Scan {
    reader: Reader,
    /// Where each partition ends for this pass.
    heads: Vec<u64>,
    /// Partitions that are not at their end.
    left: usize,
}

impl Scan {
    /// Begins a pass.
    ///
    /// # Errors
    /// If the topic is unknown or cannot be read.
    pub async fn open(log: &Log, topic: &str) -> anyhow::Result<Self> {
        let partitions = log.partitions(topic);
        anyhow::ensure!(
            partitions > 0,
            "the log has no topic {topic}; see `yiwang log read --help`"
        );
        let (mut heads, mut left) = (Vec::new(), 0);
        for partition in 0..partitions {
            let kept = log.kept(topic, partition).await?;
            left += usize::from(!kept.is_empty());
            heads.push(kept.end);
        }
        // Without a commit a group begins with the oldest record that is kept.
        let reader =
            log.reader(topic, GROUP, Start::Committed).await.context("failed to read the log")?;
        Ok(Self { reader, heads, left })
    }

    /// The next records; none at the end.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn next(&mut self) -> anyhow::Result<Option<Records>> {
        while self.left > 0 {
            let Event::Records(records) = self.reader.next(BatchLimit::default()).await? else {
                continue;
            };
            if records.is_empty() {
                break;
            }
            let head = self.heads[usize::from(records.partition)];
            let first = records.iter().next().map_or(0, |record| record.seq);
            if first < head {
                self.left -= usize::from(records.end().seq >= head);
                return Ok(Some(records));
            }
        }
        Ok(None)
    }

    /// Those of the records that belong to this pass.
    pub fn of<'r>(&self, records: &'r Records) -> impl Iterator<Item = RecordRef<'r>> {
        let head = self.heads[usize::from(records.partition)];
        records.iter().take_while(move |record| record.seq < head)
    }
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
    let record = yiwang_proto::json::record(of, key, value)
        .unwrap_or_else(|error| json!({"unreadable": error.to_string(), "bytes": value.len()}));
    json!({"topic": topic, "partition": partition, "seq": seq, "record": record})
}
