//! One device's connection after CONNACK: frames in, one batch per read into the log, PUBACKs out in arrival order.
//!
//! Invariant: a PUBACK of success is written only after the receipt of its batch, and in the order of arrival. While the
//! log waits for room, or a limit is reached, PUBLISHes stay in the buffer and PINGREQs behind them are answered all the
//! same; a full buffer stops reading, and with it the keep-alive.

mod pass;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};
use yiwang_core::record::{BodyKind, Lane, Raw};
use yiwang_core::topic::Identity;
use yiwang_log::{Batch, Halt};

use super::connect::Will;
use super::control::{self, Closed, Subscriptions};
use super::limits::Bucket;
use super::publish::Version;
use super::sessions::Lease;
use super::{Shared, linger};
use crate::admission::Share;
use crate::config::Qos0Policy;
use crate::directory::Quota;
use crate::ledger::Row;
use crate::pipeline::{Pipeline, Step};
use crate::stats::CommandFate;

/// The code of a PUBACK that says: stored.
const STORED: u8 = 0;
/// Bytes that a quiet connection reads at once.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Who connected and what was agreed.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) version: Version,
    pub(crate) identity: Identity,
    /// Key hash that places what it writes.
    pub(crate) place: u64,
    pub(crate) peer: String,
    pub(crate) packet_bytes_max: usize,
    /// Largest packet that the device takes.
    pub(crate) peer_packet_bytes_max: usize,
    pub(crate) quota: Option<Quota>,
    pub(crate) share: Share,
    /// The death of an edge node.
    pub(crate) will: Option<Will>,
    pub(crate) silence_max: Duration,
    /// What came behind the CONNECT in the same read.
    pub(crate) buffer: BytesMut,
}

/// The answers to one batch, in arrival order, and what it weighs.
#[derive(Debug, Default)]
struct Group {
    acks: Vec<Ack>,
    records: u64,
    record_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Ack {
    packet_id: u16,
    code: u8,
}

/// Why frames stay in the buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    /// Nothing is held; what is left is the beginning of a frame.
    No,
    /// By the log, or by what is unacknowledged.
    UntilStep,
    /// By the device's rate.
    Until(std::time::Instant),
}

enum Wake {
    Step(Result<Step<Group>, Halt>),
    Kicked(Closed),
    Mail,
    Readable(io::Result<()>),
    Timer,
}

/// A live connection.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    lease: Lease,
    version: Version,
    identity: Identity,
    key_hash: u64,
    peer: String,
    packet_bytes_max: usize,
    peer_packet_bytes_max: usize,
    silence_max: Duration,

    buffer: BytesMut,
    read_bytes: usize,
    /// Bytes of the buffer in which every PINGREQ has been answered.
    scanned: usize,
    held: Held,
    out: Vec<u8>,
    pipeline: Pipeline<Group>,
    /// QoS 1 messages without PUBACK.
    in_flight: usize,
    in_flight_bytes: usize,
    aliases: Vec<Box<str>>,
    subscriptions: Subscriptions,
    bucket: Option<Bucket>,
    will: Option<Will>,

    timer: std::pin::Pin<Box<Sleep>>,
    heard: Instant,
    waiting_since: Option<Instant>,
    at_end: bool,
    draining: bool,
}

impl Connection {
    pub(crate) fn new(
        shared: Arc<Shared>,
        stream: TcpStream,
        lease: Lease,
        agreed: Agreed,
    ) -> Self {
        let now = Instant::now();
        let (rate, burst) = match agreed.quota {
            Some(quota) => (quota.messages_per_second, quota.burst),
            None => (shared.listen.messages_per_second_max.into(), shared.listen.burst_max),
        };
        let limited = shared.listen.messages_per_second_max > 0 && rate > 0.0;
        let bucket = limited.then(|| Bucket::new(rate, burst, now.into_std()));
        Self {
            key_hash: agreed.place,
            pipeline: Pipeline::new(shared.intake.door(agreed.share)),
            shared,
            stream,
            lease,
            version: agreed.version,
            identity: agreed.identity,
            peer: agreed.peer,
            packet_bytes_max: agreed.packet_bytes_max,
            peer_packet_bytes_max: agreed.peer_packet_bytes_max,
            silence_max: agreed.silence_max,
            buffer: agreed.buffer,
            scanned: 0,
            held: Held::No,
            out: Vec::new(),
            read_bytes: READ_BYTES_MIN,
            in_flight: 0,
            in_flight_bytes: 0,
            aliases: Vec::new(),
            subscriptions: Subscriptions::default(),
            bucket,
            will: agreed.will,
            timer: Box::pin(tokio::time::sleep_until(now + agreed.silence_max)),
            heard: now,
            waiting_since: None,
            at_end: false,
            draining: false,
        }
    }

    /// Serves the connection to its end, and what it appended to its receipt.
    pub(crate) async fn run(mut self) -> Closed {
        let closed = match self.serve().await {
            Err(closed) => closed,
            Ok(never) => match never {},
        };
        self.out.extend(control::farewell(self.version, closed));
        let _ = self.flush().await;
        let mut will = self.will.take().filter(|_| closed != Closed::Disconnect);
        let Self { shared, stream, lease, mut pipeline, identity, key_hash, peer, .. } = self;
        drop(lease);
        linger(stream, closed).await;
        // The device is gone; what it sent is on its way all the same and gets its place in the ledger.
        while closed != Closed::Halt && (will.is_some() || !pipeline.idle()) {
            if !pipeline.busy()
                && let Some(will) = will.take()
            {
                let (batch, group) = bequeath(&shared, &will, (&identity, key_hash, &peer));
                pipeline.append(batch, group);
            }
            match pipeline.next().await {
                Ok(Step::Room) => {}
                Ok(Step::Safe(group)) => settle(&shared, &group, 0),
                Err(halt) => {
                    shared.intake.halted.set(halt);
                    break;
                }
            }
        }
        closed
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Closed> {
        loop {
            self.take_frames()?;
            self.flush().await?;
            if self.at_end && self.held == Held::No {
                return Err(Closed::Gone);
            }
            if self.draining && self.pipeline.idle() {
                return Err(Closed::Shutdown);
            }
            match self.wait().await {
                Wake::Step(step) => self.step(step).await?,
                Wake::Kicked(Closed::Shutdown) => self.draining = true,
                Wake::Kicked(reason) => return Err(reason),
                Wake::Mail => self.deliver(),
                Wake::Readable(ready) => {
                    ready.map_err(|_| Closed::Gone)?;
                    self.read()?;
                }
                Wake::Timer => self.on_timer()?,
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let may_read = self.may_read();
        self.arm_timer();
        let Self { pipeline, lease, stream, timer, draining, .. } = self;
        tokio::select! {
            biased;
            step = pipeline.next() => Wake::Step(step),
            called = lease.kick.called(), if !*draining => called.map_or(Wake::Mail, Wake::Kicked),
            ready = stream.readable(), if may_read => Wake::Readable(ready),
            () = timer.as_mut() => Wake::Timer,
        }
    }

    /// Writes the commands that were posted, as far as the device subscribes to them.
    fn deliver(&mut self) {
        for command in self.lease.kick.take_mail() {
            let before = self.out.len();
            if self.subscriptions.match_topic(&command.topic) {
                control::publish(self.version, &command.topic, &command.payload, &mut self.out);
            }
            let written = self.out.len() - before;
            let fits = written > 0 && written <= self.peer_packet_bytes_max;
            if !fits {
                self.out.truncate(before);
            }
            self.shared.stats.command(if fits {
                CommandFate::Sent
            } else {
                CommandFate::NotSubscribed
            });
        }
    }

    /// A full buffer behind a held frame stops reading: that is the back-pressure.
    fn may_read(&self) -> bool {
        let room = self.buffer.len() < self.shared.listen.look_ahead_bytes_max;
        !self.at_end && !self.draining && (self.held == Held::No || room)
    }

    fn arm_timer(&mut self) {
        let mut due = self.heard + self.silence_max;
        if let Held::Until(at) = self.held {
            due = due.min(Instant::from_std(at));
        }
        if let Some(since) = self.waiting_since
            && self.shared.listen.qos0 == Qos0Policy::Shed
        {
            // Later rounds of shedding come with each full buffer, at most ten in a second.
            let next = Instant::now() + Duration::from_millis(100);
            due = due.min((since + self.shared.listen.shed_after()).max(next));
        }
        // An earlier alarm is harmless: it finds nothing to do and is set again.
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
    }

    fn on_timer(&mut self) -> Result<(), Closed> {
        let now = Instant::now();
        let waited = self.waiting_since.is_some_and(|since| {
            now.saturating_duration_since(since) >= self.shared.listen.shed_after()
        });
        if waited && self.shared.listen.qos0 == Qos0Policy::Shed && !self.may_read() {
            self.shed_qos0();
        }
        if now >= self.heard + self.silence_max {
            if self.may_read() {
                return Err(Closed::KeepAlive);
            }
            self.heard = now;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Closed> {
        self.buffer.reserve(self.read_bytes);
        match self.stream.try_read_buf(&mut self.buffer) {
            Ok(0) => self.at_end = true,
            Ok(count) => {
                self.heard = Instant::now();
                // Busy connections read much at once, quiet ones hold little memory.
                let most = self.shared.listen.read_bytes.max(READ_BYTES_MIN);
                self.read_bytes = match count {
                    count if count >= self.read_bytes => (self.read_bytes * 4).min(most),
                    count if count < self.read_bytes / 8 => {
                        (self.read_bytes / 2).max(READ_BYTES_MIN)
                    }
                    _ => self.read_bytes,
                };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Closed::Gone),
        }
        Ok(())
    }

    /// Writes what is to be written; a peer that does not read is given up.
    async fn flush(&mut self) -> Result<(), Closed> {
        if self.out.is_empty() {
            return Ok(());
        }
        let limit = Duration::from_millis(self.shared.listen.write_timeout_ms);
        let written = match self.stream.try_write(&self.out) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Closed::Gone),
        };
        if written < self.out.len() {
            match timeout(limit, self.stream.write_all(&self.out[written..])).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Closed::Gone),
                Err(_) => return Err(Closed::NotReading),
            }
        }
        self.out.clear();
        if self.out.capacity() > 8 * 1024 {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Takes in what the pipeline says, and whatever else it has to say at once.
    async fn step(&mut self, step: Result<Step<Group>, Halt>) -> Result<(), Closed> {
        let mut next = Some(step);
        while let Some(step) = next {
            match step {
                Ok(Step::Room) => {
                    self.waiting_since = None;
                    // The rest of the buffer must not wait for older receipts.
                    return Ok(());
                }
                Ok(Step::Safe(group)) => {
                    self.in_flight_bytes -= group.record_bytes;
                    self.in_flight -= group.acks.len();
                    for ack in &group.acks {
                        control::puback(ack.packet_id, ack.code, &mut self.out);
                    }
                    let stored = group.acks.iter().filter(|ack| ack.code == STORED).count();
                    settle(&self.shared, &group, stored as u64);
                }
                Err(halt) => {
                    self.shared.intake.halted.set(halt);
                    return Err(Closed::Halt);
                }
            }
            next = self.pipeline.ready().await;
        }
        Ok(())
    }
}

/// The record of a will, which is the newest of its device.
fn bequeath(
    shared: &Shared,
    will: &Will,
    (identity, key_hash, peer): (&Identity, u64, &str),
) -> (Batch, Group) {
    let mut batch = shared.intake.writer.spare();
    let raw = Raw {
        device: identity.device(),
        lane: Lane::Listen,
        kind: BodyKind::Raw,
        path: &will.topic,
        listener: &shared.listen.name,
        peer,
        received_at: shared.intake.now(),
        payload: &will.payload,
    };
    shared.push(&mut batch, key_hash, &raw);
    let record_bytes = will.payload.len();
    let row = Row { received: 1, received_bytes: record_bytes as u64, ..Row::default() };
    shared.count(&row, 1);
    (batch, Group { records: 1, record_bytes, ..Group::default() })
}

/// Counts a group that is safe.
fn settle(shared: &Shared, group: &Group, acknowledged: u64) {
    shared.intake.ledger.update(Lane::Listen, |row| {
        row.in_flight -= group.records;
        row.appended += group.records;
        row.acknowledged += acknowledged;
    });
}
