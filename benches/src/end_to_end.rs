//! `end-to-end`: how many events a second the whole hub takes from MQTT to readings, and, at half of that, how long an
//! alarm takes from PUBLISH to the operator's stream.
//!
//! The rate counts from the first connect until every message is routed, its outputs durable. Latency is open loop: it
//! counts from the time at which the message was due, so a stall of the hub is not hidden by a sender that waits.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use yiwang_proto::incident::v1::WatchRequest;
use yiwang_proto::incident::v1::watch_response::Item;
use yiwang_proto::incident::v1::watch_service_client::WatchServiceClient;
use yiwang_tests::hub::Hub;
use yiwang_tests::mqtt::{Connection, Load, Login, Version};

use crate::fixture::{self, Device};
use crate::mqtt::{check_fates, hub, wait_routed};
use crate::report::{Line, median};

/// Runs of the rate.
const ROUNDS: u64 = 5;
/// Connections of the telemetry, and unacknowledged publishes of each.
const STATIONS: usize = 64;
const WINDOW: u16 = 100;
/// Messages of one station in a run of the rate.
const MESSAGES: u64 = 8_000;
/// Half of the rate that must hold: the latency at it can be compared from run to run.
const STEADY: f64 = 50_000.0;
/// Alarms whose way is timed under one load, each of its own device, and the pause between two.
const ALARMS: usize = 1_200;
const ALARM_EVERY: Duration = Duration::from_millis(20);
/// How long the last alarm may take before the run counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures the rate, then the latency at half of it and at a load that is always the same.
///
/// # Errors
/// If the hub does not start, refuses a message or loses an alarm.
pub fn run() -> anyhow::Result<Line> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let stations = fixture::devices("nd-01", "M", STATIONS);
    let detectors = fixture::devices("gas-01", "G", 2 * ALARMS);
    let all: Vec<Device> = stations.iter().chain(&detectors).cloned().collect();
    let hub = hub(folder.path(), &all)?;
    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let report = telemetry(hub.mqtt(), &stations, 0.0, round * MESSAGES, MESSAGES)?;
        wait_routed(&hub, STATIONS as u64 * (round + 1) * MESSAGES)?;
        let rate = report.messages as f64 / begun.elapsed().as_secs_f64();
        println!(
            "round {}: {rate:.0} events/s routed; acknowledged at {:.0}/s, p99 {:.1} ms",
            round + 1,
            report.rate(),
            report.latency_ms(0.99)
        );
        rates.push(rate);
    }
    check_fates(&hub)?;
    let rate = median(&rates);
    let (first, second) = detectors.split_at(ALARMS);
    let mut sent = ROUNDS * MESSAGES;
    let half = latency(&hub, (&stations, first), rate / 2.0, &mut sent)?;
    let steady = latency(&hub, (&stations, second), STEADY, &mut sent)?;
    let of = |latencies: &[Duration], quantile: f64| {
        let at = ((latencies.len() - 1) as f64 * quantile).round() as usize;
        latencies[at].as_secs_f64() * 1e3
    };
    for (load, latencies) in [(rate / 2.0, &half), (STEADY, &steady)] {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| of(latencies, quantile));
        println!(
            "at {load:.0} events/s, {ALARMS} alarms, PUBLISH to Watch: p50 {p50:.1} p99 {p99:.1} p999 {p999:.1} ms"
        );
    }
    Ok(Line {
        value: rate,
        unit: "events/s",
        reference: None,
        ratio: None,
        further: vec![
            ("p50_ms", of(&half, 0.5)),
            ("p99_ms", of(&half, 0.99)),
            ("p999_ms", of(&half, 0.999)),
            ("steady_p50_ms", of(&steady, 0.5)),
            ("steady_p99_ms", of(&steady, 0.99)),
        ],
    })
}

/// Every station sends `messages` more messages.
fn telemetry(
    address: SocketAddr,
    stations: &[Device],
    rate: f64,
    sent: u64,
    messages: u64,
) -> anyhow::Result<yiwang_tests::mqtt::LoadReport> {
    let clients = stations.iter().map(|device| device.connection(true)).collect();
    let load = Load { address, clients, window: WINDOW, messages, rate };
    let report = load.run(&move |_, number, out| {
        fixture::station_message(sent + number + 1, fixture::now_ms(), out);
    });
    report.context("the telemetry broke off")
}

/// Times of the alarms of all detectors from due to shown, ascending, under a steady load of `rate` events a second.
/// Each station has sent so many messages before; counts on.
fn latency(
    hub: &Hub,
    (stations, detectors): (&[Device], &[Device]),
    rate: f64,
    sent: &mut u64,
) -> anyhow::Result<Vec<Duration>> {
    let district = fixture::district()?;
    let token = hub.token(district.id()).map_err(|error| anyhow!(error))?;
    let (shown, arrivals) = mpsc::sync_channel(ALARMS);
    let (ready, watching) = mpsc::sync_channel(1);
    let grpc = hub.grpc();
    let watcher = std::thread::spawn(move || watch(grpc, &token, &ready, &shown));
    watching.recv_timeout(PATIENCE).context("the stream did not begin")?;
    let mut connections = Vec::with_capacity(detectors.len());
    for device in detectors {
        connections.push(connect(hub.mqtt(), device)?);
    }
    let seconds = (ALARM_EVERY * ALARMS as u32).as_secs_f64() + 2.0;
    let each = rate / stations.len() as f64;
    let (before, messages) = (*sent, (each * seconds) as u64);
    *sent += messages;
    let due = std::thread::scope(|scope| {
        let address = hub.mqtt();
        let load = scope.spawn(move || telemetry(address, stations, each, before, messages));
        let due = publish_alarms(detectors, &mut connections);
        let report = load.join().map_err(|_| anyhow!("the load panicked"))??;
        println!(
            "load of {:.0} events/s, acknowledged in p99 {:.1} ms",
            report.rate(),
            report.latency_ms(0.99)
        );
        due
    })?;
    let mut latencies = Vec::with_capacity(due.len());
    let deadline = Instant::now() + PATIENCE;
    while latencies.len() < due.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok((source, at)) = arrivals.recv_timeout(left) else {
            bail!("{} of {} alarms were shown", latencies.len(), due.len());
        };
        if let Some(due) = due.get(&source) {
            latencies.push(Instant::saturating_duration_since(&at, *due));
        }
    }
    drop(arrivals);
    // It ends when nobody listens any more, at the next change or with the hub.
    drop(watcher);
    latencies.sort_unstable();
    Ok(latencies)
}

fn connect(address: SocketAddr, device: &Device) -> anyhow::Result<Connection> {
    let (id, secret) = (device.client_id(), device.secret());
    let login = Login { version: Version::V311, client_id: &id, credentials: Some((&id, &secret)) };
    Connection::open(address, &login).with_context(|| format!("failed to connect as {id}"))
}

/// One alarm of each device, each at its time whatever became of those before; by source, when each was due.
fn publish_alarms(
    detectors: &[Device],
    connections: &mut [Connection],
) -> anyhow::Result<HashMap<String, Instant>> {
    let mut due = HashMap::new();
    // The load has settled by then.
    let begun = Instant::now() + Duration::from_secs(1);
    let mut body = Vec::new();
    for (number, (device, connection)) in detectors.iter().zip(connections).enumerate() {
        let at = begun + ALARM_EVERY * number as u32;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        body.clear();
        fixture::gas_message(1, fixture::now_ms(), 40.5, &mut body);
        connection.publish(&device.topic(), 1, &body);
        connection.flush().context("an alarm could not be sent")?;
        due.insert(format!("device/{}/{}", device.product, device.name), at);
    }
    Ok(due)
}

/// Follows the district's stream: says once that it has begun, then the source of every new incident and when it came.
fn watch(
    grpc: SocketAddr,
    token: &str,
    ready: &mpsc::SyncSender<()>,
    shown: &mpsc::SyncSender<(String, Instant)>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{grpc}"))?.connect().await?;
        let request = WatchRequest { consumer: "bench".to_owned(), ..WatchRequest::default() };
        let mut request = tonic::Request::new(request);
        let bearer: MetadataValue<_> = format!("Bearer {}", token.trim()).parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let mut items = WatchServiceClient::new(channel).watch(request).await?.into_inner();
        let mut seen = std::collections::HashSet::new();
        while let Some(response) = items.message().await? {
            let now = Instant::now();
            match response.item {
                Some(Item::SnapshotEnd(_)) if ready.send(()).is_err() => return Ok(()),
                Some(Item::Change(change)) => {
                    let source = change.incident.unwrap_or_default().source;
                    if seen.insert(source.clone()) && shown.send((source, now)).is_err() {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    })
}
