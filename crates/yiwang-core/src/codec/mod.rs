//! Codecs: the bytes of a message become [`Samples`].
//!
//! A codec is compiled once with its product and run many times; in the steady state nothing here allocates and every
//! byte of a message is verified. Bad input is a [`Fault`], never a panic, on any bytes. This module refuses to look
//! at the device, the registry and the clock: the time of reception comes in with the message.

use crate::record::{BodyKind, Millis, QuarantineReason};
use crate::sample::{Samples, Span};
use crate::thing::Product;

/// How `up/raw` bodies are read; native bodies (`up/property`, `up/event/…`) need no program.
#[derive(Debug)]
pub struct Codec {}

/// One message to decode.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What the body is.
    pub kind: BodyKind,
    /// The part of the topic after `up/`, e.g. `event/tamper`.
    pub path: &'a str,
    /// The bytes.
    pub payload: &'a [u8],
    /// When the hub received it.
    pub received_at: Millis,
}

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

/// Why a message could not become samples. The arena keeps the text of its `identity` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable reason.
    pub reason: QuarantineReason,
    /// Path, what was expected, what was found.
    pub detail: String,
    /// Where in the body, e.g. `/params/level`; empty for the whole.
    pub field: String,
    /// The message id, where it could still be read.
    pub identity: MessageId,
    /// The device asks for the verdict.
    pub verdict_wanted: bool,
}

/// Working memory of decoding, reused from message to message; empty between messages.
#[derive(Debug, Default)]
pub struct Scratch {}

impl Product {
    /// Decodes and validates one message into `out`, which is cleared first: sets in ascending `t`, none equal, flagged.
    ///
    /// A set may hold two values of one property where the message carries two for one instant: in message order,
    /// "latest" keeps the first.
    ///
    /// # Errors
    /// The [`Fault`] with which the message goes to quarantine.
    pub fn decode(
        &self,
        message: &Message<'_>,
        scratch: &mut Scratch,
        out: &mut Samples,
    ) -> Result<Header, Fault> {
        let _ = (message, scratch);
        out.clear();
        Err(Fault {
            reason: QuarantineReason::Codec,
            detail: String::from("not decoded yet"),
            field: String::new(),
            identity: MessageId::Place,
            verdict_wanted: false,
        })
    }
}
