//! Codecs: the bytes of a message become [`Samples`].
//!
//! A codec is compiled once with its product and run many times; in the steady state nothing here allocates and every
//! byte of a message is verified. Bad input is a [`Fault`], never a panic, on any bytes. This module refuses to look
//! at the device, the registry and the clock: the time of reception comes in with the message.
//!
//! `up/property` and `up/event/{id}` carry native bodies; `up/raw` carries what the product's own codec reads.

pub(crate) mod binary;
pub(crate) mod decimal;
#[cfg(test)]
mod escape_tests;
mod fault;
pub(crate) mod json;
#[cfg(test)]
mod json_tests;
pub(crate) mod mapped;
pub(crate) mod native;
pub(crate) mod number;
pub(crate) mod pack;
pub(crate) mod plan;
pub(crate) mod proto;
pub(crate) mod protobuf;
pub(crate) mod scalar;
mod shape;
#[cfg(test)]
mod shape_tests;
pub mod sparkplug;
mod typed;
pub(crate) mod value;
mod words;

use std::ops::RangeInclusive;

use crate::record::{BodyKind, Millis, QuarantineReason};
use crate::sample::{Samples, Span};
use crate::thing::{IdentityKind, Product};
use crate::validate::{Clock, Intake, Policy, Workspace};

use binary::Binary;
use fault::Cause;
use json::{Break, Cursor};
use mapped::Mapped;
use native::Native;
use plan::Plan;
use protobuf::Protobuf;
use shape::{Conversions, Shape, push_shape};
use sparkplug::{Metrics, Payload, Refused, Session, Topic};
use value::Convert;

/// The compiled codecs of a product.
#[derive(Debug, Default)]
pub struct Codec {
    pub(crate) properties: Plan,
    pub(crate) events: Vec<Plan>,
    pub(crate) native: Convert,
    native_shapes: Vec<Shape>,
    pub(crate) program: Program,
    /// A body says which device it is of.
    pub(crate) names_device: bool,
}

/// How `up/raw` bodies are read.
#[derive(Debug, Default)]
pub(crate) enum Program {
    /// Not at all.
    #[default]
    None,
    /// Vendor JSON.
    Mapped(Mapped),
    /// A fixed layout.
    Binary(Binary),
    /// Protobuf.
    Protobuf(Protobuf),
    /// Sparkplug B; the path of the message is its topic.
    Sparkplug(Metrics),
}

/// One message to decode.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What the body is.
    pub kind: BodyKind,
    /// The part of the topic after `up/`, e.g. `event/tamper`.
    pub path: &'a str,
    /// The bytes.
    pub payload: &'a [u8],
    /// When it came.
    pub received: Received,
}

/// When a message came, ms since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The hub received it.
    At(Millis),
    /// It lies in a file: its own device time stands for it, and this where it has none.
    InFile(Millis),
}

/// Device times of files that can be times: what RFC 3339 can write from 1970 on.
const FILE_TIMES: RangeInclusive<Millis> = 0..=253_402_300_799_999;

/// What a message says beside its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// The id of devices section 2.5 that applies.
    pub identity: MessageId,
    /// Old data on purpose.
    pub backfill: bool,
    /// The device asks for the verdict.
    pub verdict_wanted: bool,
    /// Index into the product's events where the message is one.
    pub event: Option<u16>,
    /// The device the payload names, in [`Samples::text`]; compare it with the session's.
    pub device: Option<Span>,
    /// Device time of the body, as sent.
    pub time: Option<Millis>,
    /// Values that were left out by `unknown: drop`.
    pub dropped: u32,
}

/// Which message id applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// Restart counter and message counter.
    Sequence {
        /// Restart counter.
        boot: u64,
        /// Message counter.
        seq: u64,
    },
    /// A text in [`Samples::text`].
    Text(Span),
    /// Device time, with the payload.
    Content {
        /// Device time as sent.
        ts: Millis,
    },
    /// Its place on the log.
    Place,
}

/// Why a message could not become samples. The arena keeps its text, for the `identity`, and no set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable reason.
    pub reason: QuarantineReason,
    /// Path, what was expected, what was found.
    pub detail: String,
    /// Where in the body: an identifier or the name of a field; empty for the whole.
    pub field: String,
    /// The message id, where it could still be read.
    pub identity: MessageId,
    /// The device asks for the verdict.
    pub verdict_wanted: bool,
}

/// Working memory of decoding, reused from message to message.
#[derive(Debug, Default)]
pub struct Scratch {
    work: Workspace,
    seen: Vec<bool>,
}

/// What a body says beside its values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) boot: Option<u64>,
    pub(crate) seq: Option<u64>,
    pub(crate) id: Option<Span>,
    pub(crate) ts: Option<Millis>,
    pub(crate) ack: bool,
    pub(crate) backfill: bool,
    pub(crate) device: Option<Span>,
}

impl Codec {
    /// Compiled lists of properties, without a codec for `up/raw` yet.
    pub(crate) fn new(properties: Plan, events: Vec<Plan>) -> Self {
        Self { properties, events, ..Self::default() }
    }

    /// Bodies often look like this one: `raw` on `up/raw`, otherwise native ones.
    pub(crate) fn expect_like(&mut self, body: &str, raw: bool) {
        match &mut self.program {
            Program::Mapped(mapped) if raw => mapped.expect_like(body, &self.properties),
            _ if raw => {}
            _ => {
                let shape = native::shape_of(body, &self.properties, &self.native);
                push_shape(&mut self.native_shapes, shape);
            }
        }
    }
}

impl Product {
    /// Whether `up/raw` carries the messages of Sparkplug edge nodes.
    #[must_use]
    pub fn is_sparkplug(&self) -> bool {
        matches!(self.codec.program, Program::Sparkplug(_))
    }

    /// Whether a body says which device it is of, by `codec.device`.
    #[must_use]
    pub fn names_device(&self) -> bool {
        self.codec.names_device
    }

    /// Decodes and validates one message into `out`, which is cleared first: sets in ascending `t`, none equal, flagged.
    ///
    /// A set may hold two values of one property where the message carries two for one instant: in message order,
    /// "latest" keeps the first. An event always has a set; other messages may have none: a sign of life.
    ///
    /// # Errors
    /// The [`Fault`] with which the message goes to quarantine.
    pub fn decode(
        &self,
        message: &Message<'_>,
        scratch: &mut Scratch,
        out: &mut Samples,
    ) -> Result<Header, Fault> {
        self.decode_in(None, message, scratch, out)
    }

    /// As [`Product::decode`], in the session of the edge node that sent the message.
    ///
    /// # Errors
    /// The [`Fault`] with which the message goes to quarantine.
    pub fn decode_in(
        &self,
        session: Option<&Session>,
        message: &Message<'_>,
        scratch: &mut Scratch,
        out: &mut Samples,
    ) -> Result<Header, Fault> {
        out.clear();
        let event = match message.kind {
            BodyKind::Event => Some(self.event_of(message.path)?),
            BodyKind::Other => return Ok(Header::empty()),
            BodyKind::Property | BodyKind::Raw => None,
        };
        let plan = match event {
            Some(index) => &self.codec.events[usize::from(index)],
            None => &self.codec.properties,
        };
        let policy = Policy { strict: self.strict, unknown: self.unknown };
        let mut intake = Intake::new(plan, policy, out, &mut scratch.work);
        let read = self.read(session, message, &mut intake, &mut scratch.seen);
        let fields = match read {
            Ok(fields) => fields,
            Err(cause) => {
                intake.out.clear();
                return Err(cause.fault());
            }
        };
        let identity = identity(self.access.identity, &fields, intake.first_time());
        if let Some(finding) = intake.verdict() {
            let cause = Cause::Finding(finding, plan);
            let mut fault = cause.fault_in(intake.out);
            fault.identity = identity;
            fault.verdict_wanted = fields.ack;
            intake.out.values.clear();
            return Err(fault);
        }
        let time = fields.ts.filter(|ts| FILE_TIMES.contains(ts));
        let clock = Clock {
            policy: self.time,
            received_at: match message.received {
                Received::At(t) => t,
                Received::InFile(otherwise) => time.unwrap_or(otherwise),
            },
            body: fields.ts,
            backfill: fields.backfill,
        };
        if event.is_some() {
            intake.arrange_as_one(&clock);
        } else {
            intake.arrange(&clock);
        }
        Ok(Header {
            identity,
            backfill: fields.backfill,
            verdict_wanted: fields.ack,
            event,
            device: fields.device,
            time,
            dropped: intake.dropped,
        })
    }

    fn read(
        &self,
        session: Option<&Session>,
        message: &Message<'_>,
        intake: &mut Intake<'_>,
        seen: &mut Vec<bool>,
    ) -> Result<Fields, Cause<'static>> {
        let event = message.kind == BodyKind::Event;
        match (&self.codec.program, message.kind) {
            (Program::None, BodyKind::Raw) => Err(Cause::NoCodec),
            (Program::Mapped(mapped), BodyKind::Raw) => {
                mapped.read(message.payload, intake, seen).map_err(Cause::Json)
            }
            (Program::Binary(binary), BodyKind::Raw) => {
                binary.read(message.payload, intake).map_err(Cause::Binary)
            }
            (Program::Protobuf(protobuf), BodyKind::Raw) => {
                protobuf.read(message.payload, intake, seen).map_err(Cause::Proto)
            }
            (Program::Sparkplug(metrics), BodyKind::Raw) => {
                let topic = Topic::parse(message.path).ok_or(Cause::NoTopic)?;
                let session = session.unwrap_or(const { &Session::new() });
                Payload::read(message.payload)
                    .map_err(Refused::Broken)
                    .and_then(|payload| metrics.read(&topic, &payload, session, intake))
                    .map_err(Cause::Sparkplug)
            }
            _ if !self.access.takes_native() => Err(Cause::NotNative),
            _ => self.read_native(message.payload, intake, event).map_err(Cause::Json),
        }
    }

    fn read_native(
        &self,
        payload: &[u8],
        intake: &mut Intake<'_>,
        event: bool,
    ) -> Result<Fields, Break> {
        let Codec { native, native_shapes, .. } = &self.codec;
        let cursor = Cursor::new(payload)?;
        let shapes = if event { &[] } else { native_shapes.as_slice() };
        match shape::read_any(shapes, &cursor, intake, Conversions::Native(native)) {
            Some(fields) => Ok(fields),
            None => Native::read(cursor, intake, native, event),
        }
    }

    fn event_of(&self, path: &str) -> Result<u16, Fault> {
        let name = path.strip_prefix("event/").unwrap_or(path);
        self.event_index(name).ok_or_else(|| Cause::NoEvent(name).fault())
    }
}

impl Header {
    const fn empty() -> Self {
        Self {
            identity: MessageId::Place,
            backfill: false,
            verdict_wanted: false,
            event: None,
            device: None,
            time: None,
            dropped: 0,
        }
    }
}

/// The first id that applies (devices 2.5), from the kind on that the product declares. Without any device time the
/// content is no id: two equal reports of a device without a clock are two reports.
fn identity(kind: IdentityKind, fields: &Fields, first: Option<Millis>) -> MessageId {
    let content = fields.ts.or(first).map(|ts| MessageId::Content { ts });
    let text = fields.id.map(MessageId::Text);
    let sequence = match (fields.boot, fields.seq) {
        (Some(boot), Some(seq)) => Some(MessageId::Sequence { boot, seq }),
        _ => None,
    };
    let applies = match kind {
        IdentityKind::Sequence => sequence.or(text).or(content),
        IdentityKind::MessageId => text.or(content),
        IdentityKind::Content => content,
        IdentityKind::None => None,
    };
    applies.unwrap_or(MessageId::Place)
}
