//! The records that lie on the logs, as the program means them. Their bytes are the business of `yiwang-proto`.

use crate::ids::Id;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// How a raw record came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Our own MQTT front: the session's identity was checked.
    Listen,
    /// An outside broker: the topic is the identity, that broker's ACL must enforce it.
    Subscribe,
    /// A Kafka intake topic: the key is the identity.
    Kafka,
}

/// What the body of a raw record is, by its native topic (devices, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// `up/property`: one set, a batch or a history of properties.
    Property,
    /// `up/event/{eventId}`: one device event of the model.
    Event,
    /// `up/raw`: opaque bytes for the product's codec.
    Raw,
    /// `up/status`, `up/topo`, `up/get`, `up/reply`, `up/pack`: kept, not yet interpreted.
    Other,
}

/// Bytes as received, with who, how and when; borrowed from the batch it was read with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Raw<'a> {
    /// Claimed device key `pk/dn`.
    pub device: &'a str,
    /// How it came in.
    pub lane: Lane,
    /// What the body is.
    pub kind: BodyKind,
    /// The part of the topic after `up/` (`property`, `event/tamper`, …); empty off MQTT.
    pub path: &'a str,
    /// Name of the listener, broker or intake topic.
    pub listener: &'a str,
    /// Address of the peer, for the lobby and for audits.
    pub peer: &'a str,
    /// Stamped once by the gateway, ms UTC.
    pub received_at: Millis,
    /// The bytes.
    pub payload: &'a [u8],
}

/// An operator's clear of an alarm, on `raw` like what its device says; borrowed from the batch it was read with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clear<'a> {
    /// Key of the device.
    pub device: &'a str,
    /// Id of the rule.
    pub rule: &'a str,
    /// Who clears.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Stamped by the service that took it, ms UTC. It moves no clock.
    pub received_at: Millis,
}

/// The heartbeat of a gateway on every partition of `raw`: what makes time pass where nothing is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Name of the gateway process.
    pub origin: String,
    /// When, ms UTC.
    pub received_at: Millis,
}

/// How bad, from least to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmSeverity {
    /// INFO
    Info,
    /// MINOR
    Minor,
    /// MAJOR
    Major,
    /// CRITICAL
    Critical,
}

impl AlarmSeverity {
    /// All severities, from least to worst.
    pub const ALL: [Self; 4] = [Self::Info, Self::Minor, Self::Major, Self::Critical];

    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Minor => "MINOR",
            Self::Major => "MAJOR",
            Self::Critical => "CRITICAL",
        }
    }

    /// The inverse of [`AlarmSeverity::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// An alarm began.
    Raise,
    /// An alarm ended.
    Clear,
    /// An alarm's severity changed.
    Severity,
    /// An alarm still stands.
    Remind,
    /// A device event of the thing model.
    Event,
    /// A report of a partner or a citizen.
    Report,
}

impl SignalKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Raise, Self::Clear, Self::Severity, Self::Remind, Self::Event, Self::Report];

    /// The published word, also a field of timer-born ids.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raise => "raise",
            Self::Clear => "clear",
            Self::Severity => "severity",
            Self::Remind => "remind",
            Self::Event => "event",
            Self::Report => "report",
        }
    }

    /// The inverse of [`SignalKind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A point in integers of 1e-6 degree; the datum is that of the district unless stated beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// Longitude.
    pub lon_e6: i32,
    /// Latitude.
    pub lat_e6: i32,
}

/// Something that may need a person: immutable, unique by (source, event id).
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// `device/{pk}/{dn}`, `partner/{id}`, `outage/{group}`.
    pub source: String,
    /// Deterministic id (32 hex digits) for devices, the caller's `request_id` for reports.
    pub event_id: String,
    /// What it says; it clears if and only if the kind is `Clear`.
    pub kind: SignalKind,
    /// Device + rule; raise, severity and clear of one alarm share it. Empty for reports.
    pub alarm_key: String,
    /// Dotted category code.
    pub category: String,
    /// How bad.
    pub severity: AlarmSeverity,
    /// Device time of the edge, ms UTC.
    pub time: Millis,
    /// Since when the condition holds, ms UTC; of a report, when its sender says it was seen, else 0.
    pub since: Millis,
    /// When the hub received what caused it, ms UTC.
    pub received_at: Millis,
    /// Device key, empty for reports and outages of an area.
    pub device: String,
    /// Asset id.
    pub asset: Option<String>,
    /// Unit id of the registered or stated place.
    pub place: Option<String>,
    /// Where.
    pub point: Option<Point>,
    /// `MISSING`, `QUIET`, `LATE`, `OPERATOR`, `RULE_REMOVED`, `FLAPPING`, or empty.
    pub cause: String,
    /// One line for people, e.g. the property values that raised it.
    pub text: String,
    /// The reading that caused it, where one did.
    pub reading: Option<Id>,
    /// Device keys that it adds to an outage, ascending; empty for everything else.
    pub members: Vec<String>,
}

impl Signal {
    /// Whether this ends an alarm.
    #[must_use]
    pub fn clears(&self) -> bool {
        self.kind == SignalKind::Clear
    }
}

/// When devices of a group that fall silent are one outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Least share of the group's devices, in percent.
    pub share_percent: u32,
    /// Least number of devices.
    pub members_min: u32,
    /// … that do so within this time; so long is a raise held.
    pub within: Millis,
    /// No single ones until so long after the last; longer than `within`.
    pub quiet: Millis,
}

/// Devices that fall silent together if anything between them and the hub fails, and what an outage of them is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// `gateway/pk/dn` or `area/unit`.
    pub key: Box<str>,
    /// Devices in service whose absence would be noticed.
    pub size: u32,
    /// When they are told together.
    pub limits: Limits,
    /// Dotted category code of the outage.
    pub category: Box<str>,
    /// How bad it is.
    pub severity: AlarmSeverity,
    /// Name for people.
    pub name: Box<str>,
    /// Device key of the gateway device; empty for an area.
    pub device: Box<str>,
    /// Asset of the gateway device.
    pub asset: Option<Box<str>>,
    /// Unit id of the area, or of the gateway device's place.
    pub place: Box<str>,
    /// Where the gateway device is.
    pub point: Option<Point>,
}

/// What a record says of an absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Its signal.
    Says,
    /// That its alarm stands, and is of another group from now on.
    Left,
}

/// A signal of a rule about absence, on its way to whoever sees the whole group.
#[derive(Clone, Debug, PartialEq)]
pub struct Absence {
    /// The signal; of `Left` only its device and alarm key count.
    pub signal: Signal,
    /// Whose group the device is of.
    pub group: Group,
    /// What is said.
    pub what: Absent,
    /// Clock of the partition of `raw` that it came of.
    pub clock: Millis,
    /// Number among those that came of it, ascending.
    pub number: u64,
}

/// That time has passed on a partition of `raw`, told to whoever sees whole groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The partition.
    pub partition: u16,
    /// How many there are.
    pub partitions: u16,
    /// Its clock.
    pub at: Millis,
    /// Longest that a partition is waited for which has not come as far as others.
    pub late: Millis,
}

/// A message for a device, to go the way that the device's own messages come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Deterministic: the same command twice has the same.
    pub id: Id,
    /// Device key.
    pub device: String,
    /// By which lane it was last heard.
    pub lane: Lane,
    /// Name of the listener or broker.
    pub listener: String,
    /// MQTT topic.
    pub topic: String,
    /// The message.
    pub payload: Vec<u8>,
    /// When it was asked for, ms UTC by the clock of the device's partition.
    pub asked_at: Millis,
}

/// Why a raw record could not be normalised (devices, section 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuarantineReason {
    /// The sender is not registered.
    UnknownDevice,
    /// A pack names a child that is not bound to its gateway.
    UnboundChild,
    /// Registered but not yet approved.
    DevicePending,
    /// The pinned product version is not loaded.
    NoProductVersion,
    /// No frame.
    Frame,
    /// Wrong check sum.
    Checksum,
    /// The codec could not read it.
    Codec,
    /// The content does not fit the thing model.
    Schema,
    /// A value lies outside its range and the product is strict.
    Range,
    /// The payload names another device than the session.
    IdentityMismatch,
}

impl QuarantineReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::UnknownDevice,
        Self::UnboundChild,
        Self::DevicePending,
        Self::NoProductVersion,
        Self::Frame,
        Self::Checksum,
        Self::Codec,
        Self::Schema,
        Self::Range,
        Self::IdentityMismatch,
    ];

    /// The published code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownDevice => "UNKNOWN_DEVICE",
            Self::UnboundChild => "UNBOUND_CHILD",
            Self::DevicePending => "DEVICE_PENDING",
            Self::NoProductVersion => "NO_PRODUCT_VERSION",
            Self::Frame => "FRAME",
            Self::Checksum => "CHECKSUM",
            Self::Codec => "CODEC",
            Self::Schema => "SCHEMA",
            Self::Range => "RANGE",
            Self::IdentityMismatch => "IDENTITY_MISMATCH",
        }
    }

    /// The inverse of [`QuarantineReason::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
