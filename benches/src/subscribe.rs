//! `mqtt-subscribe-route`: messages of a Mosquitto taken by the hub's `subscribe` lane, made durable, routed, the readings
//! durable too, beside a subscriber that only counts and acknowledges. Both take the same messages at the same time.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use yiwang_tests::mqtt::Load;
use yiwang_tests::wait::until;

use crate::fixture::{self, Device};
use crate::mqtt::{Mosquitto, wait_routed};
use crate::report::{Line, children_cpu_seconds, cpu_seconds, median};

/// Runs, connections of the publishers, unacknowledged publishes and messages of each.
const ROUNDS: u64 = 5;
const PUBLISHERS: usize = 16;
const WINDOW: u16 = 20;
const MESSAGES: u64 = 15_000;
/// What the counting subscriber is told by, and what it says once it is subscribed.
pub const COUNT: &str = "count-subscriber";
const SUBSCRIBED: &str = "subscribed";
const FILTER: &str = "iot/v1/+/+/up/#";
/// Packets of the counting subscriber that wait for the socket: an acknowledgement for each message.
const REQUESTS: usize = 70_000;
const PACKET_BYTES_MAX: usize = 65_536;

/// Measures the CPU of a message in both.
///
/// # Errors
/// If a program does not start, or a message does not arrive.
pub fn run() -> anyhow::Result<Line> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let devices = fixture::devices("nd-01", "M", PUBLISHERS);
    let list = folder.path().join("devices");
    fixture::write_devices(&list, &devices)?;
    let mosquitto = Mosquitto::start(folder.path())?;
    let broker = mosquitto.address;
    let set = vec![
        format!("district.devices={}", list.display()),
        format!(
            "intake.subscribe=[{{name=\"bench\",host=\"127.0.0.1\",port={},client_id=\"bench-hub\"}}]",
            broker.port()
        ),
    ];
    let hub =
        fixture::plan(&folder.path().join("data"), set).start().map_err(|error| anyhow!(error))?;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let messages = PUBLISHERS as u64 * MESSAGES;
    for round in 0..ROUNDS {
        let counter = Counter::start(broker, messages)?;
        let before = cpu_seconds(hub.pid("router"));
        publish(broker, &devices, round)?;
        wait_routed(&hub, messages * (round + 1))?;
        let own = (cpu_seconds(hub.pid("router")) - before) / messages as f64 * 1e6;
        let reference = counter.cpu()? / messages as f64 * 1e6;
        println!("hub {own:.2} us of CPU a message, counting subscriber {reference:.2} us");
        ours.push(own);
        theirs.push(reference);
        ratios.push(own / reference);
    }
    Ok(Line {
        value: median(&ours),
        unit: "us CPU/message",
        reference: Some(("counting subscriber", median(&theirs))),
        ratio: Some(median(&ratios)),
        further: Vec::new(),
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

/// The counting subscriber, a process of its own; it ends with this.
struct Counter {
    child: Child,
}

impl Counter {
    fn start(broker: SocketAddr, messages: u64) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("failed to find the benchmark's own path")?;
        let child = Command::new(program)
            .args([COUNT, &broker.to_string(), &messages.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the counting subscriber")?;
        let mut own = Self { child };
        let output = own.child.stdout.as_mut().context("the subscriber has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.trim_end() == SUBSCRIBED, "the counting subscriber says: {line}");
        Ok(own)
    }

    /// Its processor time, s, once it has counted everything.
    fn cpu(mut self) -> anyhow::Result<f64> {
        let before = children_cpu_seconds();
        let ended = until("the counting subscriber to end", Duration::from_secs(60), || match self
            .child
            .try_wait()
        {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        let status = ended.map_err(|error| anyhow!(error))?;
        ensure!(status.success(), "the counting subscriber ended with {status}");
        Ok(children_cpu_seconds() - before)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // Gone already is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Body of the counting subscriber: acknowledges so many messages and ends.
///
/// # Errors
/// The broker's, or arguments that are not an address and a count.
pub fn count(arguments: &[String]) -> anyhow::Result<()> {
    let [broker, messages] = arguments else { bail!("usage: {COUNT} HOST:PORT MESSAGES") };
    let broker: SocketAddr = broker.parse().context("not HOST:PORT")?;
    let messages: u64 = messages.parse().context("not a number of messages")?;
    let mut options = MqttOptions::new("bench-counter", broker.ip().to_string(), broker.port());
    options
        .set_clean_session(true)
        .set_manual_acks(true)
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        client.try_subscribe(FILTER, QoS::AtLeastOnce)?;
        let mut counted = 0;
        while counted < messages {
            match events.poll().await? {
                Event::Incoming(Packet::SubAck(_)) => println!("{SUBSCRIBED}"),
                Event::Incoming(Packet::Publish(publish)) => {
                    counted += 1;
                    client.try_ack(&publish)?;
                }
                _ => {}
            }
        }
        Ok(())
    })
}
