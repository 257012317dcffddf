//! `mqtt-subscribe-route`: a backlog that a Mosquitto holds for two persistent sessions, drained in turns by a
//! subscriber that only counts and acknowledges and by the hub's `subscribe` lane: durable, routed, readings durable too.
//!
//! A backlog, because a hub that waits for a broker to pass messages on costs what the broker's pace makes it cost.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use yiwang_tests::mqtt::Load;
use yiwang_tests::proxy::Proxy;
use yiwang_tests::wait::until;

use crate::fixture::{self, Device};
use crate::mqtt::{Mosquitto, check_fates, wait_routed};
use crate::report::{Line, children_cpu_seconds, cpu_seconds, median};

/// Runs, connections of the publishers, unacknowledged publishes and messages of each.
const ROUNDS: u64 = 5;
const PUBLISHERS: usize = 16;
const WINDOW: u16 = 20;
const MESSAGES: u64 = 6_000;
/// Messages that the broker is to send before it waits for an acknowledgement. Mosquitto 2.0.11 sends two for each that
/// is acknowledged to a session that it resumes: half the backlog is under way in the end, and has to find packet ids.
const IN_FLIGHT: usize = 1_000;
/// Acknowledgements of the counting subscriber that wait for the socket: as many as there are packet ids.
const REQUESTS: usize = 65_535;
/// What the counting subscriber is told by.
pub const COUNT: &str = "count-subscriber";
const FILTER: &str = "iot/v1/+/+/up/#";
const PACKET_BYTES_MAX: usize = 65_536;
/// Bytes of an acknowledgement.
const PUBACK_BYTES: u64 = 4;
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// Measures the CPU of a message in both.
///
/// # Errors
/// If a program does not start, or a message does not arrive.
pub fn run() -> anyhow::Result<Line> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let devices = fixture::devices("nd-01", "M", PUBLISHERS);
    let list = folder.path().join("devices");
    fixture::write_devices(&list, &devices)?;
    let mosquitto = Mosquitto::start(folder.path(), IN_FLIGHT)?;
    let broker = mosquitto.address;
    let link = Proxy::before(&broker.to_string()).map_err(|error| anyhow!(error))?;
    let set = vec![
        format!("district.devices={}", list.display()),
        format!(
            "intake.subscribe=[{{name=\"bench\",host=\"127.0.0.1\",port={},client_id=\"bench-hub\",\
             reconnect_max_ms=200}}]",
            link.address().port()
        ),
    ];
    let hub =
        fixture::plan(&folder.path().join("data"), set).start().map_err(|error| anyhow!(error))?;
    // It makes the session that is to hold the backlog.
    count_apart(broker, 0)?;
    let (mut ours, mut theirs, mut ratios, mut rates) = (vec![], vec![], vec![], vec![]);
    let messages = PUBLISHERS as u64 * MESSAGES;
    for round in 0..ROUNDS {
        mosquitto.wait_until_idle()?;
        link.refuse();
        publish(broker, &devices, round)?;
        let reference = count_apart(broker, messages)? / messages as f64 * 1e6;
        let (before, begun) = (cpu_seconds(hub.pid("router")), Instant::now());
        let acknowledged = link.carried() + messages * PUBACK_BYTES;
        link.restore();
        wait_routed(&hub, messages * (round + 1))?;
        let told = until("the broker to have every acknowledgement", DRAIN_MAX, || {
            let carried = link.carried();
            if carried < acknowledged {
                Err(format!("{carried} of {acknowledged} bytes"))
            } else {
                Ok(())
            }
        });
        told.map_err(|error| anyhow!(error))?;
        let rate = messages as f64 / begun.elapsed().as_secs_f64();
        let own = (cpu_seconds(hub.pid("router")) - before) / messages as f64 * 1e6;
        println!(
            "hub {own:.2} us of CPU a message ({rate:.0}/s), counting subscriber {reference:.2} us"
        );
        ours.push(own);
        theirs.push(reference);
        ratios.push(own / reference);
        rates.push(rate);
    }
    check_fates(&hub)?;
    Ok(Line {
        value: median(&ours),
        unit: "us CPU/message",
        reference: Some(("counting subscriber", median(&theirs))),
        ratio: Some(median(&ratios)),
        further: vec![("messages_per_second", median(&rates))],
    })
}

fn publish(broker: SocketAddr, devices: &[Device], round: u64) -> anyhow::Result<()> {
    let clients = devices.iter().map(|device| device.connection(false)).collect();
    let load = Load { address: broker, clients, window: WINDOW, messages: MESSAGES, rate: 0.0 };
    let now = fixture::now_ms();
    let sent = load.run(&move |_, number, out| {
        fixture::station_message(round * MESSAGES + number + 1, now, out);
    });
    sent.map(|_| ()).context("the load broke off")
}

/// Runs the counting subscriber as a process of its own; gives its processor time, s.
fn count_apart(broker: SocketAddr, messages: u64) -> anyhow::Result<f64> {
    let program = std::env::current_exe().context("failed to find the benchmark's own path")?;
    let before = children_cpu_seconds();
    let child = Command::new(program)
        .args([COUNT, &broker.to_string(), &messages.to_string()])
        .spawn()
        .context("failed to start the counting subscriber")?;
    let mut own = Counter(child);
    let ended = until("the counting subscriber to end", DRAIN_MAX, || match own.0.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    });
    let status = ended.map_err(|error| anyhow!(error))?;
    ensure!(status.success(), "the counting subscriber ended with {status}");
    Ok(children_cpu_seconds() - before)
}

/// It ends with this.
struct Counter(Child);

impl Drop for Counter {
    fn drop(&mut self) {
        // Gone already is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Body of the counting subscriber: takes its persistent session, acknowledges so many messages and ends.
///
/// # Errors
/// The broker's, or arguments that are not an address and a count.
pub fn count(arguments: &[String]) -> anyhow::Result<()> {
    let [broker, messages] = arguments else { bail!("usage: {COUNT} HOST:PORT MESSAGES") };
    let broker: SocketAddr = broker.parse().context("not HOST:PORT")?;
    let messages: u64 = messages.parse().context("not a number of messages")?;
    let mut options = MqttOptions::new("bench-counter", broker.ip().to_string(), broker.port());
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        client.try_subscribe(FILTER, QoS::AtLeastOnce)?;
        let (mut counted, mut subscribed) = (0, false);
        while counted < messages || !subscribed {
            match events.poll().await? {
                Event::Incoming(Packet::SubAck(_)) => subscribed = true,
                Event::Incoming(Packet::Publish(publish)) => {
                    counted += 1;
                    client.try_ack(&publish)?;
                }
                _ => {}
            }
        }
        // The acknowledgements that still wait go out before it.
        client.try_disconnect()?;
        while !matches!(events.poll().await?, Event::Outgoing(rumqttc::Outgoing::Disconnect)) {}
        Ok(())
    })
}
