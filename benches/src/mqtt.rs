//! `mqtt-durable-qos1`: QoS 1 publishes into the hub, every one durable before its PUBACK, beside Mosquitto without
//! persistence, in turns, the load generator on the same cores.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use yiwang_tests::hub::{Hub, free_ports};
use yiwang_tests::mqtt::{Connection, Load, LoadReport, Login, Version};
use yiwang_tests::wait::until;

use crate::fixture::{self, Device};
use crate::report::{Line, cpu_seconds, median};

/// Pairs of runs of each shape.
const ROUNDS: usize = 5;
/// Messages of a run, about.
const MESSAGES: u64 = 400_000;

/// Who takes no CPU for so long has nothing to do.
const IDLE: Duration = Duration::from_millis(100);

/// Connections and unacknowledged publishes of each.
#[derive(Clone, Copy)]
struct Shape {
    connections: usize,
    window: u16,
}

const SHAPES: [Shape; 2] =
    [Shape { connections: 4, window: 500 }, Shape { connections: 64, window: 20 }];

/// Measures both shapes; the line shows the worse ratio.
///
/// # Errors
/// If a server does not start or refuses a message.
pub fn run() -> anyhow::Result<Line> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let devices = fixture::devices("nd-01", "M", 64);
    let mut worst: Option<Line> = None;
    let mosquitto = Mosquitto::start(folder.path(), 0)?;
    for shape in SHAPES {
        let hub = hub(&folder.path().join(format!("hub-{}", shape.connections)), &devices)?;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut sent = 0;
        for round in 0..ROUNDS {
            let begun = cpu_seconds(mosquitto.child.id());
            let reference = load(shape, mosquitto.address, &devices, false, round as u64)?;
            let cpu = (cpu_seconds(mosquitto.child.id()) - begun) / reference.messages as f64;
            let own = load(shape, hub.mqtt(), &devices, true, round as u64)?;
            println!(
                "{} x {}: hub {:.0}/s (ack p50 {:.1} p99 {:.1} ms), Mosquitto {:.0}/s ({:.1} us CPU)",
                shape.connections,
                shape.window,
                own.rate(),
                own.latency_ms(0.5),
                own.latency_ms(0.99),
                reference.rate(),
                cpu * 1e6
            );
            ours.push(own.rate());
            theirs.push(reference.rate());
            ratios.push(own.rate() / reference.rate());
            sent += own.messages;
            wait_routed(&hub, sent)?;
        }
        let ratio = median(&ratios);
        if worst.as_ref().and_then(|line| line.ratio).is_none_or(|known| ratio < known) {
            worst = Some(Line {
                value: median(&ours),
                unit: "messages/s",
                reference: Some(("Mosquitto without persistence", median(&theirs))),
                ratio: Some(ratio),
                further: Vec::new(),
            });
        }
    }
    worst.context("no shape was measured")
}

/// The hub with all roles, `config/bench.toml` and these devices.
///
/// # Errors
/// The program's own words when it does not start.
pub fn hub(data: &Path, devices: &[Device]) -> anyhow::Result<Hub> {
    let list = data.join("devices");
    fixture::write_devices(&list, devices)?;
    let set = vec![format!("district.devices={}", list.display())];
    fixture::plan(&data.join("data"), set).start().map_err(|error| anyhow!(error))
}

/// Waits until so many messages are routed; how many then are.
///
/// # Errors
/// If the router does not get there: the last lines of its log.
pub fn wait_routed(hub: &Hub, sent: u64) -> anyhow::Result<f64> {
    let routed = until("the router to catch up", Duration::from_secs(120), || {
        let routed = count(hub, "routed")?;
        if routed >= sent as f64 { Ok(routed) } else { Err(format!("{routed} of {sent}")) }
    });
    let role = hub.routers().first().copied().unwrap_or_default();
    routed.map_err(|error| anyhow!("{error}\n{}", hub.last_lines(role)))
}

/// Everything that came to the router was routed: nothing quarantined, duplicate or rejected.
///
/// # Errors
/// What has become of others.
pub fn check_fates(hub: &Hub) -> anyhow::Result<()> {
    for other in ["quarantined", "duplicate", "rejected"] {
        let count = count(hub, other).map_err(|error| anyhow!(error))?;
        ensure!(count == 0.0, "{count} messages were {other}");
    }
    Ok(())
}

fn count(hub: &Hub, row: &str) -> Result<f64, String> {
    hub.metric("router", "yiwang_router_records_total", &format!("row=\"{row}\""))
}

fn load(
    shape: Shape,
    address: SocketAddr,
    devices: &[Device],
    ours: bool,
    round: u64,
) -> anyhow::Result<LoadReport> {
    let client = |device: &Device| device.connection(ours);
    let messages = MESSAGES / shape.connections as u64;
    let load = Load {
        address,
        clients: devices.iter().take(shape.connections).map(client).collect(),
        window: shape.window,
        messages,
        rate: 0.0,
    };
    let now = fixture::now_ms();
    let report = load.run(&move |_, number, out| {
        fixture::station_message(round * messages + number + 1, now, out);
    });
    report.context("the load broke off")
}

/// A Mosquitto without persistence; it ends with this.
pub(crate) struct Mosquitto {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Mosquitto {
    /// `in_flight`: messages that it sends before it waits for an acknowledgement; 0 = no limit.
    pub(crate) fn start(folder: &Path, in_flight: usize) -> anyhow::Result<Self> {
        let port = free_ports(1)[0];
        let path = folder.join("mosquitto.conf");
        let mut file = std::fs::File::create(&path)?;
        write!(
            file,
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\n\
             max_inflight_messages {in_flight}\nmax_queued_messages 0\nset_tcp_nodelay true\n"
        )?;
        let program = std::env::var_os("YIWANG_TEST_MOSQUITTO")
            .unwrap_or_else(|| "/usr/sbin/mosquitto".into());
        let child = Command::new(&program)
            .arg("-c")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let own = Self { child, address };
        let login = Login { version: Version::V311, client_id: "probe", credentials: None };
        let ready = until("Mosquitto to answer", Duration::from_secs(20), || {
            Connection::open(address, &login).map_err(|error| error.to_string())
        });
        ready.map(|_| own).map_err(|error| anyhow!(error))
    }

    /// Waits until it has read what it was sent: a connection that is cut takes with it what was not read.
    pub(crate) fn wait_until_idle(&self) -> anyhow::Result<()> {
        let mut before = f64::NAN;
        let idle = until("Mosquitto to have nothing to do", Duration::from_secs(20), || {
            std::thread::sleep(IDLE);
            let now = cpu_seconds(self.child.id());
            let same = now.to_bits() == std::mem::replace(&mut before, now).to_bits();
            same.then_some(()).ok_or_else(|| format!("{now} s of CPU so far"))
        });
        idle.map_err(|error| anyhow!(error))
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // Gone already is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
