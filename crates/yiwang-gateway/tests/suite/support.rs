//! A gateway over a memory log, and a client of crafted packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use yiwang_core::ids::{Id, key_hash};
use yiwang_core::record::{BodyKind, Command, Lane, Raw};
use yiwang_gateway::{
    Clock, CommandFate, Config, Deps, Directory, Entry, Error, Gateway, Handle, Pepper, RawConfig,
    RawListen, Seal, Share,
};
use yiwang_log::{Batch, BatchLimit, Event, Log, MemoryConfig, Reader, Route, Start, TopicSpec};
use yiwang_proto::command_to_bytes;
use yiwang_proto::wire::{self, RawRecord};

/// Longest wait for anything; only reached when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Where the edge node `g.e` is asked for its births.
pub const NCMD: &str = "spBv1.0/g/NCMD/e";
/// What the fixed clock of the tests says.
pub const NOW: i64 = 1_795_399_200_000;

/// A running gateway.
pub struct Hub {
    pub handle: Handle,
    pub log: Log,
    pub directory: Arc<ArcSwap<Directory>>,
    pub stop: CancellationToken,
    pub running: JoinHandle<Result<(), Error>>,
    raw: Reader,
}

/// A listener on a free port with the limits that would get in a test's way off.
pub fn listener() -> RawListen {
    RawListen {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        connections_per_address_max: 0,
        new_connections_per_second_max: 0,
        messages_per_second_max: 0,
        connects_per_minute_max: 0,
        ..RawListen::default()
    }
}

pub fn intake(listen: RawListen) -> RawConfig {
    RawConfig { name: Some("gw-test".to_owned()), listen: Some(listen), ..RawConfig::default() }
}

pub fn seal(secret: &str) -> Seal {
    pepper().seal(secret.as_bytes())
}

pub fn pepper() -> Pepper {
    Pepper::new(b"a pepper for tests").unwrap()
}

/// `p/a` and `p/b` with secrets `secret-a`, `secret-b`; `p/off` is disabled; `p/a` is the edge node `g.e`.
pub fn directory(devices: &[(&str, &str, bool)]) -> Directory {
    let entries = devices.iter().map(|(device, secret, admitted)| {
        let entry = Entry {
            seal: Some(seal(secret)),
            admitted: *admitted,
            node: (*device == "p/a").then(|| "g.e".into()),
            quota: None,
            share: Share::plain("p"),
        };
        (Box::from(*device), entry)
    });
    Directory::listed(entries, pepper())
}

pub fn devices() -> Directory {
    directory(&[
        ("p/a", "secret-a", true),
        ("p/b", "secret-b", true),
        ("p/off", "secret-off", false),
    ])
}

pub fn topics() -> Vec<TopicSpec> {
    vec![
        TopicSpec::stream("raw", 4, &[]),
        TopicSpec::stream("yiwang.intake.v1", 2, &[]),
        TopicSpec::stream("commands", 2, &[]),
    ]
}

impl Hub {
    pub async fn start(listen: RawListen) -> Self {
        Self::with(intake(listen), Log::open_memory(MemoryConfig::default(), topics()).unwrap())
            .await
    }

    pub async fn with(config: RawConfig, log: Log) -> Self {
        let directory = Arc::new(ArcSwap::from_pointee(devices()));
        let deps =
            Deps { log: log.clone(), directory: Arc::clone(&directory), clock: Clock(|| NOW) };
        let gateway = Gateway::bind(Config::try_from(config).unwrap(), deps).await.unwrap();
        let handle = gateway.handle();
        let stop = CancellationToken::new();
        let running = tokio::spawn(gateway.run(stop.clone()));
        let raw = log.reader("raw", "", Start::Committed).await.unwrap();
        Self { handle, log, directory, stop, running, raw }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.mqtt_address().unwrap()
    }

    /// The next messages on the raw log, ticks left out.
    pub async fn stored(&mut self, count: usize) -> Vec<Stored> {
        let mut stored = Vec::new();
        let read = async {
            while stored.len() < count {
                let event = self.raw.next(BatchLimit { records_max: 1, bytes_max: 1 << 20 }).await;
                let Event::Records(records) = event.unwrap() else { continue };
                for record in records.iter() {
                    match wire::read_raw(record.key, record.value).unwrap() {
                        RawRecord::Raw(raw) => stored.push(Stored::of(records.partition, raw)),
                        RawRecord::Clear(clear) => panic!("no gateway writes {clear:?}"),
                        RawRecord::Tick { origin, received_at } => {
                            assert_eq!((origin, received_at), ("gw-test", NOW));
                        }
                    }
                }
            }
        };
        let done = timeout(PATIENCE, read).await;
        assert!(done.is_ok(), "{} of {count} messages were stored", stored.len());
        stored
    }

    /// Puts a command of the edge node `p/a` on the log.
    pub async fn command(&self, lane: Lane, listener: &str, asked_at: i64) {
        let command = Command {
            id: Id(1),
            device: "p/a".to_owned(),
            lane,
            listener: listener.to_owned(),
            topic: NCMD.to_owned(),
            payload: b"births".to_vec(),
            asked_at,
        };
        let mut batch = Batch::new();
        let route = Route::Key { hash: key_hash(&command.device) };
        let topic = self.log.topic("commands").unwrap();
        batch.push(topic, route, b"p/a", &[], &command_to_bytes(&command));
        self.log.writer().append(batch).await.unwrap().safe().await.unwrap();
    }

    /// Waits until so many commands had this fate.
    pub async fn commands(&self, fate: CommandFate, count: u64) {
        self.until(fate.as_str(), |handle| handle.stats().commands_total(fate) == count).await;
    }

    /// Messages on the raw log, ticks included.
    pub async fn heads(&self) -> u64 {
        let mut sum = 0;
        for partition in 0..self.log.partitions("raw") {
            sum += self.log.head("raw", partition).await.unwrap();
        }
        sum
    }

    /// Waits until the counters say so.
    pub async fn until(&self, what: &str, condition: impl Fn(&Handle) -> bool) {
        let wait = async {
            while !condition(&self.handle) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let done = timeout(PATIENCE, wait).await;
        assert!(done.is_ok(), "{what}: {:?} {:?}", self.handle.ledger(), self.handle.stats());
    }

    /// Stops it and checks that the ledger balances with nothing in flight.
    pub async fn finish(self) -> Handle {
        self.stop.cancel();
        timeout(PATIENCE, self.running).await.expect("it stops").unwrap().unwrap();
        for row in self.handle.ledger().snapshot() {
            assert_eq!((row.imbalance(), row.in_flight), (0, 0), "{row:?}");
            assert!(row.acknowledged <= row.appended, "{row:?}");
        }
        self.handle
    }
}

/// A message as it lies on the raw log.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub partition: u16,
    pub device: String,
    pub lane: Lane,
    pub kind: BodyKind,
    pub path: String,
    pub listener: String,
    pub received_at: i64,
    pub payload: Vec<u8>,
}

impl Stored {
    fn of(partition: u16, raw: Raw<'_>) -> Self {
        Self {
            partition,
            device: raw.device.to_owned(),
            lane: raw.lane,
            kind: raw.kind,
            path: raw.path.to_owned(),
            listener: raw.listener.to_owned(),
            received_at: raw.received_at,
            payload: raw.payload.to_vec(),
        }
    }
}

/// A client that sends exactly the bytes it is told to.
pub struct Client {
    pub stream: TcpStream,
    level: u8,
}

impl Client {
    pub async fn open(address: SocketAddr, level: u8) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), level }
    }

    /// Connects as `p.{name}` with its right secret and expects to be let in.
    pub async fn connect(address: SocketAddr, level: u8, name: &str) -> Self {
        let mut client = Self::open(address, level).await;
        let id = format!("p.{name}");
        client.send(&connect(level, &id, Some(&id), &format!("secret-{name}"), 60)).await;
        let answer = client.packet().await.expect("CONNACK");
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:02x?}");
        client
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn publish(&mut self, topic: &str, packet_id: u16, payload: &[u8]) {
        let bytes = publish(self.level, 0x32, topic, packet_id, payload);
        self.send(&bytes).await;
    }

    /// The next packet, or `None` at the end of the connection.
    pub async fn packet(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let mut packet = vec![0; 2];
            self.stream.read_exact(&mut packet).await.ok()?;
            assert!(packet[1] < 128, "answers are short");
            let mut body = vec![0; usize::from(packet[1])];
            self.stream.read_exact(&mut body).await.ok()?;
            packet.extend(body);
            Some(packet)
        };
        timeout(PATIENCE, read).await.expect("an answer or an end")
    }

    pub async fn closed(&mut self) {
        let packet = self.packet().await;
        assert_eq!(packet, None, "the connection should have been closed");
    }
}

pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

pub fn frame(header: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![header];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 128 } else { 0 };
        bytes.push((length % 128) as u8 | more);
        length /= 128;
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub fn connect(level: u8, id: &str, user: Option<&str>, secret: &str, keep_alive: u16) -> Vec<u8> {
    let flags = if user.is_some() { 0xC2 } else { 0x02 };
    let mut body = [text("MQTT"), vec![level, flags], keep_alive.to_be_bytes().to_vec()].concat();
    if level == 5 {
        body.push(0);
    }
    body.extend(text(id));
    if let Some(user) = user {
        body.extend(text(user));
        body.extend(text(secret));
    }
    frame(0x10, &body)
}

pub fn publish(level: u8, header: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if header & 6 != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    frame(header, &body)
}
