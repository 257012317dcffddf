//! One raw record through the step: look up, decode, recognise, apply rules, hand out.
//!
//! Owns the order of these and the fate. A codec that panics poisons its record only: it is quarantined and its working
//! memory thrown away; the state is touched after decoding and by code that cannot fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::batch::Prepared;
use super::shared::{Routed, Shared};
use super::state::{PartitionState, Workspace};
use super::window::Seen;
use super::{Fate, Input, Place, Quarantined, Reading, Rejection, RouteCounters, Sink, fold};
use crate::codec::sparkplug::Session;
use crate::codec::{Header, Message, MessageId, Received};
use crate::ids::{self, Id};
use crate::maintenance::end_of;
use crate::record::{BodyKind, Lane, Millis, QuarantineReason, Raw, Signal, SignalKind};
use crate::registry::Lifecycle;
use crate::rules::{Born, Emitted, Mark, Sample};
use crate::sample::{Flags, Samples};
use crate::thing::{EventClass, Product};

/// Flags of sets whose time is our own.
const OUR_TIME: u32 =
    Flags::NO_TIME.0 | Flags::CLOCK_UNSET.0 | Flags::CLOCK_AHEAD.0 | Flags::CLOCK_BEHIND.0;

impl PartitionState {
    /// Routes one record whose device was looked up.
    pub(super) fn route_prepared(
        &mut self,
        shared: &Shared,
        place: Place,
        (input, prepared): (&Input<'_>, Prepared),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let fate = match *input {
            Input::Tick { received_at } => self.tick(shared, received_at, work, sink),
            Input::Clear(clear) => self.clear(shared, place, (&clear, prepared.device), work, sink),
            Input::Raw(raw) => {
                self.advance(raw.received_at, false);
                self.route_raw(shared, place, (&raw, prepared), work, sink)
            }
            Input::Named { raw, .. } => {
                self.route_named(shared, place, (raw, prepared), work, sink)
            }
            Input::Poison { raw, attempts } => {
                self.advance(raw.received_at, false);
                work.id = by_place(place);
                let (reason, detail) = (QuarantineReason::Codec, "the process ended at it");
                let (id, product) = (work.id, None);
                sink.quarantine(&Quarantined { raw: &raw, id, reason, detail, product, attempts });
                Fate::Quarantined(reason)
            }
            Input::Unreadable { key, bytes } => {
                let raw = Raw {
                    device: key,
                    lane: Lane::Listen,
                    kind: BodyKind::Other,
                    path: "",
                    listener: "",
                    peer: "",
                    received_at: self.clock().unwrap_or(0),
                    payload: bytes,
                };
                let detail = "record of topic raw cannot be read";
                let about = About { raw: &raw, id: by_place(place), product: None };
                quarantine(&about, QuarantineReason::Frame, detail, sink)
            }
        };
        self.counters.fate(fate);
        fate
    }

    /// The device and the time are those of the body; without them there is nobody to ask about.
    fn route_named(
        &mut self,
        shared: &Shared,
        place: Place,
        (raw, mut prepared): (Raw<'_>, Prepared),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let time = prepared.decoded.as_ref().and_then(|decoded| decoded.as_ref().ok()?.time);
        let received_at = time.or(self.clock()).unwrap_or_default();
        self.advance(received_at, false);
        let device = prepared.device.and_then(|no| shared.registry().at(no));
        let raw = Raw { device: device.map_or("", |device| &device.key), received_at, ..raw };
        if let Some(Err(fault)) = prepared.decoded.take_if(|decoded| decoded.is_err()) {
            let about = About { raw: &raw, id: by_place(place), product: None };
            return quarantine(&about, fault.reason, &fault.detail, sink);
        }
        self.route_raw(shared, place, (&raw, prepared), work, sink)
    }

    fn route_raw(
        &mut self,
        shared: &Shared,
        place: Place,
        (raw, prepared): (&Raw<'_>, Prepared),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let mut unknown = || {
            work.id = by_place(place);
            About { raw, id: work.id, product: None }
        };
        let Some(no) = prepared.device else {
            let detail = "device is not registered";
            return quarantine(&unknown(), QuarantineReason::UnknownDevice, detail, sink);
        };
        let Some(routed) = shared.device(no) else {
            let detail = "product of the device is not loaded";
            return quarantine(&unknown(), QuarantineReason::NoProductVersion, detail, sink);
        };
        if !routed.device.lifecycle.is_active()
            && let Some(fate) = bar(&routed, &unknown(), sink)
        {
            return fate;
        }
        let unnamed = Unnamed::At(place);
        if let Some(decoded) = prepared.decoded {
            work.swap_arena(prepared.at);
            return self.route_decoded(&routed, (raw, unnamed), decoded, work, sink);
        }
        if raw.kind != BodyKind::Property
            && let Some(fate) = self.route_parts(shared, place, (raw, &routed), work, sink)
        {
            return fate;
        }
        self.route_known(&routed, raw, unnamed, work, sink)
    }

    /// Routes a message of a device that may speak; `unnamed` is its id if it has none of its own.
    pub(super) fn route_known(
        &mut self,
        routed: &Routed<'_>,
        raw: &Raw<'_>,
        unnamed: Unnamed,
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let now = Received::At(raw.received_at);
        let decoded = decode(routed.product, None, (raw, now), work);
        self.route_decoded(routed, (raw, unnamed), decoded, work, sink)
    }

    /// Routes a message whose samples lie in the workspace.
    fn route_decoded(
        &mut self,
        routed: &Routed<'_>,
        (raw, unnamed): (&Raw<'_>, Unnamed),
        decoded: Decoded,
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let (identity, backfill) = match &decoded {
            Ok(header) => (header.identity, header.backfill),
            Err(fault) => (fault.identity, false),
        };
        let id = raw_id(raw, identity, unnamed, &work.samples);
        work.id = id;
        let at = self.place_of(routed);
        if let Some(fate) = self.recognise(at, raw, identity, id, backfill) {
            return fate;
        }
        let about = About { raw, id, product: Some(routed.product) };
        match decoded {
            Err(fault) => quarantine(&about, fault.reason, &fault.detail, sink),
            Ok(header) => match names_another(routed, raw, &header, &work.samples) {
                Some(detail) => {
                    quarantine(&about, QuarantineReason::IdentityMismatch, &detail, sink)
                }
                None => {
                    self.counters.values_dropped += u64::from(header.dropped);
                    self.apply(at, routed, &header, (raw, id), work, sink);
                    Fate::Routed
                }
            },
        }
    }

    /// Whether the id was seen; a fate only if the record ends here.
    pub(super) fn recognise(
        &mut self,
        at: usize,
        raw: &Raw<'_>,
        identity: MessageId,
        id: Id,
        backfill: bool,
    ) -> Option<Fate> {
        if identity == MessageId::Place {
            return None;
        }
        let clock = self.clock;
        let window = &mut self.devices.get_mut(at)?.window;
        let digest = xxhash_rust::xxh3::xxh3_64(raw.payload) as u32;
        let seen = match identity {
            MessageId::Sequence { boot, seq } => {
                window.sequence((boot, seq), backfill, digest, clock)
            }
            MessageId::Text(_) | MessageId::Content { .. } => window.id(id, digest, clock),
            MessageId::Place => Seen::New,
        };
        match seen {
            Seen::New => None,
            Seen::Duplicate { differs } => {
                self.counters.content_differs += u64::from(differs);
                Some(Fate::Duplicate)
            }
            Seen::Replay => Some(Fate::Rejected(Rejection::Replay)),
        }
    }

    /// Readings and signals by time. Their ids count the readings first, then the signals that samples gave birth to.
    pub(super) fn apply(
        &mut self,
        at: usize,
        routed: &Routed<'_>,
        header: &Header,
        (raw, id): (&Raw<'_>, Id),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) {
        let Workspace { samples, emitted, .. } = work;
        let event = header.event.and_then(|event| routed.product.events.get(usize::from(event)));
        // While people work on a device or test it, what it reports is history: a set of values like an info event.
        let raises = routed.device.lifecycle.raises();
        let alert = event.filter(|event| event.class != EventClass::Info && raises);
        let Some(device) = self.devices.get_mut(at) else { return };
        if event.is_none() {
            routed.checks.judge(&mut device.latest, samples);
        }
        let cx = routed.context();
        let count = samples.sets.len() as u64;
        let mut next = count;
        for (index, set) in (0..).zip(&samples.sets) {
            let reading = ids::output(id, index);
            let values = samples.values_of(set);
            if let Some(event) = alert.filter(|_| end_of(routed.windows, set.t).is_none()) {
                event_signal(routed, event, (raw, reading, set.t), sink);
                self.counters.signals += 1;
                continue;
            }
            let mut alarming = false;
            emitted.clear();
            if event.is_none() {
                let ours = set.flags.0 & OUR_TIME != 0;
                let mark = Mark { t: set.t, raw: if ours { id } else { Id(0) } };
                let sample = Sample { mark, rx: raw.received_at, values };
                alarming = match device.own {
                    true => device.rules.sample(&cx, &sample, emitted),
                    false => device.rules.stray(&cx, &sample, emitted),
                };
            }
            sink.reading(&Reading {
                id: reading,
                raw: id,
                device_no: routed.no,
                device: routed.device,
                product: routed.product,
                event: header.event,
                t: set.t,
                received_at: raw.received_at,
                flags: set.flags,
                alarming,
                values,
                samples,
            });
            if !emitted.is_empty() {
                let (received_at, clock) = (raw.received_at, self.clock);
                let cause = Cause { received_at, clock, raw: Some((id, reading)) };
                emit(routed, &cause, &mut next, emitted, (&mut self.counters, sink));
            }
            self.counters.readings += 1;
        }
        if event.is_none() {
            self.wake(at, &cx);
        }
    }
}

/// What names a message that has no id of its own.
#[derive(Clone, Copy)]
pub(super) enum Unnamed {
    /// Where it lies; its id is made when it is needed.
    At(Place),
    /// This id.
    As(Id),
}

impl Unnamed {
    fn id(self) -> Id {
        match self {
            Self::At(place) => by_place(place),
            Self::As(id) => id,
        }
    }
}

/// The fate of what a device says that may not speak.
pub(super) fn bar(routed: &Routed<'_>, about: &About<'_>, sink: &mut dyn Sink) -> Option<Fate> {
    match routed.device.lifecycle {
        Lifecycle::Disabled | Lifecycle::Retired => Some(Fate::Rejected(Rejection::Disabled)),
        Lifecycle::Pending => {
            let detail = "device awaits approval";
            Some(quarantine(about, QuarantineReason::DevicePending, detail, sink))
        }
        _ => None,
    }
}

/// What a quarantine row is about.
pub(super) struct About<'a> {
    pub raw: &'a Raw<'a>,
    pub id: Id,
    pub product: Option<&'a Product>,
}

pub(super) fn quarantine(
    about: &About<'_>,
    reason: QuarantineReason,
    detail: &str,
    sink: &mut dyn Sink,
) -> Fate {
    let About { raw, id, product } = *about;
    sink.quarantine(&Quarantined { raw, id, reason, detail, product, attempts: 1 });
    Fate::Quarantined(reason)
}

/// Why a record does not decode.
pub(super) struct Fault {
    pub reason: QuarantineReason,
    pub detail: String,
    pub identity: MessageId,
}

/// What a record says; its samples lie in the workspace.
pub(super) type Decoded = Result<Header, Fault>;

/// Decodes into the workspace; the time of reception is `None` for bytes that stand for the moment they tell.
pub(super) fn decode(
    product: &Product,
    session: Option<&Session>,
    (raw, received): (&Raw<'_>, Received),
    work: &mut Workspace,
) -> Decoded {
    let message = Message { kind: raw.kind, path: raw.path, payload: raw.payload, received };
    let Workspace { scratch, samples, .. } = work;
    // Unwind safe: after a panic the working memory is thrown away and nothing else was touched.
    let decoded =
        catch_unwind(AssertUnwindSafe(|| product.decode_in(session, &message, scratch, samples)));
    match decoded {
        Ok(Ok(header)) => Ok(header),
        Ok(Err(fault)) => {
            Err(Fault { reason: fault.reason, detail: fault.detail, identity: fault.identity })
        }
        Err(_) => {
            (*scratch, *samples) = Default::default();
            let (reason, detail) = (QuarantineReason::Codec, "panic in the codec".to_owned());
            Err(Fault { reason, detail, identity: MessageId::Place })
        }
    }
}

pub(super) fn by_place(place: Place) -> Id {
    ids::raw_by_place(place.epoch, place.partition, place.seq)
}

pub(super) fn raw_id(
    raw: &Raw<'_>,
    identity: MessageId,
    unnamed: Unnamed,
    samples: &Samples,
) -> Id {
    match identity {
        MessageId::Sequence { boot, seq } => ids::raw_by_sequence(raw.device, boot, seq),
        MessageId::Text(span) => ids::raw_by_message_id(raw.device, samples.text_at(span)),
        MessageId::Content { ts } => ids::raw_by_content(raw.device, ts, raw.payload),
        MessageId::Place => unnamed.id(),
    }
}

/// The detail of a payload that names another device than the one it came from.
fn names_another(
    routed: &Routed<'_>,
    raw: &Raw<'_>,
    header: &Header,
    samples: &Samples,
) -> Option<String> {
    let named = samples.text_at(header.device?);
    let key = raw.device.as_bytes();
    let usual = key.strip_suffix(named.as_bytes()).and_then(|rest| rest.strip_suffix(b"/"));
    if usual == Some(routed.product.key.as_bytes()) {
        return None;
    }
    let name = raw.device.split_once('/').map_or(raw.device, |(_, name)| name);
    (named != name && named != raw.device)
        .then(|| format!("payload names device {named}, expected {name}"))
}

/// What a record or tick gives to the signals it causes.
pub(super) struct Cause {
    pub received_at: Millis,
    /// Of the partition.
    pub clock: Millis,
    /// Raw id and the reading's id, for signals that a sample gave birth to.
    pub raw: Option<(Id, Id)>,
}

/// Hands out what rules emitted, and counts it; `next` is the index of the next sample-born one.
pub(super) fn emit(
    routed: &Routed<'_>,
    cause: &Cause,
    next: &mut u64,
    emitted: &[Emitted],
    (counters, sink): (&mut RouteCounters, &mut dyn Sink),
) {
    let key = &*routed.device.key;
    for one in emitted {
        let Some(rule) = routed.rules.rules.get(usize::from(one.rule)) else { continue };
        let (id, reading) = match (one.born, cause.raw) {
            (Born::Timer(edge), _) => (edge.id(&routed.product.key, &rule.id, one.kind, key), None),
            (Born::Sample, Some((raw, reading))) => {
                *next += 1;
                (ids::output(raw, *next - 1), Some(reading))
            }
            (Born::Sample, None) => {
                debug_assert!(false, "only a sample gives birth to a sample-born signal");
                continue;
            }
        };
        let group = routed.folds.and_then(|it| it.group(routed.device, usize::from(one.rule)));
        let signal = Signal {
            kind: one.kind,
            category: rule.category.to_string(),
            severity: one.severity,
            time: one.time,
            since: one.since,
            cause: one.cause.as_str().to_owned(),
            text: one.text.clone(),
            reading,
            ..frame(routed, id, &rule.id, cause.received_at)
        };
        fold::tell(signal, group, cause.clock, counters, sink);
    }
}

/// What every signal of a device says.
pub(super) fn frame(routed: &Routed<'_>, id: Id, rule: &str, received_at: Millis) -> Signal {
    let device = routed.device;
    Signal {
        source: ["device/", &device.key].concat(),
        event_id: id.to_hex(),
        kind: SignalKind::Event,
        alarm_key: [&device.key, "/", rule].concat(),
        category: String::new(),
        severity: crate::record::AlarmSeverity::Info,
        time: 0,
        since: 0,
        received_at,
        device: device.key.to_string(),
        asset: device.asset.as_deref().map(str::to_owned),
        place: Some(device.place.deepest().to_string()),
        point: device.point,
        cause: String::new(),
        text: String::new(),
        reading: None,
        members: Vec::new(),
    }
}

/// An alert or error event of the model becomes a signal of its own.
fn event_signal(
    routed: &Routed<'_>,
    event: &crate::thing::EventModel,
    (raw, id, t): (&Raw<'_>, Id, Millis),
    sink: &mut dyn Sink,
) {
    sink.signal(&Signal {
        category: event.category.as_deref().unwrap_or_default().to_owned(),
        severity: event.severity,
        time: t,
        since: t,
        text: event.name.to_string(),
        ..frame(routed, id, &event.identifier, raw.received_at)
    });
}
