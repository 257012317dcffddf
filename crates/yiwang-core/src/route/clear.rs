//! An operator's clear of an alarm: one record of `raw`, in the order of the log, so a replay repeats it.
//!
//! It moves no clock: only gateways make time pass, and the clear happens at the partition's time. Its id is that of its
//! place, and the signal's is made of that. What nobody knows and what does not stand is counted, and nothing else.

use super::shared::Shared;
use super::state::{PartitionState, Workspace};
use super::step::{Cause, by_place, emit};
use super::{Fate, Place, Sink};
use crate::record::Clear;
use crate::registry::DeviceNo;
use crate::rules::Mark;

impl PartitionState {
    pub(super) fn clear(
        &mut self,
        shared: &Shared,
        place: Place,
        (clear, device): (&Clear<'_>, Option<DeviceNo>),
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        work.id = by_place(place);
        if device.and_then(|no| self.clear_of(shared, clear, no, work, sink)) != Some(true) {
            self.counters.clears_void += 1;
        }
        Fate::Clear
    }

    /// Whether an alarm stood; `None` for what was never heard or is not known.
    fn clear_of(
        &mut self,
        shared: &Shared,
        clear: &Clear<'_>,
        no: DeviceNo,
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Option<bool> {
        let at = *self.places.get(no.0 as usize)? as usize;
        let routed = shared.device(no)?;
        let rule = routed.rules.position(clear.rule)?;
        let (cx, now) = (routed.context(), self.clock);
        let rules = &mut self.devices.get_mut(at)?.rules;
        let Workspace { emitted, id, .. } = work;
        emitted.clear();
        let cleared = rules.clear(&cx, rule, Mark { t: now, raw: *id }, emitted);
        for one in &mut *emitted {
            one.text = format!("人工解除：{}（{}）", clear.reason, clear.actor);
        }
        let cause = Cause { received_at: now, clock: now, raw: None };
        emit(&routed, &cause, &mut 0, emitted, (&mut self.counters, sink));
        self.wake(at, &cx);
        Some(cleared)
    }
}
