//! The simulated fleet: registered devices that publish over real MQTT connections, deterministic for a seed.
//!
//! What a product's devices say is data (`config/simulate.toml`). A device counts a message as sent when its connection
//! writes it and as acknowledged when its PUBACK is back; it never invents either.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::FleetArgs;
use crate::config::Config;
use crate::exit::Failure;

/// Publishes of one device that wait for their PUBACK.
const INFLIGHT_MAX: u16 = 50;
/// Messages of one device that wait for its connection.
const QUEUE_MAX: usize = 64;
/// An alarming device goes on alarming for this many of its own messages.
const ALARM_MESSAGES: u32 = 4;
/// First and longest pause before a device connects again, ms.
const RECONNECT_MS: (u64, u64) = (200, 5_000);

/// One device that takes part.
#[derive(Clone, Debug)]
pub struct Member {
    /// Product key.
    pub product: String,
    /// Device name.
    pub name: String,
    /// Its secret.
    pub secret: String,
    /// Whether the first message of the fleet that alarms is to be its own.
    pub first: bool,
}

impl Member {
    /// Device key.
    pub fn key(&self) -> String {
        format!("{}/{}", self.product, self.name)
    }
}

/// The registered devices that have a plain secret in their list: those of the demo profile.
///
/// # Errors
/// [`Failure::Config`] if a list cannot be read or no device has a secret.
pub fn members(config: &Config, most: usize) -> anyhow::Result<Vec<Member>> {
    #[derive(Deserialize)]
    struct Row {
        product_key: String,
        device_name: String,
        #[serde(default)]
        secret: String,
    }
    let folder = config.path(&config.raw.district.devices);
    let mut members = Vec::new();
    let mut lists: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("failed to read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
        .collect();
    lists.sort();
    for list in lists {
        let mut rows = csv::Reader::from_path(&list)
            .with_context(|| format!("failed to read {}", list.display()))?;
        for row in rows.deserialize() {
            let row: Row = row.with_context(|| format!("failed to read {}", list.display()))?;
            if !row.secret.is_empty() {
                let Row { product_key: product, device_name: name, secret } = row;
                members.push(Member { product, name, secret, first: false });
            }
        }
    }
    if members.is_empty() {
        return Err(Failure::Config(format!(
            "no device in {} has a secret: the simulated fleet needs the demo's lists",
            folder.display()
        ))
        .into());
    }
    members.truncate(most);
    Ok(members)
}

/// What the fleet did so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that a hub or broker has accepted, again ones among them.
    pub connected: AtomicU64,
    /// Messages written to a connection; one that is written again after a break counts once.
    pub sent: AtomicU64,
    /// PUBACKs that came back.
    pub acknowledged: AtomicU64,
    /// Messages not sent because the device's connection was away or full, until the end or when they were due.
    pub skipped: AtomicU64,
}

/// Messages of one device that its client has taken and not yet written.
type Waiting = Arc<AtomicU64>;

impl Counters {
    /// All of them on one line.
    pub fn line(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "sent={} acknowledged={} skipped={}",
            count(&self.sent),
            count(&self.acknowledged),
            count(&self.skipped)
        )
    }
}

/// What products say, by product key.
pub type Scripts = BTreeMap<String, Script>;

/// What the devices of one product say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    topic: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    hex: Option<String>,
    values: BTreeMap<String, Values>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    decimals: u32,
    normal: [i64; 2],
    alarm: [i64; 2],
}

/// Reads `simulate.toml`.
///
/// # Errors
/// [`Failure::Config`] naming the file and what is wrong in it.
pub fn load_scripts(path: &Path) -> anyhow::Result<Scripts> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::Config(format!(
            "failed to read {}: {error}; it ships beside yiwang.toml",
            path.display()
        ))
    })?;
    let scripts: Scripts = toml::from_str(&text)
        .map_err(|error| Failure::Config(format!("failed to read {}: {error}", path.display())))?;
    for (product, script) in &scripts {
        script.check().map_err(|what| {
            Failure::Config(format!("failed to use [{product}] of {}: {what}", path.display()))
        })?;
    }
    Ok(scripts)
}

/// Numbers of one message.
struct Moment {
    boot: u64,
    seq: u64,
    ts: i64,
}

impl Script {
    fn check(&self) -> Result<(), String> {
        let moment = Moment { boot: 1, seq: 1, ts: 0 };
        let mut rng = StdRng::seed_from_u64(0);
        for (name, values) in &self.values {
            if [values.normal, values.alarm].iter().any(|[low, high]| low > high) {
                return Err(format!("values.{name}: the first bound is above the second"));
            }
        }
        self.payload(&moment, false, &mut rng).map(|_| ())
    }

    fn draw(
        &self,
        name: &str,
        moment: &Moment,
        alarm: bool,
        rng: &mut StdRng,
    ) -> Result<(i64, u32), String> {
        match name {
            "boot" => Ok((moment.boot as i64, 0)),
            "seq" => Ok((moment.seq as i64, 0)),
            "ts" => Ok((moment.ts, 0)),
            "s" => Ok((moment.ts / 1000, 0)),
            _ => {
                let values =
                    self.values.get(name).ok_or_else(|| format!("${name} has no values.{name}"))?;
                let [low, high] = if alarm { values.alarm } else { values.normal };
                Ok((rng.random_range(low..=high), values.decimals))
            }
        }
    }

    fn payload(&self, moment: &Moment, alarm: bool, rng: &mut StdRng) -> Result<Vec<u8>, String> {
        match (&self.text, &self.hex) {
            (Some(text), None) => self.text_payload(text, moment, alarm, rng),
            (None, Some(hex)) => self.hex_payload(hex, moment, alarm, rng),
            _ => Err("give either text or hex".to_owned()),
        }
    }

    fn text_payload(
        &self,
        text: &str,
        moment: &Moment,
        alarm: bool,
        rng: &mut StdRng,
    ) -> Result<Vec<u8>, String> {
        let mut pieces = text.split('$');
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(piece.len());
            let (value, decimals) = self.draw(&piece[..end], moment, alarm, rng)?;
            out.push_str(&decimal(value, decimals));
            out.push_str(&piece[end..]);
        }
        Ok(out.into_bytes())
    }

    fn hex_payload(
        &self,
        hex: &str,
        moment: &Moment,
        alarm: bool,
        rng: &mut StdRng,
    ) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        for token in hex.split_whitespace() {
            if let Some((name, bytes)) =
                token.strip_prefix('$').and_then(|field| field.split_once(':'))
            {
                let bytes: usize =
                    bytes.parse().map_err(|_| format!("{token} has no number of bytes"))?;
                let (value, _) = self.draw(name, moment, alarm, rng)?;
                let from = 8usize
                    .checked_sub(bytes)
                    .ok_or_else(|| format!("{token} has more than 8 bytes"))?;
                out.extend_from_slice(&value.to_be_bytes()[from..]);
            } else {
                out.push(
                    u8::from_str_radix(token, 16)
                        .map_err(|_| format!("{token} is not a hex byte"))?,
                );
            }
        }
        Ok(out)
    }
}

/// `1234` with 1 decimal is `123.4`.
fn decimal(value: i64, decimals: u32) -> String {
    if decimals == 0 {
        return value.to_string();
    }
    let scale = 10_i64.pow(decimals);
    let sign = if value < 0 { "-" } else { "" };
    let (whole, part) = (value.abs() / scale, value.abs() % scale);
    format!("{sign}{whole}.{part:0width$}", width = decimals as usize)
}

/// Runs the fleet until told to stop.
///
/// # Errors
/// If no member has a script, or a script cannot be followed.
pub async fn run(
    members: Vec<Member>,
    scripts: Arc<Scripts>,
    args: FleetArgs,
    target: SocketAddr,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut devices: Vec<_> =
        members.into_iter().filter(|member| scripts.contains_key(&member.product)).collect();
    anyhow::ensure!(
        !devices.is_empty(),
        "no registered device has a script in simulate.toml: add its product there, or register devices"
    );
    // The device that is to alarm first speaks first.
    devices.sort_by_key(|member| !member.first);
    let mut connections = JoinSet::new();
    let mut senders = Vec::with_capacity(devices.len());
    for member in devices {
        let (client, events) = connect(&member, target);
        let waiting = Waiting::default();
        let link = Link { waiting: Arc::clone(&waiting), counters: Arc::clone(&counters) };
        connections.spawn(keep_connected(events, link, stop.clone()));
        senders.push(Sender { member, client, waiting, boot: 1, seq: 0, alarming: 0 });
    }
    let paced = pace(&mut senders, &scripts, &args, &counters, &stop).await;
    for sender in &senders {
        // A connection that is away has nothing to close.
        let _ = sender.client.try_disconnect();
    }
    stop.cancel();
    while connections.join_next().await.is_some() {}
    // What the clients have taken and never written was not sent.
    let left: u64 = senders.iter().map(|sender| sender.waiting.load(Ordering::Relaxed)).sum();
    counters.skipped.fetch_add(left, Ordering::Relaxed);
    paced
}

/// What a connection counts.
struct Link {
    waiting: Waiting,
    counters: Arc<Counters>,
}

impl Link {
    /// A message was written; one that is written again waits no more.
    fn wrote(&self) {
        let left = |waiting: u64| waiting.checked_sub(1);
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            self.counters.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A device's end of its connection.
struct Sender {
    member: Member,
    client: AsyncClient,
    waiting: Waiting,
    boot: u64,
    seq: u64,
    alarming: u32,
}

fn connect(member: &Member, target: SocketAddr) -> (AsyncClient, rumqttc::EventLoop) {
    let id = format!("{}.{}", member.product, member.name);
    let mut options = MqttOptions::new(&id, target.ip().to_string(), target.port());
    options.set_credentials(&id, &member.secret);
    options.set_keep_alive(Duration::from_secs(60));
    options.set_inflight(INFLIGHT_MAX);
    AsyncClient::new(options, QUEUE_MAX)
}

async fn keep_connected(mut events: rumqttc::EventLoop, link: Link, stop: CancellationToken) {
    let mut pause = RECONNECT_MS.0;
    loop {
        let event = tokio::select! {
            event = events.poll() => event,
            () = stop.cancelled() => return,
        };
        match event {
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                link.counters.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Event::Outgoing(Outgoing::Publish(_))) => link.wrote(),
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                link.counters.connected.fetch_add(1, Ordering::Relaxed);
                pause = RECONNECT_MS.0;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "simulated device lost its connection");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(pause)) => {}
                    () = stop.cancelled() => return,
                }
                pause = (pause * 2).min(RECONNECT_MS.1);
            }
        }
    }
}

async fn pace(
    senders: &mut [Sender],
    scripts: &Scripts,
    args: &FleetArgs,
    counters: &Counters,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(args.seed);
    let boot = now_ms().unsigned_abs() / 1000 % 60_000;
    for sender in senders.iter_mut() {
        sender.boot = boot;
    }
    // Several messages a wake-up at high rates: timers have a millisecond's grain.
    let burst = (args.rate / 500.0).ceil().max(1.0);
    let mut beat = tokio::time::interval(Duration::from_secs_f64(burst / args.rate));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next = 0;
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        for _ in 0..burst as u64 {
            let index = next % senders.len();
            let sender = &mut senders[index];
            speak(sender, scripts, args.alarm_share, counters, &mut rng)?;
            next += 1;
        }
    }
}

fn speak(
    sender: &mut Sender,
    scripts: &Scripts,
    alarm_share: f64,
    counters: &Counters,
    rng: &mut StdRng,
) -> anyhow::Result<()> {
    let Member { product, name, .. } = &sender.member;
    let script = scripts.get(product).context("a member without script")?;
    let begins = sender.member.first && sender.seq == 0 || rng.random_bool(alarm_share);
    if begins && sender.alarming == 0 {
        sender.alarming = ALARM_MESSAGES;
    }
    let moment = Moment { boot: sender.boot, seq: sender.seq + 1, ts: now_ms() };
    let payload = script.payload(&moment, sender.alarming > 0, rng).map_err(anyhow::Error::msg)?;
    let topic = format!("iot/v1/{product}/{name}/{}", script.topic);
    // Before the client has it: its connection may be faster than this.
    sender.waiting.fetch_add(1, Ordering::Relaxed);
    if sender.client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_ok() {
        sender.seq += 1;
        sender.alarming = sender.alarming.saturating_sub(1);
    } else {
        sender.waiting.fetch_sub(1, Ordering::Relaxed);
        counters.skipped.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_scripts_can_be_followed() {
        let scripts = load_scripts(Path::new("../../config/simulate.toml")).unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let moment = Moment { boot: 3, seq: 16, ts: 1_795_399_200_000 };
        let smoke = scripts["smoke-01"].payload(&moment, true, &mut rng).unwrap();
        assert_eq!(smoke.len(), 11);
        assert_eq!(smoke[..2], [0xa5, 1]);
        assert_eq!(smoke[3..], [0x6b, 0x03, 0x9e, 0x20, 0, 3, 0, 16]);
        let gas = scripts["gas-01"].payload(&moment, true, &mut rng).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&gas).unwrap();
        assert!(body["params"]["concentration"].as_f64().unwrap() >= 11.0, "{body}");
    }

    #[test]
    fn a_script_with_an_unknown_name_is_refused() {
        let scripts: Scripts =
            toml::from_str("[p]\ntopic = \"up/property\"\ntext = '{\"x\":$x}'\nvalues = {}\n")
                .unwrap();
        assert_eq!(scripts["p"].check(), Err("$x has no values.x".to_owned()));
    }

    #[test]
    fn decimals_place_the_point() {
        assert_eq!(decimal(1234, 1), "123.4");
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(7, 0), "7");
    }
}
