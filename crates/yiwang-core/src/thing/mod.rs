//! The thing model: one product file, checked and compiled.
//!
//! A [`Product`] is immutable and cannot be wrong: [`Product::load`] lists every problem of the file with its line
//! and runs the file's test vectors through the real codec. Rule expressions are kept as text with their line and
//! are compiled by `rules`. This module refuses to touch files, registries and device state.

mod alarm;
mod load;
mod load_alarms;
mod load_codec;
mod load_properties;
mod load_protobuf;
mod load_sparkplug;
pub(crate) mod node;
mod rule_vectors;
mod unit;
mod vectors;

use crate::codec::Codec;
use crate::ids::Id;
use crate::problem::Problem;
use crate::record::{AlarmSeverity, Millis};

pub use alarm::{
    AlarmSpec, Expression, Flap, Hold, LatePolicy, MissingPolicy, SeveritySpec, SeverityStep,
};

pub use rule_vectors::{ExpectedSignal, RuleStep, RuleVector};

/// Most properties a product may have, and most outputs an event may have.
pub const PROPERTIES_MAX: usize = 500;
/// Most alarm rules a product may have.
pub const ALARMS_MAX: usize = 100;

/// A device model: one versioned file.
#[derive(Debug)]
pub struct Product {
    /// Product key `pk`.
    pub key: Box<str>,
    /// Semantic version `major.minor.patch`.
    pub version: String,
    /// Name for people.
    pub name: String,
    /// Kind, e.g. `hydrology/level`.
    pub kind: String,
    /// How its devices connect.
    pub node: NodeType,
    /// Who answers for the model.
    pub owner: String,
    /// Data grade (security, section 8).
    pub grade: String,
    /// Of the canonical content of the whole file.
    pub digest: Id,
    /// Of the codec alone: stored with readings and quarantine rows.
    pub codec_hash: Id,
    /// What CONNECT and registration allow.
    pub access: Access,
    /// What it measures.
    pub properties: Vec<Property>,
    /// Device events.
    pub events: Vec<EventModel>,
    /// Commands it understands.
    pub services: Vec<Service>,
    /// Values set per device at registration, read by rules.
    pub attributes: Vec<Attribute>,
    /// How bodies become samples, compiled.
    pub codec: Codec,
    /// `validation.mode: strict`.
    pub strict: bool,
    /// What becomes of a property that is not in the model (lenient mode).
    pub unknown: UnknownPolicy,
    /// Which time is believed.
    pub time: TimePolicy,
    /// When a device counts as late or silent; `None` for event products.
    pub liveness: Option<Liveness>,
    /// Limits of a device.
    pub quota: Quota,
    /// Alarm rules in the order of the file.
    pub alarms: Vec<AlarmSpec>,
    /// What they must say to given samples; run where they are compiled.
    pub rule_vectors: Vec<RuleVector>,
    /// File it was loaded from, for messages.
    pub file: String,
}

impl Product {
    /// Checks and compiles a product file and runs its test vectors; every problem with its line, `None` on any error.
    #[must_use]
    pub fn load(file: &str, text: &str) -> (Option<Self>, Vec<Problem>) {
        load::load(file, text)
    }

    /// Index of the property with this identifier.
    #[must_use]
    pub fn property_index(&self, identifier: &str) -> Option<u16> {
        position(&self.properties, |property| &*property.identifier == identifier)
    }

    /// Index of the event with this identifier.
    #[must_use]
    pub fn event_index(&self, identifier: &str) -> Option<u16> {
        position(&self.events, |event| &*event.identifier == identifier)
    }

    /// Slot of the attribute with this identifier.
    #[must_use]
    pub fn attribute_index(&self, identifier: &str) -> Option<u16> {
        position(&self.attributes, |attribute| &*attribute.identifier == identifier)
    }

    /// The major version, which a device pins.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default()
    }
}

fn position<T>(items: &[T], matches: impl FnMut(&T) -> bool) -> Option<u16> {
    items.iter().position(matches).and_then(|index| u16::try_from(index).ok())
}

/// How devices of a product connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeType {
    /// By itself.
    Direct,
    /// It speaks for sub-devices.
    Gateway,
    /// Through a gateway device.
    Sub,
}

/// What CONNECT and registration allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Accepted proofs of identity.
    pub auth: Vec<Auth>,
    /// Accepted dialects; `native` unless stated. `raw` alone: only `up/raw`, as the codec reads it.
    pub dialects: Vec<String>,
    /// The preferred message identity.
    pub identity: IdentityKind,
    /// Onboarding lanes (devices, section 6).
    pub lanes: Vec<String>,
    /// Whether it sleeps between reports.
    pub sleepy: bool,
}

impl Access {
    /// Whether native bodies are taken: those of a device, or what a dialect is mapped to.
    #[must_use]
    pub fn takes_native(&self) -> bool {
        self.dialects.iter().any(|dialect| dialect != "raw")
    }
}

/// A proof of identity at CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// The secret itself as password (written `secret`).
    Plain,
    /// A signature over client id, nonce and time.
    Signed,
    /// A client certificate.
    X509,
}

/// Which message ids are tried, from the first that applies on (devices, section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// `boot` and `seq`, else `id`, else content.
    Sequence,
    /// `id`, else content.
    MessageId,
    /// Device time and content.
    Content,
    /// Its place on the log: not recognised when sent twice.
    None,
}

/// Whether a property is reported, set or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// Reported only.
    Read,
    /// Reported and set.
    ReadWrite,
    /// Set only.
    Write,
}

/// One property, or one output of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Identifier, as in bodies and rules.
    pub identifier: Box<str>,
    /// Name for people; the identifier where the file has none.
    pub name: Box<str>,
    /// Reported, set or both.
    pub access: AccessMode,
    /// Whether every report must carry it.
    pub required: bool,
    /// Its type.
    pub data: DataType,
    /// Bounds of numbers.
    pub limits: Limits,
    /// UCUM unit.
    pub unit: Option<Box<str>>,
    /// Datum of a level, e.g. `吴淞`.
    pub datum: Option<Box<str>>,
    /// Fastest believable change per ms, in the property's unit.
    pub max_rate: Option<f64>,
    /// Unchanged for longer than this: flagged.
    pub stuck_after: Option<Millis>,
    /// How long values are kept.
    pub storage: Storage,
    /// Line in the file.
    pub line: u32,
}

/// Type of a property.
#[derive(Clone, Debug, PartialEq)]
pub enum DataType {
    /// true, false; 1 and 0 are taken for them.
    Bool,
    /// 64 bits, signed.
    Int,
    /// Kept in double precision as well.
    Float,
    /// Double precision.
    Double,
    /// One of a list of words.
    Enum(Vec<Box<str>>),
    /// UTF-8, at most this many bytes.
    Text {
        /// At most 8 KiB.
        bytes_max: u32,
    },
    /// ms since 1970 UTC
    Date,
    /// Named fields; kept as JSON text.
    Struct(Vec<Field>),
    /// Items of one type; kept as JSON text.
    Array {
        /// Type of each item.
        item: Box<DataType>,
        /// Most items.
        items_max: u32,
    },
}

impl DataType {
    /// The word of the thing model.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Double => "double",
            Self::Enum(_) => "enum",
            Self::Text { .. } => "text",
            Self::Date => "date",
            Self::Struct(_) => "struct",
            Self::Array { .. } => "array",
        }
    }
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub identifier: Box<str>,
    /// Its type, never a struct.
    pub data: DataType,
}

/// Bounds of a number; absent bounds are infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Least value in range.
    pub min: f64,
    /// Greatest value in range.
    pub max: f64,
    /// Values are multiples of it; 0 for no step.
    pub step: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min: f64::NEG_INFINITY, max: f64::INFINITY, step: 0.0 }
    }
}

/// How long values of a property are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Whether the newest value is kept for queries.
    pub latest: bool,
    /// How long history is kept.
    pub history: Millis,
    /// Widths of rollups.
    pub rollup: Vec<Millis>,
}

/// A device event of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct EventModel {
    /// Identifier, the last level of its topic.
    pub identifier: Box<str>,
    /// Name for people; the identifier where the file has none.
    pub name: Box<str>,
    /// Whether it becomes a signal.
    pub class: EventClass,
    /// Category of the signal: always present for alert and error.
    pub category: Option<Box<str>>,
    /// Severity of the signal.
    pub severity: AlarmSeverity,
    /// `outputData`: validated like properties; [`crate::sample::PropertyRef::Known`] indexes this list.
    pub outputs: Vec<Property>,
    /// Line in the file.
    pub line: u32,
}

/// What an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventClass {
    /// Goes with readings.
    Info,
    /// Becomes a signal, MAJOR unless stated.
    Alert,
    /// Becomes a signal, MINOR unless stated.
    Error,
}

/// A command of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Identifier, the last level of its topic.
    pub identifier: Box<str>,
    /// Whether the caller waits.
    pub sync: bool,
    /// How long the reply may take, at most 24 h.
    pub timeout: Millis,
    /// Whether a second person must agree.
    pub dangerous: bool,
    /// Its arguments.
    pub inputs: Vec<Property>,
    /// Its reply.
    pub outputs: Vec<Property>,
}

/// A number set per device at registration.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Identifier, as in `attr('…')`.
    pub identifier: Box<str>,
    /// Type; booleans are the numbers 0 and 1.
    pub data: DataType,
    /// Value of devices that set none.
    pub default: Option<f64>,
    /// Line in the file.
    pub line: u32,
}

/// What becomes of a property that is not in the model (lenient mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// Kept in history with a flag.
    KeepFlagged,
    /// Left out and counted.
    Drop,
}

/// Which time is believed (devices, section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePolicy {
    /// Whose clock.
    pub source: TimeSource,
    /// How far a device clock may be ahead.
    pub clock_skew: Millis,
    /// How old data may be before it is late.
    pub late_after: Millis,
    /// What older data without `backfill` is.
    pub old: OldPolicy,
    /// Offset of device texts without zone, in ms east of UTC.
    pub zone: Millis,
}

/// Whose clock gives `t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The device's, within bounds.
    Device,
    /// The hub's.
    Server,
}

/// What data older than `late_after` without `backfill` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldPolicy {
    /// Late data, kept at its own time.
    Late,
    /// Fresh data of a device with a bad clock: life safety.
    Untrusted,
}

/// When a device counts as late or silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// A report is expected this often.
    pub expect_every: Millis,
    /// LATE after this long without a valid reading.
    pub late_after: Millis,
    /// SILENT after this long without a valid reading.
    pub silent_after: Millis,
    /// How long a sample counts for rules; `None` is for ever.
    pub valid_for: Option<Millis>,
    /// Whether that is so many periods: of a device with a period of its own it is as many of those.
    pub valid_for_periods: bool,
}

impl Liveness {
    /// How long a sample of a device with this period of its own counts for rules.
    #[must_use]
    pub fn valid_for(&self, own: Option<Millis>) -> Option<Millis> {
        let common = self.valid_for?;
        let Some(own) = own.filter(|_| self.valid_for_periods) else { return Some(common) };
        let scaled = i128::from(common) * i128::from(own) / i128::from(self.expect_every.max(1));
        Some(Millis::try_from(scaled).unwrap_or(Millis::MAX))
    }
}

/// Limits of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// Messages a second.
    pub rate: f64,
    /// Messages at once.
    pub burst: u32,
    /// Bytes of a payload.
    pub payload_max: u32,
}
