//! One device's connection after CONNACK: frames in, one batch per read into the log, PUBACKs out in arrival order.
//!
//! Invariant: a PUBACK of success is written only after the receipt of its batch, and in the order of arrival. While the
//! log waits for room, or a limit is reached, PUBLISHes stay in the buffer and PINGREQs behind them are answered all the
//! same; a full buffer stops reading, and with it the keep-alive.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};
use yiwang_core::record::{Lane, Millis, Raw};
use yiwang_core::topic::{Identity, Up};
use yiwang_log::{Batch, Halt};

use super::control::{self, Closed, Subscriptions};
use super::frame::{self, Frame, Split, kind};
use super::limits::Bucket;
use super::publish::{self, Fault, Publish, Version};
use super::sessions::Lease;
use super::{Shared, linger};
use crate::config::Qos0Policy;
use crate::ledger::{Refused, Row, Shed};
use crate::pipeline::{Pipeline, Step};

/// The code of a PUBACK that says: stored.
const STORED: u8 = 0;
/// The code of a PUBACK that says: not authorised.
const NOT_AUTHORISED: u8 = 0x87;
/// The code of a PUBACK that says: no such topic name.
const TOPIC_NAME_INVALID: u8 = 0x90;

/// Bytes that a quiet connection reads at once.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Who connected and what was agreed.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) version: Version,
    pub(crate) identity: Identity,
    pub(crate) peer: String,
    pub(crate) packet_bytes_max: usize,
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
        let rate = shared.listen.messages_per_second_max;
        let bucket = (rate > 0).then(|| Bucket::new(rate, shared.listen.burst_max, now.into_std()));
        Self {
            key_hash: yiwang_core::ids::key_hash(agreed.identity.device()),
            pipeline: Pipeline::new(shared.intake.writer.clone()),
            shared,
            stream,
            lease,
            version: agreed.version,
            identity: agreed.identity,
            peer: agreed.peer,
            packet_bytes_max: agreed.packet_bytes_max,
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
        let Self { shared, stream, lease, mut pipeline, .. } = self;
        drop(lease);
        linger(stream, closed).await;
        // The device is gone; what it sent is on its way all the same and gets its place in the ledger.
        while closed != Closed::Halt && !pipeline.idle() {
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
            reason = lease.kick.ended(), if !*draining => Wake::Kicked(reason),
            ready = stream.readable(), if may_read => Wake::Readable(ready),
            () = timer.as_mut() => Wake::Timer,
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

    /// Turns the whole frames of the buffer into one batch, as far as the limits allow.
    fn take_frames(&mut self) -> Result<(), Closed> {
        self.held = Held::No;
        if self.draining {
            return Ok(());
        }
        if self.pipeline.busy() {
            self.held = Held::UntilStep;
            self.answer_pings();
            return Ok(());
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut pass = Pass {
            buffer: std::mem::take(&mut self.buffer),
            received_at: self.shared.intake.now(),
            batch: None,
            group: Group::default(),
            row: Row::default(),
        };
        if let Some(bucket) = &mut self.bucket {
            bucket.refill(std::time::Instant::now());
        }
        let result = loop {
            match self.take_frame(&mut pass) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(closed) => break Err(closed),
            }
        };
        self.end_pass(pass);
        result
    }

    /// Takes one frame; false when none is left that may be taken now.
    fn take_frame(&mut self, pass: &mut Pass) -> Result<bool, Closed> {
        let frame = match frame::split(&pass.buffer, self.packet_bytes_max) {
            Split::Frame(frame) => frame,
            Split::Incomplete => return Ok(false),
            Split::Malformed => return Err(Closed::Malformed),
            Split::TooLarge => {
                if pass.buffer[0] >> 4 == kind::PUBLISH {
                    pass.row.refuse(Refused::Size, 1);
                }
                return Err(Closed::TooLarge);
            }
        };
        if !frame.flags_valid() {
            return Err(Closed::Malformed);
        }
        if frame.kind() == kind::PUBLISH {
            self.held = self.hold(&frame, pass);
            if self.held != Held::No {
                return Ok(false);
            }
            self.publish(&frame, pass)?;
        } else if frame.kind() == kind::PINGREQ {
            if !frame.body.is_empty() {
                return Err(Closed::Malformed);
            }
            if self.scanned == 0 {
                self.out.extend(control::PINGRESP);
            }
        } else {
            let who =
                (&self.identity, &mut self.subscriptions, self.shared.listen.subscriptions_max);
            let body = &pass.buffer[frame.body.clone()];
            control::handle(self.version, &frame, body, who, &mut self.out)?;
        }
        pass.buffer.advance(frame.body.end);
        self.scanned = self.scanned.saturating_sub(frame.body.end);
        Ok(true)
    }

    /// Whether a PUBLISH must stay in the buffer.
    fn hold(&mut self, frame: &Frame, pass: &Pass) -> Held {
        let bytes = self.in_flight_bytes + pass.group.record_bytes;
        if bytes > 0 && bytes + frame.body.len() > self.shared.listen.in_flight_bytes_max {
            return Held::UntilStep;
        }
        let acknowledged = frame.flags() & 6 != 0;
        let window = usize::from(self.shared.listen.receive_maximum);
        if self.version == Version::V3
            && acknowledged
            && self.in_flight + pass.group.acks.len() >= window
        {
            return Held::UntilStep;
        }
        let Some(bucket) = &mut self.bucket else {
            return Held::No;
        };
        if bucket.take() { Held::No } else { Held::Until(bucket.ready_at()) }
    }

    fn publish(&mut self, frame: &Frame, pass: &mut Pass) -> Result<(), Closed> {
        let body = &pass.buffer[frame.body.clone()];
        let publish = publish::decode(self.version, frame.flags(), body)?;
        if publish.qos == 2 {
            pass.row.refuse(Refused::Qos, 1);
            return Err(Closed::Qos);
        }
        let window = usize::from(self.shared.listen.receive_maximum);
        if publish.qos == 1 && self.in_flight + pass.group.acks.len() >= window {
            pass.row.refuse(Refused::ReceiveMaximum, 1);
            return Err(Closed::ReceiveMaximum);
        }
        let topic = if publish.alias == 0 {
            publish.topic
        } else {
            aliased(&mut self.aliases, &publish, self.shared.listen.topic_aliases_max)?
        };
        let up = match self.identity.publish(topic) {
            Ok(up) if publish.retain && up.path != "status" => Err(Refused::Retained),
            Ok(up) => Ok(up),
            Err(refusal) => Err(Refused::from(refusal)),
        };
        let code = match up {
            Ok(up) => {
                pass.row.received += 1;
                pass.row.received_bytes += publish.payload.len() as u64;
                pass.group.records += 1;
                pass.group.record_bytes += publish.payload.len();
                self.shared.push(
                    pass.batch.get_or_insert_with(|| self.shared.intake.writer.spare()),
                    self.key_hash,
                    &raw(&self.shared, &self.identity, &self.peer, up, &publish, pass.received_at),
                );
                STORED
            }
            Err(refused) => {
                pass.row.refuse(refused, 1);
                if self.version == Version::V3 {
                    return Err(Closed::Topic);
                }
                let too_long = refused == Refused::TopicTooLong;
                if too_long { TOPIC_NAME_INVALID } else { NOT_AUTHORISED }
            }
        };
        if publish.qos == 1 {
            pass.group.acks.push(Ack { packet_id: publish.packet_id, code });
        }
        Ok(())
    }

    /// Appends the batch of a pass, counts it, and gives an empty buffer back.
    fn end_pass(&mut self, pass: Pass) {
        let Pass { buffer, batch, group, row, .. } = pass;
        if row.received > 0 {
            self.shared.count(&row, group.records);
        }
        if !group.acks.is_empty() || group.records > 0 {
            self.in_flight += group.acks.len();
            self.in_flight_bytes += group.record_bytes;
            match batch {
                Some(batch) => {
                    self.waiting_since = Some(Instant::now());
                    self.pipeline.append(batch, group);
                }
                // Only refusals: they still wait for the answers before them.
                None => self.pipeline.pass(group),
            }
        }
        if buffer.is_empty() {
            // An idle connection holds no buffer.
            self.scanned = 0;
        } else {
            self.buffer = buffer;
            if self.held != Held::No {
                self.answer_pings();
            }
        }
    }

    /// Answers the PINGREQs behind held frames, each once.
    fn answer_pings(&mut self) {
        while let Some(rest) = self.buffer.get(self.scanned..)
            && let Split::Frame(frame) = frame::split(rest, self.packet_bytes_max)
        {
            if frame.kind() == kind::PINGREQ && frame.body.is_empty() {
                self.out.extend(control::PINGRESP);
            }
            self.scanned += frame.body.end;
        }
    }

    /// Drops the QoS 0 messages of a full buffer, so that what has an acknowledgement gets through.
    fn shed_qos0(&mut self) {
        let mut kept = BytesMut::with_capacity(self.buffer.len());
        let (mut at, mut dropped, mut scanned) = (0, 0, 0);
        while let Split::Frame(frame) = frame::split(&self.buffer[at..], self.packet_bytes_max) {
            let whole = at..at + frame.body.end;
            at = whole.end;
            if frame.kind() == kind::PUBLISH && frame.flags() & 6 == 0 {
                dropped += 1;
            } else {
                kept.extend_from_slice(&self.buffer[whole]);
            }
            if at <= self.scanned {
                scanned = kept.len();
            }
        }
        if dropped > 0 {
            kept.extend_from_slice(&self.buffer[at..]);
            self.buffer = kept;
            self.scanned = scanned;
            self.shared
                .intake
                .ledger
                .update(Lane::Listen, |row| row.shed(Shed::LogWaiting, dropped));
        }
    }
}

/// One pass over the frames of a buffer.
struct Pass {
    buffer: BytesMut,
    received_at: Millis,
    batch: Option<Batch>,
    group: Group,
    row: Row,
}

fn raw<'a>(
    shared: &'a Shared,
    identity: &'a Identity,
    peer: &'a str,
    up: Up<'a>,
    publish: &Publish<'a>,
    received_at: Millis,
) -> Raw<'a> {
    Raw {
        device: identity.device(),
        lane: Lane::Listen,
        kind: up.kind,
        path: up.path,
        listener: &shared.listen.name,
        peer,
        received_at,
        payload: publish.payload,
    }
}

/// The topic of a message with an alias, which is learnt from the first message that has both.
fn aliased<'a>(
    aliases: &'a mut Vec<Box<str>>,
    publish: &Publish<'_>,
    aliases_max: u16,
) -> Result<&'a str, Fault> {
    if publish.alias > aliases_max {
        return Err(Fault::TopicAlias);
    }
    let index = usize::from(publish.alias) - 1;
    if !publish.topic.is_empty() {
        if aliases.len() <= index {
            aliases.resize_with(index + 1, Box::default);
        }
        if *aliases[index] != *publish.topic {
            aliases[index] = publish.topic.into();
        }
    }
    match aliases.get(index) {
        Some(topic) if !topic.is_empty() => Ok(topic),
        _ => Err(Fault::TopicAlias),
    }
}

/// Counts a group that is safe.
fn settle(shared: &Shared, group: &Group, acknowledged: u64) {
    shared.intake.ledger.update(Lane::Listen, |row| {
        row.in_flight -= group.records;
        row.appended += group.records;
        row.acknowledged += acknowledged;
    });
}
