//! A batch through the step in chunks: read what names its device itself, look up all, wait for memory once, route each.
//!
//! Owns the order of these passes, which changes nothing of what comes out: decoding and looking up depend on the
//! configuration alone, and the state is touched record by record in the order of the log.

use std::ops::Range;

use super::shared::Shared;
use super::state::{PartitionState, Workspace};
use super::step::{Decoded, decode};
use super::{Fate, Input, Place, Sink};
use crate::codec::{Header, Received};
use crate::record::Millis;
use crate::registry::DeviceNo;

/// Records that are looked up together: their memory is fetched at the same time.
const CHUNK: usize = 64;

/// What is known of a record before it is routed.
#[derive(Default)]
pub(super) struct Prepared {
    /// The device it is from, if it is a registered one.
    pub device: Option<DeviceNo>,
    /// Where the key that it names stands in the workspace.
    key: Option<Range<usize>>,
    /// What it says, where its device is named in it: the samples lie in the arena of its place.
    pub decoded: Option<Decoded>,
    /// Its place in the chunk.
    pub at: usize,
}

impl PartitionState {
    /// Routes the records of one batch in order.
    pub fn route_batch<'a>(
        &mut self,
        shared: &Shared,
        (epoch, partition): (u32, u16),
        mut records: impl Iterator<Item = (u64, Input<'a>)>,
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) {
        let mut chunk = [(0, Input::Tick { received_at: 0 }); CHUNK];
        let mut prepared: [Prepared; CHUNK] = std::array::from_fn(|_| Prepared::default());
        loop {
            let filled = chunk.iter_mut().zip(&mut records).map(|(to, record)| *to = record);
            let count = filled.count();
            let (chunk, prepared) = (&chunk[..count], &mut prepared[..count]);
            self.prepare(shared, chunk, prepared, work, sink);
            for ((seq, input), prepared) in chunk.iter().zip(prepared) {
                let place = Place { epoch, partition, seq: *seq };
                let prepared = std::mem::take(prepared);
                self.route_prepared(shared, place, (input, prepared), work, sink);
            }
            if count < CHUNK {
                return;
            }
        }
    }

    /// Routes one record.
    pub fn route(
        &mut self,
        shared: &Shared,
        place: Place,
        input: &Input<'_>,
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) -> Fate {
        let mut prepared = [Prepared::default()];
        self.prepare(shared, &[(place.seq, *input)], &mut prepared, work, sink);
        let [prepared] = prepared;
        self.route_prepared(shared, place, (input, prepared), work, sink)
    }

    /// Decodes what names its device itself, looks up all devices, and waits for their memory.
    ///
    /// Each pass over the chunk follows one more pointer for every record, so that the processor has many loads under
    /// way at a time; record by record it would wait for each of them alone.
    fn prepare(
        &self,
        shared: &Shared,
        chunk: &[(u64, Input<'_>)],
        prepared: &mut [Prepared],
        work: &mut Workspace,
        sink: &mut dyn Sink,
    ) {
        let registry = shared.registry();
        work.keys.clear();
        let mut clock = self.clock().unwrap_or_default();
        for (at, ((_, input), prepared)) in chunk.iter().zip(&mut *prepared).enumerate() {
            prepared.at = at;
            prepared.key = key(shared, input, clock, prepared, work);
            if let Some(Ok(Header { time: Some(time), .. })) = prepared.decoded {
                clock = clock.max(time);
            }
        }
        let Workspace { keys, numbers, .. } = work;
        for prepared in &mut *prepared {
            let key = prepared.key.clone().and_then(|key| keys.get(key));
            prepared.device = key.and_then(|key| registry.candidate(key));
        }
        numbers.clear();
        numbers.extend(prepared.iter().filter_map(|prepared| prepared.device));
        self.touch(shared, numbers);
        sink.expect(numbers);
        for prepared in &mut *prepared {
            let Some(key) = prepared.key.clone().and_then(|key| keys.get(key)) else { continue };
            if prepared.device.is_some_and(|number| !registry.is_key_of(number, key)) {
                prepared.device = registry.device(key).map(|(number, _)| number);
            }
        }
    }

    /// Reads what the step will read of these devices; what is read says nothing.
    fn touch(&self, shared: &Shared, numbers: &[DeviceNo]) {
        let pass = |read: &dyn Fn(DeviceNo) -> usize| {
            let all = numbers.iter().fold(0_usize, |all, number| all ^ read(*number));
            std::hint::black_box(all);
        };
        pass(&|number| shared.touch(number));
        pass(&|number| self.touch_place(number));
        pass(&|number| shared.touch_key(number));
        pass(&|number| self.touch_state(number));
        pass(&|number| self.touch_values(number));
    }
}

/// The key of a record's device, as a range of the workspace's keys; decodes where it stands in the body, which has the
/// time of `clock` if it has none of its own.
fn key(
    shared: &Shared,
    input: &Input<'_>,
    clock: Millis,
    prepared: &mut Prepared,
    work: &mut Workspace,
) -> Option<Range<usize>> {
    let start = work.keys.len();
    match input {
        Input::Raw(raw) => work.keys.push_str(raw.device),
        Input::Named { product, raw } => {
            let product = shared.registry().products.get(usize::from(*product))?;
            let decoded = prepared.decoded.insert(decode(
                product,
                None,
                (raw, Received::InFile(clock)),
                work,
            ));
            let name = decoded.as_ref().ok().and_then(|header| header.device);
            if let Some(name) = name {
                work.keys.push_str(&product.key);
                work.keys.push('/');
                work.keys.push_str(work.samples.text_at(name));
            }
            // Each keeps its samples until its turn.
            work.swap_arena(prepared.at);
            name?;
        }
        Input::Clear(clear) => work.keys.push_str(clear.device),
        Input::Tick { .. } | Input::Poison { .. } | Input::Unreadable { .. } => return None,
    }
    Some(start..work.keys.len())
}
