//! One pass over a connection's buffer: whole frames become one batch and the answers that go with it.
//!
//! Invariant: every PUBLISH that leaves the buffer is counted with one fate, and a frame that may not be taken now stays
//! where it is, with everything behind it.

use bytes::{Buf, BytesMut};
use tokio::time::Instant;
use yiwang_core::record::{Lane, Millis, Raw};
use yiwang_core::topic::{Identity, Up};
use yiwang_log::Batch;

use super::{Ack, Connection, Group, Held, STORED};
use crate::ledger::{Refused, Row, Shed};
use crate::listen::Shared;
use crate::listen::control::{self, Closed};
use crate::listen::frame::{self, Frame, Split, kind};
use crate::listen::publish::{self, Fault, Publish, Version};

/// The code of a PUBACK that says: not authorised.
const NOT_AUTHORISED: u8 = 0x87;
/// The code of a PUBACK that says: no such topic name.
const TOPIC_NAME_INVALID: u8 = 0x90;

/// One pass over the frames of a buffer.
struct Pass {
    buffer: BytesMut,
    received_at: Millis,
    batch: Option<Batch>,
    group: Group,
    row: Row,
}

impl Connection {
    /// Turns the whole frames of the buffer into one batch, as far as the limits allow.
    pub(super) fn take_frames(&mut self) -> Result<(), Closed> {
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
    pub(super) fn shed_qos0(&mut self) {
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
