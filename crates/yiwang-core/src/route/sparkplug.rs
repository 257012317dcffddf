//! Sparkplug messages: one record of an edge node is a message of the node or of one of its devices.
//!
//! The session of the node is part of its state in the partition, so aliases, gaps and deaths follow from the records
//! and a replay repeats them. The sequence is the node's and so are the ids: `bdSeq` is the boot, `seq` unwrapped the
//! counter. Where births are wanted a command asks for them; sending it is the gateway's business.

use super::shared::{Routed, Shared};
use super::state::{PartitionState, Workspace};
use super::step::{About, bar, decode, quarantine};
use super::{Fate, Rejection, Sink};
use crate::codec::sparkplug::{
    MessageType, Payload, Refused, Session, Standing, Topic, rebirth_request,
};
use crate::codec::{Fault, MessageId, Received};
use crate::ids::{self, Hasher, Id};
use crate::record::{Command, Millis, QuarantineReason, Raw};

impl PartitionState {
    /// Routes a message of an edge node.
    pub(super) fn route_sparkplug(
        &mut self,
        shared: &Shared,
        unnamed: Id,
        (raw, routed): (&Raw<'_>, &Routed<'_>),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let at = self.place_of(routed);
        let about = About { raw, id: unnamed, product: Some(routed.product) };
        let Some(topic) = Topic::parse(raw.path) else {
            let detail = "path: expected a Sparkplug topic of an edge node, found another";
            return quarantine(&about, QuarantineReason::Codec, detail, sink);
        };
        if !topic.is_node(routed.device.node_name()) {
            let detail = format!("topic names edge node {}.{}", topic.group, topic.edge);
            return quarantine(&about, QuarantineReason::IdentityMismatch, &detail, sink);
        }
        let fate = self.place_message(shared, at, (&topic, about), work, sink);
        let now = self.clock;
        let session = self.devices.get_mut(at).and_then(|device| device.session.as_mut());
        if session.is_some_and(|session| session.ask(now)) {
            self.counters.rebirths_wanted += 1;
            sink.command(&rebirth(raw, &topic, now));
        }
        fate
    }

    /// Finds the place of a message in the session, and routes it where it has one.
    fn place_message(
        &mut self,
        shared: &Shared,
        at: usize,
        (topic, mut about): (&Topic<'_>, About<'_>),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let (raw, now) = (about.raw, self.clock);
        let payload = Payload::read(raw.payload).map_err(Refused::Broken);
        let observed = self.session(at).map(|session| match payload {
            Ok(payload) => session.observe(topic, &payload, now).map(|placed| (payload, placed)),
            Err(refused) => {
                session.want_births();
                Err(refused)
            }
        });
        let (payload, standing) = match observed {
            Some(Ok(observed)) => observed,
            Some(Err(refused)) => return refuse(&about, refused, sink),
            None => return Fate::Rejected(Rejection::Replay),
        };
        let (boot, seq) = match standing {
            Standing::Counted { boot, seq, .. } => (boot, seq),
            Standing::Died | Standing::Command => return Fate::Routed,
            Standing::Stale => return Fate::Rejected(Rejection::Replay),
        };
        let identity = MessageId::Sequence { boot, seq };
        about.id = ids::raw_by_sequence(raw.device, boot, seq);
        work.id = about.id;
        if let Some(fate) = self.recognise(at, raw, identity, about.id, false) {
            return fate;
        }
        if topic.kind == MessageType::DeviceDeath {
            self.session(at).into_iter().for_each(|session| session.forget(topic.device));
            return Fate::Routed;
        }
        let learnt = topic.kind.is_birth().then(|| self.session(at)).flatten();
        if let Some(Err(refused)) = learnt.map(|session| session.learn(topic, &payload)) {
            return refuse(&about, refused, sink);
        }
        self.route_values(shared, at, (topic, about), work, sink)
    }

    /// Routes the values of a message to the device that they are of.
    fn route_values(
        &mut self,
        shared: &Shared,
        at: usize,
        (topic, about): (&Topic<'_>, About<'_>),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let routed = match speaker(shared, topic, about.raw, &mut work.alias) {
            Ok(routed) => routed,
            Err((reason, detail)) => return quarantine(&about, reason, detail, sink),
        };
        if let Some(fate) = bar(&routed, &about, sink) {
            return fate;
        }
        let about = About { product: Some(routed.product), ..about };
        let session = self.devices.get(at).and_then(|device| device.session.as_deref());
        let raw = (about.raw, Received::At(about.raw.received_at));
        match decode(routed.product, session, raw, work) {
            Ok(header) => {
                let child = self.place_of(&routed);
                self.counters.values_dropped += u64::from(header.dropped);
                self.apply(child, &routed, &header, (about.raw, about.id), work, sink);
                Fate::Routed
            }
            Err(fault) => {
                // What cannot be read may be readable after a birth; a value that does not fit will not.
                if fault.reason == QuarantineReason::Codec {
                    self.session(at).into_iter().for_each(|session| session.want_births());
                }
                quarantine(&about, fault.reason, &fault.detail, sink)
            }
        }
    }

    fn session(&mut self, at: usize) -> Option<&mut Session> {
        Some(self.devices.get_mut(at)?.session.get_or_insert_default())
    }
}

/// The device that a message of this node speaks of: the node itself, or the one with the alias `{group}.{edge}/{device}`.
fn speaker<'a>(
    shared: &'a Shared,
    topic: &Topic<'_>,
    raw: &Raw<'_>,
    alias: &mut String,
) -> Result<Routed<'a>, (QuarantineReason, &'static str)> {
    let registry = shared.registry();
    let found = if topic.device.is_empty() {
        registry.device(raw.device)
    } else {
        alias.clear();
        for piece in [topic.group, ".", topic.edge, "/", topic.device] {
            alias.push_str(piece);
        }
        registry.device_by_alias(alias)
    };
    let unknown = (QuarantineReason::UnknownDevice, "device of the edge node is not registered");
    let (no, device) = found.ok_or(unknown)?;
    if !topic.device.is_empty() && device.gateway() != Some(raw.device) {
        return Err((QuarantineReason::UnboundChild, "device is not bound to this edge node"));
    }
    let unloaded = (QuarantineReason::NoProductVersion, "product of the device is not loaded");
    shared.device(no).ok_or(unloaded)
}

/// What asks an edge node for its births, by way of where it was heard.
fn rebirth(raw: &Raw<'_>, topic: &Topic<'_>, asked_at: Millis) -> Command {
    Command {
        // A node is asked at most once a minute, so its clock tells one from another.
        id: Hasher::new().text("command/rebirth").text(raw.device).int(asked_at).finish(),
        device: raw.device.to_owned(),
        lane: raw.lane,
        listener: raw.listener.to_owned(),
        topic: topic.to_node(MessageType::NodeCommand),
        payload: rebirth_request(asked_at),
        asked_at,
    }
}

fn refuse(about: &About<'_>, refused: Refused, sink: &mut dyn Sink) -> Fate {
    let Fault { reason, detail, .. } = refused.fault();
    quarantine(about, reason, &detail, sink)
}
