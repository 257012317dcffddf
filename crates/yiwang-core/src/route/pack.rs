//! Packs: one record of a gateway device becomes messages of its children, each as if the child had sent it.
//!
//! The record has one fate. It is routed if any item came through; items that did not are rows of their own in the
//! quarantine, outside of the sum. Where none did, the record itself is quarantined, and can be replayed as it came.
//! The children's state is kept in the partition of their gateway device.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::shared::{Routed, Shared};
use super::state::{PartitionState, Workspace};
use super::step::{About, Unnamed, bar, by_place, quarantine, raw_id};
use super::{Fate, Place, Quarantined, Reading, Sink};
use crate::codec::MessageId;
use crate::codec::pack::{Envelope, Item, PATH, Pack};
use crate::ids::{self, Id};
use crate::record::{Absence, BodyKind, Command, QuarantineReason, Raw, Signal};

/// Why an item did not come through.
struct Failed {
    position: usize,
    id: Id,
    reason: QuarantineReason,
    detail: String,
}

impl PartitionState {
    /// Routes a record that carries messages of others; `None` for one that does not.
    pub(super) fn route_parts(
        &mut self,
        shared: &Shared,
        place: Place,
        (raw, routed): (&Raw<'_>, &Routed<'_>),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Option<Fate> {
        match raw.kind {
            BodyKind::Other if raw.path == PATH => {}
            BodyKind::Raw if routed.product.is_sparkplug() => {
                work.id = by_place(place);
                return Some(self.route_sparkplug(shared, work.id, (raw, routed), work, sink));
            }
            _ => return None,
        }
        // Decoding an item uses the rest of the working memory, and throws it away after a panic.
        let mut pack = std::mem::take(&mut work.pack);
        let fate = self.route_pack(shared, place, (raw, routed), &mut pack, work, sink);
        work.pack = pack;
        Some(fate)
    }

    fn route_pack(
        &mut self,
        shared: &Shared,
        place: Place,
        (raw, routed): (&Raw<'_>, &Routed<'_>),
        pack: &mut Pack,
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let kind = routed.product.access.identity;
        // Unwind safe: the pack is cleared before it is read again.
        let read = catch_unwind(AssertUnwindSafe(|| pack.read(raw.payload, kind)));
        let read = match read {
            Ok(read) => read.map_err(|fault| (fault.reason, fault.detail)),
            Err(_) => Err((QuarantineReason::Codec, "panic in the codec".to_owned())),
        };
        let unread = Envelope { identity: MessageId::Place, backfill: false };
        let Envelope { identity, backfill } = *read.as_ref().unwrap_or(&unread);
        let id = raw_id(raw, identity, Unnamed::At(place), &pack.texts);
        work.id = id;
        let at = self.place_of(routed);
        if let Some(fate) = self.recognise(at, raw, identity, id, backfill) {
            return fate;
        }
        let about = About { raw, id, product: Some(routed.product) };
        if let Err((reason, detail)) = read {
            return quarantine(&about, reason, &detail, sink);
        }
        let (mut failed, mut duplicate, mut rejected) = (Vec::new(), 0, 0);
        for (position, item) in pack.items.iter().enumerate() {
            let mut rows = Rows { sink, failed: &mut failed, position };
            match self.route_item(shared, (raw, id), (pack, item), work, &mut rows) {
                Fate::Duplicate => duplicate += 1,
                Fate::Rejected(_) => rejected += 1,
                Fate::Routed | Fate::Quarantined(_) | Fate::Tick | Fate::Clear => {}
            }
        }
        // Its items were records too.
        work.id = id;
        if let Some(first) = failed.first().filter(|_| failed.len() == pack.items.len()) {
            let Failed { position, reason, detail, .. } = first;
            let detail = format!("no item came through; item {position}: {detail}");
            return quarantine(&about, *reason, &detail, sink);
        }
        for failed in &failed {
            row(raw, pack, failed, shared, sink);
        }
        self.counters.items += pack.items.len() as u64;
        self.counters.item_quarantined += failed.len() as u64;
        self.counters.item_duplicate += duplicate;
        self.counters.item_rejected += rejected;
        Fate::Routed
    }

    fn route_item(
        &mut self,
        shared: &Shared,
        (raw, id): (&Raw<'_>, Id),
        (pack, item): (&Pack, &Item),
        work: &mut Workspace,
        rows: &mut Rows<'_>,
    ) -> Fate {
        let unnamed = ids::pack_item(id, rows.position as u64);
        let child = child(raw, pack, item);
        let about = About { raw: &child, id: unnamed, product: None };
        if let Err(expected) = item.content {
            let detail = format!("expected {expected}, found something else");
            return quarantine(&about, QuarantineReason::Schema, &detail, rows);
        }
        let Some((no, device)) = shared.registry().device(child.device) else {
            let detail = "device is not registered";
            return quarantine(&about, QuarantineReason::UnknownDevice, detail, rows);
        };
        if device.gateway() != Some(raw.device) {
            let detail = "device is not bound to this gateway device";
            return quarantine(&about, QuarantineReason::UnboundChild, detail, rows);
        }
        let Some(routed) = shared.device(no) else {
            let detail = "product of the device is not loaded";
            return quarantine(&about, QuarantineReason::NoProductVersion, detail, rows);
        };
        if let Some(fate) = bar(&routed, &about, rows) {
            return fate;
        }
        self.route_known(&routed, &child, Unnamed::As(unnamed), work, rows)
    }
}

/// An item as the record that its child would have sent; one that says nothing readable stays the gateway device's.
fn child<'a>(raw: &Raw<'a>, pack: &'a Pack, item: &Item) -> Raw<'a> {
    match &item.content {
        Ok(content) => Raw {
            device: pack.texts.text_at(content.key),
            kind: content.kind,
            path: pack.texts.text_at(content.path),
            payload: pack.body_of(content, raw.payload),
            ..*raw
        },
        Err(_) => {
            let (start, end) = item.whole;
            let payload = raw.payload.get(start as usize..end as usize).unwrap_or_default();
            Raw { payload, ..*raw }
        }
    }
}

/// Hands out the row of an item that did not come through.
fn row(raw: &Raw<'_>, pack: &Pack, failed: &Failed, shared: &Shared, sink: &mut dyn Sink) {
    let Some(item) = pack.items.get(failed.position) else { return };
    let child = child(raw, pack, item);
    let routed = shared.registry().device(child.device).and_then(|(no, _)| shared.device(no));
    sink.quarantine(&Quarantined {
        raw: &child,
        id: failed.id,
        reason: failed.reason,
        detail: &format!("item {}: {}", failed.position, failed.detail),
        product: routed.map(|routed| routed.product),
        attempts: 1,
    });
}

/// Passes readings and signals on and keeps what failed, until the fate of the whole is known.
struct Rows<'a> {
    sink: &'a mut dyn Sink,
    failed: &'a mut Vec<Failed>,
    position: usize,
}

impl Sink for Rows<'_> {
    fn reading(&mut self, reading: &Reading<'_>) {
        self.sink.reading(reading);
    }

    fn signal(&mut self, signal: &Signal) {
        self.sink.signal(signal);
    }

    fn absence(&mut self, absence: &Absence) {
        self.sink.absence(absence);
    }

    fn quarantine(&mut self, row: &Quarantined<'_>) {
        self.failed.push(Failed {
            position: self.position,
            id: row.id,
            reason: row.reason,
            detail: row.detail.to_owned(),
        });
    }

    fn command(&mut self, command: &Command) {
        self.sink.command(command);
    }
}
