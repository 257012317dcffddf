//! The `[intake]` section: what devices connect to, which brokers we subscribe to, which Kafka topics we read.
//!
//! [`RawConfig`] is what stands in a file; [`Config`] is checked, and nothing else is accepted by the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The `[intake]` section as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Name of this gateway in ticks; must differ between gateways.
    pub name: Option<String>,
    /// Our own MQTT front; absent means none.
    pub listen: Option<RawListen>,
    /// Outside brokers to subscribe to.
    pub subscribe: Vec<RawSubscribe>,
    /// Kafka intake; absent means none.
    pub kafka: Option<RawKafka>,
    /// What holds while the log has less room than is sent.
    pub pressure: RawPressure,
}

/// `[intake.pressure]` as written: who goes next is a matter of the owners' weights and of life safety.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPressure {
    /// Bytes that may stand at the log's door without having waited; the others wait for their turn.
    pub door_bytes_max: usize,
    /// Batches of life safety in a row while others wait.
    pub life_safety_run_max: u32,
}

impl Default for RawPressure {
    fn default() -> Self {
        Self { door_bytes_max: 1024 * 1024, life_safety_run_max: 32 }
    }
}

/// `[intake.listen]` as written. A limit of 0 is off where the comment says so.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawListen {
    /// Name in records and counters.
    pub name: String,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Allows plaintext on other addresses than loopback.
    pub insecure_dev: bool,
    /// Live connections in all.
    pub connections_max: usize,
    /// Connections whose CONNECT is awaited.
    pub handshakes_max: usize,
    /// Live connections from one address; 0 is off.
    pub connections_per_address_max: u32,
    /// New connections from one address in a second; 0 is off.
    pub new_connections_per_second_max: u32,
    /// Connects of one device in a minute; 0 is off.
    pub connects_per_minute_max: u32,
    /// How long a device that connects too often is refused.
    pub connects_off_s: u64,
    /// Time for CONNECT.
    pub connect_timeout_ms: u64,
    /// Shortest keep-alive that is honoured.
    pub keep_alive_min_s: u16,
    /// Longest keep-alive; none means this.
    pub keep_alive_max_s: u16,
    /// Largest packet of a device whose product does not say.
    pub packet_bytes_max: usize,
    /// Messages of a device in a second, where its product does not say; 0 is off for all.
    pub messages_per_second_max: u32,
    /// Messages of a device at once, where the rate is limited.
    pub burst_max: u32,
    /// Unacknowledged messages of a connection.
    pub receive_maximum: u16,
    /// Topic aliases of a connection.
    pub topic_aliases_max: u16,
    /// Subscriptions of a connection.
    pub subscriptions_max: u16,
    /// Unacknowledged bytes of a connection, beyond which its socket is not read.
    pub in_flight_bytes_max: usize,
    /// Bytes taken from a socket at once.
    pub read_bytes: usize,
    /// Bytes kept unread behind a waiting log, so that PINGREQ is still seen.
    pub look_ahead_bytes_max: usize,
    /// What becomes of QoS 0 messages while the log waits.
    pub qos0: Qos0Policy,
    /// How long the log must wait for room before QoS 0 is dropped.
    pub shed_after_ms: u64,
    /// How long a peer may take to read what we write.
    pub write_timeout_ms: u64,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            name: "mqtt".to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 1883)),
            insecure_dev: false,
            connections_max: 100_000,
            handshakes_max: 200,
            connections_per_address_max: 50,
            new_connections_per_second_max: 10,
            connects_per_minute_max: 30,
            connects_off_s: 300,
            connect_timeout_ms: 5_000,
            keep_alive_min_s: 30,
            keep_alive_max_s: 1_200,
            packet_bytes_max: 64 * 1024,
            messages_per_second_max: 10,
            burst_max: 100,
            receive_maximum: 100,
            topic_aliases_max: 16,
            subscriptions_max: 50,
            in_flight_bytes_max: 1024 * 1024,
            read_bytes: 128 * 1024,
            look_ahead_bytes_max: 256 * 1024,
            qos0: Qos0Policy::Shed,
            shed_after_ms: 1_000,
            write_timeout_ms: 10_000,
        }
    }
}

/// What becomes of QoS 0 messages while the log waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Qos0Policy {
    /// Dropped and counted once the connection's buffer is full, so that what has an acknowledgement gets through.
    Shed,
    /// Kept; the socket is not read until the log takes them.
    Wait,
}

/// `[[intake.subscribe]]` as written: one connection to a broker.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawSubscribe {
    /// Name in records and counters.
    pub name: String,
    /// Host name or address of the broker.
    pub host: String,
    /// Port of the broker.
    #[serde(default = "mqtt_port")]
    pub port: u16,
    /// Client id; it must stay the same over restarts and differ between connections.
    pub client_id: String,
    /// User name.
    #[serde(default)]
    pub user: Option<String>,
    /// Password; comes from a file or the environment, never from the file of settings.
    #[serde(default)]
    pub password: Option<String>,
    /// Filters; those of several connections must be disjoint.
    #[serde(default = "all_devices")]
    pub filters: Vec<String>,
    /// QoS of the subscription: 0 or 1.
    #[serde(default = "one")]
    pub qos: u8,
    /// Keep-alive.
    #[serde(default = "half_a_minute")]
    pub keep_alive_s: u16,
    /// Largest packet; one that is larger ends the connection each time, so keep it above the broker's own limit.
    #[serde(default = "broker_packet")]
    pub packet_bytes_max: usize,
    /// Messages between the broker and the log; while so many wait, nothing more is read.
    #[serde(default = "queue")]
    pub queue_max: usize,
    /// Longest pause between two attempts to connect.
    #[serde(default = "half_a_minute_ms")]
    pub reconnect_max_ms: u64,
}

fn mqtt_port() -> u16 {
    1883
}
fn all_devices() -> Vec<String> {
    vec!["iot/v1/+/+/up/#".to_owned()]
}
fn one() -> u8 {
    1
}
fn half_a_minute() -> u16 {
    30
}
fn half_a_minute_ms() -> u64 {
    30_000
}
fn broker_packet() -> usize {
    1024 * 1024
}
fn queue() -> usize {
    4_096
}

/// `[intake.kafka]` as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawKafka {
    /// Topics whose key is `pk/dn` and whose value is a native property body.
    pub topics: Vec<String>,
    /// Consumer group.
    pub group: String,
}

impl Default for RawKafka {
    fn default() -> Self {
        Self { topics: vec!["yiwang.intake.v1".to_owned()], group: "yiwang-gateway".to_owned() }
    }
}

/// A checked `[intake]` section.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this gateway in ticks.
    pub name: String,
    /// Our own MQTT front.
    pub listen: Option<RawListen>,
    /// Outside brokers.
    pub subscribe: Vec<RawSubscribe>,
    /// Kafka intake.
    pub kafka: Option<RawKafka>,
    /// What holds under pressure.
    pub pressure: RawPressure,
}

impl TryFrom<RawConfig> for Config {
    type Error = Error;

    fn try_from(raw: RawConfig) -> Result<Self, Error> {
        if let Some(listen) = &raw.listen {
            check_listen(listen)?;
        }
        for (index, source) in raw.subscribe.iter().enumerate() {
            check_subscribe(source)?;
            let twin = raw.subscribe[..index]
                .iter()
                .any(|other| other.client_id == source.client_id || other.name == source.name);
            if twin {
                return Err(refuse(
                    "subscribe.client_id",
                    &source.client_id,
                    "give every connection a name and client id of its own",
                ));
            }
        }
        if let Some(kafka) = &raw.kafka
            && kafka.topics.is_empty()
        {
            return Err(refuse("kafka.topics", "[]", "name a topic or leave the section out"));
        }
        if raw.pressure.life_safety_run_max == 0 {
            let remedy = "must be at least 1: life safety goes first";
            return Err(refuse("pressure.life_safety_run_max", 0, remedy));
        }
        let RawConfig { name, listen, subscribe, kafka, pressure } = raw;
        let name = name.unwrap_or_else(|| "gateway".to_owned());
        Ok(Self { name, listen, subscribe, kafka, pressure })
    }
}

fn check_listen(listen: &RawListen) -> Result<(), Error> {
    if !listen.address.ip().is_loopback() && !listen.insecure_dev {
        return Err(refuse(
            "listen.address",
            listen.address,
            "plaintext is for loopback only: put a TLS proxy in front, or set insecure_dev",
        ));
    }
    let least_one: [(&'static str, u64); 8] = [
        ("listen.connections_max", listen.connections_max as u64),
        ("listen.handshakes_max", listen.handshakes_max as u64),
        ("listen.connect_timeout_ms", listen.connect_timeout_ms),
        ("listen.write_timeout_ms", listen.write_timeout_ms),
        ("listen.keep_alive_min_s", u64::from(listen.keep_alive_min_s)),
        ("listen.receive_maximum", u64::from(listen.receive_maximum)),
        ("listen.in_flight_bytes_max", listen.in_flight_bytes_max as u64),
        ("listen.read_bytes", listen.read_bytes as u64),
    ];
    if let Some((key, value)) = least_one.into_iter().find(|(_, value)| *value == 0) {
        return Err(refuse(key, value, "must be at least 1"));
    }
    if listen.keep_alive_max_s < listen.keep_alive_min_s {
        let remedy = "must not be less than keep_alive_min_s";
        return Err(refuse("listen.keep_alive_max_s", listen.keep_alive_max_s, remedy));
    }
    if !(128..=256 * 1024).contains(&listen.packet_bytes_max) {
        let remedy = "must lie between 128 and 262144";
        return Err(refuse("listen.packet_bytes_max", listen.packet_bytes_max, remedy));
    }
    if listen.messages_per_second_max > 0 && listen.burst_max == 0 {
        return Err(refuse("listen.burst_max", 0, "must be at least 1 where the rate is limited"));
    }
    Ok(())
}

fn check_subscribe(source: &RawSubscribe) -> Result<(), Error> {
    if source.client_id.is_empty() {
        let remedy = "a persistent session needs a fixed client id";
        return Err(refuse("subscribe.client_id", "\"\"", remedy));
    }
    if source.qos > 1 {
        return Err(refuse("subscribe.qos", source.qos, "must be 0 or 1"));
    }
    if source.queue_max == 0 || source.queue_max > 65_535 {
        return Err(refuse("subscribe.queue_max", source.queue_max, "must be 1 to 65535"));
    }
    if source.keep_alive_s < 5 {
        return Err(refuse("subscribe.keep_alive_s", source.keep_alive_s, "must be at least 5"));
    }
    let bad = source.filters.iter().find(|filter| !yiwang_core::topic::is_filter(filter));
    if let Some(filter) = bad {
        return Err(refuse("subscribe.filters", filter, "not a filter of MQTT"));
    }
    if source.filters.is_empty() {
        return Err(refuse("subscribe.filters", "[]", "name at least one filter"));
    }
    Ok(())
}

fn refuse(key: &'static str, value: impl ToString, remedy: &'static str) -> Error {
    Error::Config { key, value: value.to_string(), remedy }
}

impl RawListen {
    pub(crate) fn shed_after(&self) -> Duration {
        Duration::from_millis(self.shed_after_ms)
    }

    /// The time in which a connection with this keep-alive must be heard: 1.5 times what counts of it.
    pub(crate) fn silence_max(&self, keep_alive_s: u16) -> Duration {
        Duration::from_millis(u64::from(self.keep_alive_s(keep_alive_s)) * 1_500)
    }

    /// What counts of the keep-alive that a client asked for: 0 and too long count as the longest.
    pub(crate) fn keep_alive_s(&self, asked_s: u16) -> u16 {
        match asked_s {
            0 => self.keep_alive_max_s,
            asked => asked.clamp(self.keep_alive_min_s, self.keep_alive_max_s),
        }
    }
}
