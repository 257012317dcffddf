//! `kafka-route-kafka`: a backlog of topic `raw` on an Apache Kafka, read, routed and its readings written there by a
//! process that is a router alone, every append reported delivered before its source is committed. Beside it, in turns,
//! what Kafka itself costs a client: a process that reads the same records by the same library and writes each to a topic.

use std::collections::VecDeque;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use yiwang_log::{
    BatchLimit, Committer, Event, KafkaConfig, Log, Position, Receipt, Records, Route, Start,
    TopicId, TopicSpec, Writer, key_hash, standard_topics,
};
use yiwang_tests::hub::{self, Mode, Plan};

use crate::backlog::{self, PARTITIONS};
use crate::fixture;
use crate::mqtt::{check_fates, wait_routed};
use crate::report::{Line, cpu_seconds, median};

/// Runs, devices and records of each run.
const ROUNDS: u64 = 5;
const STATIONS: usize = 4_000;
const RECORDS: u64 = 400_000;
/// What the copying process is told by.
pub const COPY: &str = "copy-records";
/// Where it writes, and who it is to the brokers.
const COPIES: &str = "copies";
const GROUP: &str = "bench-copy";
/// Batches whose receipts it awaits: as many as the router of the shipped configuration.
const BATCHES_MAX: usize = 32;
const DEADLINE: Duration = Duration::from_secs(120);
const ROUTER: &str = "router";

/// Measures the CPU of a record in both.
///
/// # Errors
/// If a service or program is missing, or does not come to the end.
pub fn run() -> anyhow::Result<Line> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let devices = fixture::devices("nd-01", "M", STATIONS);
    let list = folder.path().join("devices");
    fixture::write_devices(&list, &devices)?;
    let mut plan =
        Plan::distributed(&folder.path().join("data"), "bench").map_err(|error| anyhow!(error))?;
    plan.config = fixture::repository().join("config/bench.toml");
    let plan = plan.with(&format!("district.devices={}", list.display()));
    let Mode::Distributed { kafka, topic_prefix, .. } = plan.mode.clone() else {
        bail!("a distributed plan is not one")
    };
    let mut hub = plan.start().map_err(|error| anyhow!(error))?;
    let (mut ours, mut theirs, mut ratios, mut rates) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        hub.stop_role(ROUTER).map_err(|error| anyhow!(error))?;
        fill(&kafka, &topic_prefix, round, &devices)?;
        let reference = copy_apart(&kafka, &topic_prefix)?;
        hub.start_again().map_err(|error| anyhow!(error))?;
        // A process counts from its start.
        let first = wait_routed(&hub, 1)?;
        let (begun, before) = (Instant::now(), cpu_seconds(hub.pid(ROUTER)));
        let last = wait_routed(&hub, RECORDS)?;
        let cpu = cpu_seconds(hub.pid(ROUTER)) - before;
        let own = cpu / (last - first) * 1e6;
        check_fates(&hub)?;
        let rate = (last - first) / begun.elapsed().as_secs_f64();
        println!("router {own:.2} us of CPU a record ({rate:.0}/s), copy {reference:.2} us");
        ours.push(own);
        theirs.push(reference);
        ratios.push(own / reference);
        rates.push(rate);
    }
    Ok(Line {
        value: median(&ours),
        unit: "us CPU/record",
        reference: Some(("copy by the same library", median(&theirs))),
        ratio: Some(median(&ratios)),
        further: vec![("records_per_second", median(&rates))],
    })
}

async fn open(brokers: &str, prefix: &str) -> anyhow::Result<Log> {
    let mut topics = standard_topics(PARTITIONS);
    topics.push(TopicSpec::stream(COPIES, PARTITIONS, &[]));
    let config = KafkaConfig {
        prefix: prefix.to_owned(),
        replication: 1,
        min_insync: 1,
        ..KafkaConfig::new(brokers)
    };
    Ok(Log::open_kafka(config, topics).await?)
}

fn fill(
    brokers: &str,
    prefix: &str,
    round: u64,
    devices: &[fixture::Device],
) -> anyhow::Result<()> {
    let write = backlog::station(devices);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let log = open(brokers, prefix).await?;
        backlog::fill(&log, RECORDS, |number, key, body| {
            write(round * RECORDS + number, key, body);
        })
        .await?;
        Ok(log.close().await?)
    })
}

/// Runs the copying process; its CPU of a record, us.
fn copy_apart(brokers: &str, prefix: &str) -> anyhow::Result<f64> {
    let program = std::env::current_exe().context("failed to find the benchmark's own path")?;
    let said = hub::run(Command::new(program).args([COPY, brokers, prefix]));
    let said = said.map_err(|error| anyhow!(error))?;
    said.trim().parse().with_context(|| format!("the copying process says: {said}"))
}

/// Body of the copying process: copies so many records and says what one cost, us of CPU.
///
/// # Errors
/// The log's, arguments that are not brokers and a prefix, or no end in time.
pub fn copy(arguments: &[String]) -> anyhow::Result<()> {
    let [brokers, prefix] = arguments else { bail!("usage: {COPY} BROKERS PREFIX") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let log = open(brokers, prefix).await?;
        let mut reader = log.reader("raw", GROUP, Start::Committed).await?;
        let mut copier = Copier {
            writer: log.writer(),
            committer: reader.committer(),
            topic: log.topic(COPIES).context("no topic for the copies")?,
            waiting: VecDeque::new(),
        };
        let (mut copied, mut first) = (0, None);
        while copied < RECORDS {
            let event = tokio::time::timeout(DEADLINE, reader.next(BatchLimit::default()));
            let Event::Records(records) = event.await.context("no more records")?? else {
                continue;
            };
            ensure!(!records.is_empty(), "the log ended");
            first.get_or_insert_with(|| cpu_seconds(std::process::id()));
            copied += records.len() as u64;
            copier.copy(&records).await?;
        }
        copier.finish(0).await?;
        let before = first.context("nothing was copied")?;
        println!("{}", (cpu_seconds(std::process::id()) - before) / copied as f64 * 1e6);
        Ok(log.close().await?)
    })
}

struct Copier {
    writer: Writer,
    committer: Committer,
    topic: TopicId,
    waiting: VecDeque<(Receipt, Position)>,
}

impl Copier {
    async fn copy(&mut self, records: &Records) -> anyhow::Result<()> {
        let mut batch = self.writer.spare();
        for record in records.iter() {
            let route = Route::Key { hash: key_hash(record.key) };
            batch.push(self.topic, route, record.key, &[], record.value);
        }
        let receipt = self.writer.append(batch).await?;
        self.waiting.push_back((receipt, records.end()));
        self.finish(BATCHES_MAX).await
    }

    /// Waits until no more than so many batches are under way.
    async fn finish(&mut self, left: usize) -> anyhow::Result<()> {
        while self.waiting.len() > left
            && let Some((receipt, position)) = self.waiting.pop_front()
        {
            receipt.safe().await?;
            self.committer.commit(position).await?;
        }
        Ok(())
    }
}
