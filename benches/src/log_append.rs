//! `log-append`: the embedded log beside a raw file with `fdatasync`, writing the same batches in turns.
//!
//! Two shapes: each batch safe before the next is written, and sixteen batches under way, which the log may merge and
//! the file syncs together. The line shows the shape with the worse ratio.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use yiwang_log::{Batch, EmbeddedConfig, Log, Route, TopicId, key_hash, standard_topics};

use crate::report::{Line, median};

/// Runs of each side.
const ROUNDS: usize = 5;
/// Bytes of one record's value: a message of a sensor.
const VALUE_BYTES: usize = 250;
/// Bytes that one run appends, about.
const RUN_BYTES: usize = 384 << 20;
const PARTITIONS: u16 = 8;

/// One pattern of appends.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    /// Records of a batch.
    records: usize,
    /// Batches that are not yet safe.
    in_flight: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "64 KiB, one at a time", records: 240, in_flight: 1 },
    Shape { name: "1 MiB, one at a time", records: 3_840, in_flight: 1 },
    Shape { name: "64 KiB, 16 under way", records: 240, in_flight: 16 },
];

/// Measures all shapes.
///
/// # Errors
/// The log's or the file system's.
pub fn run() -> anyhow::Result<Line> {
    let mut worst: Option<Line> = None;
    for shape in SHAPES {
        let (mut ours, mut raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let folder = tempfile::tempdir().context("failed to make a folder")?;
            let log = append_to_log(shape, folder.path())?;
            let file = append_to_file(shape, folder.path())?;
            ours.push(log);
            raw.push(file);
            ratios.push(log / file);
        }
        let (ours, raw, ratio) = (median(&ours), median(&raw), median(&ratios));
        println!(
            "{}: log {ours:.0} records/s ({:.0} MB/s), raw file {raw:.0} records/s, ratio {ratio:.2}",
            shape.name,
            ours * VALUE_BYTES as f64 / 1e6
        );
        if worst.as_ref().and_then(|line| line.ratio).is_none_or(|known| ratio < known) {
            worst = Some(Line {
                value: ours,
                unit: "records/s",
                reference: Some(("raw file with fdatasync", raw)),
                ratio: Some(ratio),
                further: Vec::new(),
            });
        }
    }
    worst.context("no shape was measured")
}

impl Shape {
    fn batches(self) -> usize {
        RUN_BYTES / (self.records * VALUE_BYTES)
    }

    fn rate(self, begun: Instant) -> f64 {
        (self.batches() * self.records) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Fills a batch: the keys of a few hundred devices over all partitions.
    fn fill(self, topic: TopicId, value: &[u8], batch: &mut Batch) {
        batch.clear();
        for number in 0..self.records {
            let key = (number as u64 % 401).to_le_bytes();
            batch.push(topic, Route::Key { hash: key_hash(&key) }, &key, &[], value);
        }
    }
}

fn append_to_log(shape: Shape, folder: &Path) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = EmbeddedConfig::new(folder.join("log"));
        let log = Log::open_embedded(config, standard_topics(PARTITIONS))?;
        let topic = log.topic("raw").context("no topic raw")?;
        let writer = log.writer();
        let value = vec![b'x'; VALUE_BYTES];
        let mut waiting = VecDeque::new();
        let begun = Instant::now();
        for _ in 0..shape.batches() {
            let mut batch = writer.spare();
            shape.fill(topic, &value, &mut batch);
            waiting.push_back(writer.append(batch).await?);
            if waiting.len() >= shape.in_flight
                && let Some(oldest) = waiting.pop_front()
            {
                oldest.safe().await?;
            }
        }
        for receipt in waiting {
            receipt.safe().await?;
        }
        let rate = shape.rate(begun);
        log.close().await?;
        Ok(rate)
    })
}

/// The same bytes, filled the same way, in one file.
fn append_to_file(shape: Shape, folder: &Path) -> anyhow::Result<f64> {
    let mut file = File::create(folder.join("raw"))?;
    let value = vec![b'x'; VALUE_BYTES];
    let mut bytes = Vec::new();
    let begun = Instant::now();
    for number in 1..=shape.batches() {
        bytes.clear();
        for record in 0..shape.records {
            let key = (record as u64 % 401).to_le_bytes();
            bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&0_u32.to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&key);
            bytes.extend_from_slice(&value);
        }
        file.write_all(&bytes)?;
        if number % shape.in_flight == 0 {
            file.sync_data()?;
        }
    }
    file.sync_data()?;
    Ok(shape.rate(begun))
}
