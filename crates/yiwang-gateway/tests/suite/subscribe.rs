//! Client of an outside broker, against a real Mosquitto on a port of its own.
//!
//! The broker's path comes from `YIWANG_TEST_MOSQUITTO`, else `mosquitto` is looked for in `PATH` and `/usr/sbin`.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::support::{self, Hub, topics};
use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
use yiwang_core::record::{BodyKind, Lane};
use yiwang_gateway::{CommandFate, RawConfig, RawSubscribe, Refused, SourceState};
use yiwang_log::{Log, MemoryConfig, Retention, TopicSpec};

/// A Mosquitto of our own; ends with its value.
struct Broker {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Broker {
    fn start() -> Self {
        Self::with("")
    }

    fn with(setting: &str) -> Self {
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n\
             max_queued_messages 0\nlog_dest none\n{setting}\n"
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let child = Self::spawn(&folder, port);
        Self { child, port, folder }
    }

    fn spawn(folder: &tempfile::TempDir, port: u16) -> Child {
        let program = program();
        let child = Command::new(&program)
            .arg("-c")
            .arg(folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!(
                "cannot start {}: {error}; install mosquitto or set YIWANG_TEST_MOSQUITTO",
                program.display()
            )
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = std::time::Instant::now() + support::PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "mosquitto ended at once");
            assert!(std::time::Instant::now() < deadline, "mosquitto does not listen on {port}");
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    /// Kills it and starts it again, without anything it knew.
    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.folder, self.port);
    }

    /// Publishes at QoS 1 and waits for the broker's acknowledgement of each.
    async fn publish(&self, messages: &[(String, String)]) {
        let options = MqttOptions::new("publisher", "127.0.0.1", self.port);
        let (client, mut events) = AsyncClient::new(options, messages.len() + 8);
        for (topic, payload) in messages {
            client.try_publish(topic, QoS::AtLeastOnce, false, payload.as_bytes()).unwrap();
        }
        let mut acked = 0;
        while acked < messages.len() {
            let event = tokio::time::timeout(support::PATIENCE, events.poll()).await.unwrap();
            acked += usize::from(matches!(event.unwrap(), Event::Incoming(Packet::PubAck(_))));
        }
        client.try_disconnect().unwrap();
        while !matches!(events.poll().await, Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)) {}
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("YIWANG_TEST_MOSQUITTO") {
        return PathBuf::from(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join("mosquitto"));
    programs
        .find(|program| program.is_file())
        .expect("no mosquitto in PATH or /usr/sbin: install it, or set YIWANG_TEST_MOSQUITTO")
}

fn subscription(broker: &Broker) -> RawConfig {
    let source = RawSubscribe {
        name: "town-broker".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: broker.port,
        client_id: "yiwang-1".to_owned(),
        user: None,
        password: None,
        filters: ["iot/v1/+/+/up/#", "other/#", "spBv1.0/#"].map(str::to_owned).into(),
        qos: 1,
        keep_alive_s: 5,
        packet_bytes_max: 1024 * 1024,
        queue_max: 1024,
        reconnect_max_ms: 200,
    };
    RawConfig { name: Some("gw-test".to_owned()), subscribe: vec![source], ..RawConfig::default() }
}

async fn hub(broker: &Broker, log: Log) -> Hub {
    let hub = Hub::with(subscription(broker), log).await;
    hub.until("the broker is connected", is_up).await;
    hub
}

fn is_up(handle: &yiwang_gateway::Handle) -> bool {
    handle.sources().all(|(_, state)| state == SourceState::Up)
}

fn memory() -> Log {
    Log::open_memory(MemoryConfig::default(), topics()).unwrap()
}

fn numbered(from: usize, to: usize) -> Vec<(String, String)> {
    let message = |n: usize| (format!("iot/v1/p/d{}/up/property", n % 3), n.to_string());
    (from..to).map(message).collect()
}

/// All of them are there, in order per device.
fn assert_numbered(stored: &[support::Stored], from: usize, to: usize) {
    assert_eq!(stored.len(), to - from);
    for device in 0..3 {
        let key = format!("p/d{device}");
        let own = stored.iter().filter(|raw| raw.device == key);
        let own: Vec<usize> =
            own.map(|raw| String::from_utf8_lossy(&raw.payload).parse().unwrap()).collect();
        let expected: Vec<_> = (from..to).filter(|n| n % 3 == device).collect();
        assert_eq!(own, expected, "{key}");
    }
}

#[tokio::test]
async fn stores_what_a_broker_has() {
    let broker = Broker::start();
    let mut hub = hub(&broker, memory()).await;
    broker.publish(&numbered(0, 300)).await;
    let stored = hub.stored(300).await;
    assert_numbered(&stored, 0, 300);
    assert!(stored.iter().all(|raw| raw.lane == Lane::Subscribe && raw.listener == "town-broker"));
    // A topic that names no device is kept for the router to judge.
    broker.publish(&[("other/thing".to_owned(), "x".to_owned())]).await;
    let strange = hub.stored(1).await.remove(0);
    assert_eq!((strange.device.as_str(), strange.path.as_str()), ("", "other/thing"));
    assert_eq!(strange.kind, BodyKind::Other);
    hub.until("all is acknowledged", |handle| {
        handle.ledger().row(Lane::Subscribe).acknowledged == 301
    })
    .await;
    hub.finish().await;
}

#[tokio::test]
async fn messages_of_an_edge_node_are_those_of_its_device() {
    let broker = Broker::start();
    let mut hub = hub(&broker, memory()).await;
    let topics = [
        "spBv1.0/STATE/host",
        "spBv1.0/g/NBIRTH/e",
        "spBv1.0/g/DBIRTH/e/d1",
        "spBv1.0/g/NCMD/e",
        "spBv1.0/g/DDATA/e/d1",
        "spBv1.0/g/NDEATH/e",
        "spBv1.0/g/NDATA/f",
        "spBv1.0/g/NDATA",
        "spBv1.0/g/DCMD/e/d1",
    ];
    broker.publish(&topics.map(|topic| (topic.to_owned(), "x".to_owned()))).await;
    let mut stored = hub.stored(6).await;
    assert!(stored.iter().all(|raw| raw.lane == Lane::Subscribe));
    let strange = stored.iter().position(|raw| raw.path == "spBv1.0/g/NDATA").unwrap();
    let strange = stored.remove(strange);
    assert_eq!((strange.device.as_str(), strange.kind), ("", BodyKind::Other));
    assert!(stored.iter().all(|raw| raw.kind == BodyKind::Raw));
    let of = |device: &str| {
        let own = stored.iter().filter(|raw| raw.device == device);
        own.map(|raw| raw.path.trim_start_matches("spBv1.0/g/")).collect::<Vec<_>>()
    };
    assert_eq!(of("p/a"), ["NBIRTH/e", "DBIRTH/e/d1", "DDATA/e/d1", "NDEATH/e"], "in order");
    assert_eq!(of("g.f"), ["NDATA/f"], "nobody's, for the router to judge");
    // What hosts say is taken off the broker and counted, and is no record.
    let refused = |handle: &yiwang_gateway::Handle| {
        let row = handle.ledger().row(Lane::Subscribe);
        (row.refused[Refused::NotAllowed as usize], row.acknowledged) == (3, 6)
    };
    hub.until("all is acknowledged", refused).await;
    hub.finish().await;
}

#[tokio::test]
async fn a_command_goes_to_the_broker_that_its_node_was_heard_by() {
    let broker = Broker::start();
    let hub = hub(&broker, memory()).await;
    let (client, mut events) =
        AsyncClient::new(MqttOptions::new("node", "127.0.0.1", broker.port), 8);
    client.try_subscribe(support::NCMD, QoS::AtMostOnce).unwrap();
    let asked = async {
        loop {
            match events.poll().await.unwrap() {
                Event::Incoming(Packet::SubAck(_)) => {
                    hub.command(Lane::Subscribe, "another-broker", support::NOW).await;
                    hub.command(Lane::Subscribe, "town-broker", support::NOW).await;
                    hub.command(Lane::Subscribe, "town-broker", support::NOW).await;
                }
                Event::Incoming(Packet::Publish(publish)) => return publish,
                _ => {}
            }
        }
    };
    let publish = tokio::time::timeout(support::PATIENCE, asked).await.expect("it is asked");
    assert_eq!((&*publish.topic, &*publish.payload), (support::NCMD, &b"births"[..]));
    assert!(!publish.retain && publish.qos == QoS::AtMostOnce);
    hub.commands(CommandFate::TooOften, 1).await;
    // Our own command comes back by our own subscription, and is no message of a device.
    let refused = |handle: &yiwang_gateway::Handle| {
        handle.ledger().row(Lane::Subscribe).refused[Refused::NotAllowed as usize] == 1
    };
    hub.until("it comes back", refused).await;
    let handle = hub.finish().await;
    assert_eq!(handle.stats().commands_total(CommandFate::Sent), 1);
}

#[tokio::test]
async fn what_was_not_safe_comes_again() {
    let broker = Broker::start();
    // A full topic with an unread reader: nothing becomes safe.
    let mut raw = TopicSpec::stream("raw", 1, &["router"]);
    raw.retention = Retention { bytes_max: 1, ..Retention::default() };
    let stuck = hub(&broker, Log::open_memory(MemoryConfig::default(), vec![raw]).unwrap()).await;
    stuck.until("a tick fills the topic", |handle| handle.stats().ticks_total() > 0).await;
    broker.publish(&numbered(0, 50)).await;
    stuck
        .until("some are on their way", |handle| handle.ledger().row(Lane::Subscribe).in_flight > 0)
        .await;
    // It ends as a killed process does: without another word.
    stuck.running.abort();
    let _ = stuck.running.await;
    assert_eq!(stuck.handle.ledger().row(Lane::Subscribe).acknowledged, 0);
    let mut hub = hub(&broker, memory()).await;
    assert_numbered(&hub.stored(50).await, 0, 50);
    hub.finish().await;
}

#[tokio::test]
async fn subscribes_again_where_the_broker_forgot() {
    let mut broker = Broker::start();
    let mut hub = hub(&broker, memory()).await;
    broker.publish(&numbered(0, 10)).await;
    hub.stored(10).await;
    broker.restart();
    hub.until("it is back", |handle| handle.stats().reconnects_total() > 0 && is_up(handle)).await;
    broker.publish(&numbered(10, 20)).await;
    assert_numbered(&hub.stored(10).await, 10, 20);
    hub.finish().await;
}

#[tokio::test]
async fn stop_acknowledges_what_is_safe() {
    let broker = Broker::start();
    let mut first = hub(&broker, memory()).await;
    broker.publish(&numbered(0, 30)).await;
    first.stored(30).await;
    let handle = first.finish().await;
    assert_eq!(handle.ledger().row(Lane::Subscribe).acknowledged, 30);
    // The session lives on at the broker; what comes meanwhile waits there.
    broker.publish(&numbered(30, 40)).await;
    let mut second = hub(&broker, memory()).await;
    assert_numbered(&second.stored(10).await, 30, 40);
    second.finish().await;
}

/// A broker without a window sends all that it has; Mosquitto 2.0.11 does so with every session that it resumes.
#[tokio::test]
async fn a_backlog_is_drained_however_much_comes_at_once() {
    const BACKLOG: usize = 20_000;
    let broker = Broker::with("max_inflight_messages 0");
    let mut config = subscription(&broker);
    config.subscribe[0].queue_max = 256;
    let first = Hub::with(config.clone(), memory()).await;
    first.until("the session is there", is_up).await;
    first.finish().await;
    broker.publish(&numbered(0, BACKLOG)).await;
    let mut hub = Hub::with(config.clone(), memory()).await;
    let mut seen = HashSet::new();
    assert_numbered(&first_times(&mut hub, &mut seen, BACKLOG).await, 0, BACKLOG);
    let handle = hub.finish().await;
    assert_eq!(handle.stats().reconnects_total(), 0, "one connection does it");
    let mut next = Hub::with(config, memory()).await;
    broker.publish(&numbered(BACKLOG, BACKLOG + 10)).await;
    let stored = first_times(&mut next, &mut seen, 10).await;
    assert_numbered(&stored, BACKLOG, BACKLOG + 10);
    next.finish().await;
}

/// So many messages that were not seen before: what was sent ahead of its acknowledgement may come again.
async fn first_times(
    hub: &mut Hub,
    seen: &mut HashSet<Vec<u8>>,
    count: usize,
) -> Vec<support::Stored> {
    let mut stored = Vec::new();
    while stored.len() < count {
        let some = hub.stored(1).await;
        stored.extend(some.into_iter().filter(|raw| seen.insert(raw.payload.clone())));
    }
    stored
}

#[tokio::test]
async fn broker_away_is_told_and_waited_for() {
    let mut broker = Broker::start();
    let config = subscription(&broker);
    broker.child.kill().unwrap();
    broker.child.wait().unwrap();
    let hub = Hub::with(config, memory()).await;
    let down = |handle: &yiwang_gateway::Handle| {
        handle
            .sources()
            .all(|(name, state)| name == "town-broker" && matches!(state, SourceState::Down(_)))
    };
    hub.until("it is told that the broker is away", down).await;
    broker.child = Broker::spawn(&broker.folder, broker.port);
    hub.until("it came back by itself", is_up).await;
    hub.finish().await;
}
