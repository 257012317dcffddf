//! The words of a fault: reason, path, what was expected, what was found. Only here does a bad message cost text.

use super::binary::Unreadable;
use super::json::Break;
use super::plan::Plan;
use super::proto::Broken;
use super::sparkplug::Refused;
use super::{Fault, MessageId};
use crate::record::QuarantineReason;
use crate::sample::Samples;
use crate::validate::{Finding, Place, Wrong};

/// What is wrong with a message.
pub(crate) enum Cause<'p> {
    /// `up/raw` for a product without codec.
    NoCodec,
    /// A native body for a product that takes none.
    NotNative,
    /// An event that is not in the model.
    NoEvent(&'p str),
    /// No JSON, or JSON beyond a limit.
    Json(Break),
    /// Not the layout.
    Binary(Unreadable),
    /// No protobuf.
    Proto(Broken),
    /// Not the topic of a Sparkplug message.
    NoTopic,
    /// No Sparkplug message, or one that only a birth would explain.
    Sparkplug(Refused),
    /// JSON, but not what a pack is.
    Field {
        /// Which member.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Read, but it does not fit the model.
    Finding(Finding, &'p Plan),
}

impl Cause<'_> {
    /// The fault of a message without readable parts.
    #[cold]
    pub(crate) fn fault(&self) -> Fault {
        self.fault_in(&Samples::default())
    }

    /// The fault of a message that was read into this arena.
    #[cold]
    pub(crate) fn fault_in(&self, samples: &Samples) -> Fault {
        let (reason, field, detail) = match self {
            Self::NoCodec => (
                QuarantineReason::Codec,
                String::new(),
                String::from("body: expected a codec for up/raw in the product file, found none"),
            ),
            Self::NotNative => (
                QuarantineReason::Codec,
                String::new(),
                String::from("body: expected up/raw by access.dialects, found a native body"),
            ),
            Self::NoEvent(name) => (
                QuarantineReason::Schema,
                String::from("event"),
                format!("event: expected an event of the thing model, found `{name}`"),
            ),
            Self::Json(Break::Syntax { at, expected }) => (
                QuarantineReason::Codec,
                String::new(),
                format!("byte {at}: expected {expected}, found something else"),
            ),
            Self::Json(Break::Limit { at, limit }) => (
                QuarantineReason::Schema,
                String::new(),
                format!("byte {at}: expected JSON within the limits, found {limit}"),
            ),
            Self::Binary(unreadable) => unreadable.words(),
            Self::Proto(broken) | Self::Sparkplug(Refused::Broken(broken)) => broken.words(),
            Self::NoTopic => (
                QuarantineReason::Codec,
                String::new(),
                String::from("path: expected a Sparkplug topic of an edge node, found another"),
            ),
            Self::Sparkplug(Refused::Unknown(expected)) => (
                QuarantineReason::Codec,
                String::new(),
                format!("metrics: expected {expected}, found none"),
            ),
            Self::Sparkplug(Refused::Schema(expected)) => (
                QuarantineReason::Schema,
                String::new(),
                format!("payload: expected {expected}, found something else"),
            ),
            Self::Field { name, expected } => (
                QuarantineReason::Schema,
                String::from(*name),
                format!("{name}: expected {expected}, found something else"),
            ),
            Self::Finding(finding, plan) => finding.words(plan, samples),
        };
        let (identity, verdict_wanted) = (MessageId::Place, false);
        Fault { reason, detail, field, identity, verdict_wanted }
    }
}

impl Refused {
    /// The fault of a message that was refused.
    #[cold]
    pub(crate) fn fault(self) -> Fault {
        Cause::Sparkplug(self).fault()
    }
}

impl Broken {
    fn words(self) -> (QuarantineReason, String, String) {
        let Self { at, expected } = self;
        let detail = format!("byte {at}: expected {expected}, found something else");
        (QuarantineReason::Codec, String::new(), detail)
    }
}

impl Unreadable {
    fn words(self) -> (QuarantineReason, String, String) {
        let (reason, detail) = match self {
            Self::Short(least) => {
                (QuarantineReason::Codec, format!("frame: expected {least} bytes, found fewer"))
            }
            Self::Long(most) => {
                (QuarantineReason::Codec, format!("frame: expected {most} bytes, found more"))
            }
            Self::NoFrame(at) => (
                QuarantineReason::Frame,
                format!("byte {at}: expected the fixed bytes of the layout, found others"),
            ),
        };
        (reason, String::new(), detail)
    }
}

impl Finding {
    fn words(&self, plan: &Plan, samples: &Samples) -> (QuarantineReason, String, String) {
        let field = match self.place {
            Place::Body(name) => String::from(name),
            Place::Known(property) => String::from(&*plan.checks[usize::from(property)].name),
            Place::Unknown(name) => String::from(samples.text_at(name)),
        };
        let reason = match self.wrong {
            Wrong::Range(_) => QuarantineReason::Range,
            _ => QuarantineReason::Schema,
        };
        let (expected, found) = match (self.wrong, self.place) {
            (Wrong::Type { expected, found }, _) => (String::from(expected), String::from(found)),
            (Wrong::Range(number), Place::Known(property)) => {
                let limits = &plan.checks[usize::from(property)].limits;
                (format!("{} to {}", limits.min, limits.max), number.to_string())
            }
            (Wrong::Range(number), _) => (String::from("a value in range"), number.to_string()),
            (Wrong::NotInModel, _) => {
                (String::from("only what the thing model has"), String::from("another name"))
            }
            (Wrong::Missing, _) => (String::from("a value"), String::from("none")),
            (Wrong::Twice, _) => (String::from("it once"), String::from("it twice")),
            (Wrong::TooMany(most), _) => (format!("at most {most}"), String::from("more")),
        };
        let detail = format!("{field}: expected {expected}, found {found}");
        (reason, field, detail)
    }
}
