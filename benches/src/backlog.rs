//! Backlogs: records of topic `raw` that lie there before a router reads them, appended without a gateway, whose cost is
//! not what is asked.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use yiwang_core::record::{BodyKind, Lane, Raw};
use yiwang_log::{Batch, EmbeddedConfig, Log, Route, key_hash, standard_topics};
use yiwang_proto::wire::write_raw;

use crate::fixture::{self, Device};

/// Partitions of the shipped configuration.
pub(crate) const PARTITIONS: u16 = 8;
/// Records of one append, and appends under way.
const RECORDS: u64 = 4_000;
const APPENDS: usize = 8;

/// Fills the embedded log of a hub that does not run; `write` gives the device key and body of a record.
///
/// # Errors
/// The log's.
pub(crate) fn fill_folder(
    data: &Path,
    records: u64,
    write: impl Fn(u64, &mut String, &mut Vec<u8>),
) -> anyhow::Result<()> {
    let folder = data.join("log");
    std::fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let log = Log::open_embedded(EmbeddedConfig::new(folder), standard_topics(PARTITIONS))?;
        fill(&log, records, write).await?;
        Ok(log.close().await?)
    })
}

/// Appends so many records to topic `raw`, and waits until all are durable.
///
/// # Errors
/// The log's.
pub(crate) async fn fill(
    log: &Log,
    records: u64,
    write: impl Fn(u64, &mut String, &mut Vec<u8>),
) -> anyhow::Result<()> {
    let topic = log.topic("raw").context("no topic raw")?;
    let writer = log.writer();
    let mut waiting = VecDeque::new();
    let (mut key, mut body) = (String::new(), Vec::new());
    for first in (0..records).step_by(RECORDS as usize) {
        let mut batch: Batch = writer.spare();
        for number in first..records.min(first + RECORDS) {
            key.clear();
            body.clear();
            write(number, &mut key, &mut body);
            let raw = Raw {
                device: &key,
                lane: Lane::Listen,
                kind: BodyKind::Property,
                path: "property",
                listener: "mqtt",
                peer: "127.0.0.1:9",
                received_at: fixture::now_ms(),
                payload: &body,
            };
            let route = Route::Key { hash: key_hash(key.as_bytes()) };
            batch.push_with(topic, route, key.as_bytes(), &[], |out| write_raw(&raw, out));
        }
        waiting.push_back(writer.append(batch).await?);
        if waiting.len() >= APPENDS
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.safe().await?;
        }
    }
    for receipt in waiting {
        receipt.safe().await?;
    }
    Ok(())
}

/// Messages of noise and dust stations in turn.
pub(crate) fn station(devices: &[Device]) -> impl Fn(u64, &mut String, &mut Vec<u8>) {
    move |number, key, body| {
        let count = devices.len() as u64;
        let device = &devices[(number % count) as usize];
        write!(key, "{}/{}", device.product, device.name).expect("a string takes all");
        fixture::station_message(number / count + 1, fixture::now_ms(), body);
    }
}
