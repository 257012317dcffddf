//! Ticks: time passes where nothing is received.
//!
//! Only devices whose wake time has come are looked at. They run in the order of their true due time and key, so the
//! order of outputs does not depend on how the wake list came to be: a replay from a snapshot gives the same bytes.

use super::shared::Shared;
use super::state::{PartitionState, Workspace, is_heard};
use super::step::{Cause, emit};
use super::{Fate, Sink};
use crate::record::Millis;
use crate::registry::DeviceNo;

impl PartitionState {
    pub(super) fn tick(
        &mut self,
        shared: &Shared,
        received_at: Millis,
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        self.advance(received_at, true);
        if self.clock < self.quiet_until {
            return Fate::Tick;
        }
        let now = self.clock;
        self.collect_due(shared, now, work);
        let due = std::mem::take(&mut work.due);
        for (_, at) in &due {
            self.tick_device(shared, *at as usize, now, work, sink);
        }
        work.due = due;
        Fate::Tick
    }

    /// Fills `work.due` with the devices that a timer moves now; the others go back on the list.
    fn collect_due(&mut self, shared: &Shared, now: Millis, work: &mut Workspace) {
        work.due.clear();
        while let Some(std::cmp::Reverse((wake, at))) = self.wakes.peek().copied() {
            if wake > now {
                break;
            }
            self.wakes.pop();
            let Some(device) = self.devices.get_mut(at as usize) else { continue };
            if device.wake != wake {
                continue;
            }
            device.wake = Millis::MAX;
            let Some(routed) = shared.device(device.no) else { continue };
            let cx = routed.context();
            match device.rules.due(&cx, device.listened(self.listening_since)) {
                Some(due) if due <= now => work.due.push((due, at)),
                Some(_) => self.wake(at as usize, &cx),
                None => {}
            }
        }
        self.collect_unheard(shared, now, work);
        let key = |at: u32| {
            let no: Option<DeviceNo> = self.devices.get(at as usize).map(|device| device.no);
            no.and_then(|no| shared.device(no)).map(|routed| &*routed.device.key)
        };
        work.due.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(&key(b.1))));
    }

    /// Those that were never heard have a state from here on.
    fn collect_unheard(&mut self, shared: &Shared, now: Millis, work: &mut Workspace) {
        let Self { listed, places, devices, .. } = self;
        let is_heard = |no| is_heard(places, devices, no);
        let due = listed.take_due(now, self.listening_since, is_heard);
        for (since, no) in due {
            let Some(routed) = shared.device(no) else { continue };
            let at = self.place_of(&routed);
            let Some(device) = self.devices.get_mut(at) else { continue };
            device.rules.wait(since);
            let due = device.rules.due(&routed.context(), self.listening_since);
            work.due.extend(due.map(|due| (due, at as u32)));
        }
    }

    fn tick_device(
        &mut self,
        shared: &Shared,
        at: usize,
        now: Millis,
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) {
        let Some(device) = self.devices.get_mut(at) else { return };
        let Some(routed) = shared.device(device.no) else { return };
        let cx = routed.context();
        work.emitted.clear();
        let listening_since = device.listened(self.listening_since);
        device.rules.tick(&cx, now, listening_since, &mut work.emitted);
        let cause = Cause { received_at: now, clock: now, raw: None };
        emit(&routed, &cause, &mut 0, &work.emitted, (&mut self.counters, sink));
        self.wake(at, &cx);
    }
}
