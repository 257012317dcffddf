//! A small blocking MQTT publisher (3.1.1 and 5.0, QoS 1) that knows exactly which publish was acknowledged.
//!
//! Client libraries hide the packet id and resend by themselves; an accounting of what was acknowledged needs neither
//! hidden. It is also the load generator of the benchmarks, so a publish costs no allocation.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Protocol level of CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    V5,
}

/// Who connects, and how.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// Protocol level.
    pub version: Version,
    /// Client id.
    pub client_id: &'a str,
    /// User name and password; none for an open broker.
    pub credentials: Option<(&'a str, &'a str)>,
}

/// One packet from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// PUBACK of a packet id; the reason code is 0 in 3.1.1.
    PubAck(u16, u8),
    /// The server says good-bye with a reason code (5.0).
    Disconnect(u8),
    /// A PUBLISH of QoS 0: topic and payload.
    Publish(String, Vec<u8>),
    /// Anything else, by packet type.
    Other(u8),
}

/// A connection after its CONNACK.
pub struct Connection {
    stream: TcpStream,
    version: Version,
    out: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Connects and waits for the CONNACK.
    ///
    /// # Errors
    /// The socket's; `PermissionDenied` with the code if the server refuses the login.
    pub fn open(address: SocketAddr, login: &Login<'_>) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(&connect_packet(login))?;
        let mut connection = Self {
            stream,
            version: login.version,
            out: Vec::with_capacity(1 << 16),
            input: vec![0; 1 << 16],
            filled: 0,
        };
        let (kind, body) = connection.read_packet()?;
        match (kind >> 4, body.get(1)) {
            (2, Some(0)) => Ok(connection),
            (2, Some(code)) => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("CONNACK {code:#04x}")))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the first packet was no CONNACK")),
        }
    }

    /// Puts a PUBLISH into the buffer; [`Connection::flush`] sends it.
    pub fn publish(&mut self, topic: &str, packet_id: u16, payload: &[u8]) {
        self.put(0x32, topic, &packet_id.to_be_bytes(), payload);
    }

    /// The same at QoS 0: no acknowledgement will come.
    pub fn publish_qos0(&mut self, topic: &str, payload: &[u8]) {
        self.put(0x30, topic, &[], payload);
    }

    fn put(&mut self, first: u8, topic: &str, packet_id: &[u8], payload: &[u8]) {
        let properties = usize::from(self.version == Version::V5);
        let out = &mut self.out;
        out.push(first);
        remaining_length(2 + topic.len() + packet_id.len() + properties + payload.len(), out);
        out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
        out.extend_from_slice(packet_id);
        if properties == 1 {
            out.push(0);
        }
        out.extend_from_slice(payload);
    }

    /// Sends what is in the buffer.
    ///
    /// # Errors
    /// The socket's.
    pub fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.write_all(&self.out);
        self.out.clear();
        sent
    }

    /// Puts a SUBSCRIBE of QoS 0 into the buffer.
    pub fn subscribe(&mut self, filter: &str, packet_id: u16) {
        let properties = usize::from(self.version == Version::V5);
        let out = &mut self.out;
        out.push(0x82);
        remaining_length(2 + properties + 2 + filter.len() + 1, out);
        out.extend_from_slice(&packet_id.to_be_bytes());
        if properties == 1 {
            out.push(0);
        }
        out.extend_from_slice(&(filter.len() as u16).to_be_bytes());
        out.extend_from_slice(filter.as_bytes());
        out.push(0);
    }

    /// Sends bytes as they are: for packets no well-behaved client would send.
    ///
    /// # Errors
    /// The socket's.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for at least one packet and hands over all that have arrived.
    ///
    /// # Errors
    /// The socket's; `UnexpectedEof` when the server closed.
    pub fn receive(&mut self, mut each: impl FnMut(Incoming)) -> io::Result<()> {
        let version = self.version;
        loop {
            let mut at = 0;
            while let Some((head, end)) = frame(&self.input[at..self.filled]) {
                each(understand(version, self.input[at], &self.input[at + head..at + end]));
                at += end;
            }
            if at > 0 {
                self.input.copy_within(at..self.filled, 0);
                self.filled -= at;
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn read_packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((head, end)) = frame(&self.input[..self.filled]) {
                let packet = (self.input[0], self.input[head..end].to_vec());
                self.input.copy_within(end..self.filled, 0);
                self.filled -= end;
                return Ok(packet);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let read = self.stream.read(&mut self.input[self.filled..])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ));
        }
        self.filled += read;
        Ok(())
    }
}

fn understand(version: Version, first: u8, body: &[u8]) -> Incoming {
    let code =
        |at: usize| if version == Version::V5 { body.get(at).copied().unwrap_or(0) } else { 0 };
    match (first >> 4, body) {
        (4, [high, low, ..]) => Incoming::PubAck(u16::from_be_bytes([*high, *low]), code(2)),
        (14, _) => Incoming::Disconnect(code(0)),
        (3, [high, low, rest @ ..]) if first & 6 == 0 => {
            let (topic, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            // Nobody who publishes to us sends properties, so their length is one byte.
            let payload = if version == Version::V5 { &rest[1..] } else { rest };
            Incoming::Publish(String::from_utf8_lossy(topic).into_owned(), payload.to_vec())
        }
        (kind, _) => Incoming::Other(kind),
    }
}

fn connect_packet(login: &Login<'_>) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T'];
    body.push(if login.version == Version::V5 { 5 } else { 4 });
    body.push(if login.credentials.is_some() { 0xC2 } else { 0x02 });
    body.extend_from_slice(&120_u16.to_be_bytes());
    if login.version == Version::V5 {
        body.push(0);
    }
    let mut text = |text: &str| {
        body.extend_from_slice(&(text.len() as u16).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    };
    text(login.client_id);
    if let Some((user, password)) = login.credentials {
        text(user);
        text(password);
    }
    let mut packet = vec![0x10];
    remaining_length(body.len(), &mut packet);
    packet.extend_from_slice(&body);
    packet
}

fn remaining_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return;
        }
    }
}

/// Where the body of the first packet begins and ends, once it is whole.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut length, mut shift, mut at) = (0_usize, 0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (bytes.len() >= at + length).then_some((at, at + length))
}

/// A bounded load of QoS 1 publishes.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// One connection each: client id, password (none for an open broker) and topic.
    pub clients: Vec<LoadClient>,
    /// Unacknowledged publishes of a connection.
    pub window: u16,
    /// Messages of each connection.
    pub messages: u64,
    /// Messages a second of each connection; 0 for as fast as acknowledgements come.
    pub rate: f64,
}

/// One connection of a [`Load`].
#[derive(Clone, Debug)]
pub struct LoadClient {
    /// Client id, also the user name.
    pub id: String,
    /// Password; none for an open broker.
    pub password: Option<String>,
    /// Topic of every message.
    pub topic: String,
}

/// Makes the payload of a client's message: client number, message number, buffer.
pub type Payload = dyn Fn(usize, u64, &mut Vec<u8>) + Send + Sync;

impl Load {
    /// Runs it; every message is acknowledged when this returns.
    ///
    /// # Errors
    /// The first socket error, or a refusal.
    pub fn run(&self, payload: &Payload) -> io::Result<LoadReport> {
        let begun = std::time::Instant::now();
        let results: Vec<io::Result<Vec<u32>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.clients.len())
                .map(|number| scope.spawn(move || self.one(number, payload)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a load thread does not panic"))
                .collect()
        });
        let seconds = begun.elapsed().as_secs_f64();
        let mut latencies = Vec::new();
        for result in results {
            latencies.extend(result?);
        }
        latencies.sort_unstable();
        Ok(LoadReport { seconds, messages: self.messages * self.clients.len() as u64, latencies })
    }

    fn one(&self, number: usize, payload: &Payload) -> io::Result<Vec<u32>> {
        let client = &self.clients[number];
        let login = Login {
            version: Version::V311,
            client_id: &client.id,
            credentials: client.password.as_deref().map(|password| (client.id.as_str(), password)),
        };
        let mut connection = Connection::open(self.address, &login)?;
        let begun = std::time::Instant::now();
        let (mut sent, mut acknowledged) = (0_u64, 0_u64);
        let mut sent_at = vec![begun; usize::from(self.window)];
        let mut latencies = Vec::with_capacity((self.messages / SAMPLE + 1) as usize);
        let mut body = Vec::new();
        while acknowledged < self.messages {
            let now = std::time::Instant::now();
            let allowed = self.allowed(begun, now);
            while sent < allowed.min(acknowledged + u64::from(self.window)) {
                body.clear();
                payload(number, sent, &mut body);
                let slot = sent % u64::from(self.window);
                sent_at[slot as usize] = now;
                connection.publish(&client.topic, slot as u16 + 1, &body);
                sent += 1;
            }
            connection.flush()?;
            if sent == acknowledged {
                // Ahead of the schedule with nothing outstanding: wait for the next message's time.
                std::thread::sleep(Duration::from_micros(200));
                continue;
            }
            let mut refused = None;
            connection.receive(|packet| match packet {
                Incoming::PubAck(id, 0 | 0x10) => {
                    if acknowledged % SAMPLE == 0 {
                        let at = sent_at[usize::from(id - 1)];
                        latencies.push(at.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
                    }
                    acknowledged += 1;
                }
                other => refused = Some(other),
            })?;
            if let Some(other) = refused {
                return Err(io::Error::other(format!("the server answered {other:?}")));
            }
        }
        Ok(latencies)
    }

    fn allowed(&self, begun: std::time::Instant, now: std::time::Instant) -> u64 {
        if self.rate <= 0.0 {
            return self.messages;
        }
        let due = (now - begun).as_secs_f64() * self.rate;
        self.messages.min(due as u64 + 1)
    }
}

/// One latency in so many messages is kept.
const SAMPLE: u64 = 16;

/// What a [`Load`] measured.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// From the first connect to the last acknowledgement.
    pub seconds: f64,
    /// How many were acknowledged.
    pub messages: u64,
    /// Sampled PUBLISH-to-PUBACK times in µs, ascending.
    pub latencies: Vec<u32>,
}

impl LoadReport {
    /// Messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// A quantile of the latencies in ms.
    #[must_use]
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * quantile).round() as usize;
        self.latencies.get(at).copied().map_or(0.0, |us| f64::from(us) / 1000.0)
    }
}
