//! A batch through the step in chunks: read what names its device itself, look up all, wait for memory once, route each.
//!
//! Owns the order of these passes, which changes nothing of what comes out: decoding and looking up depend on the
//! configuration alone, and the state is touched record by record in the order of the log.

use super::shared::Shared;
use super::state::{PartitionState, Workspace};
use super::step::{Decoded, decode};
use super::{Fate, Input, Place, Sink};
use crate::registry::DeviceNo;

/// Records that are looked up together: their memory is fetched at the same time.
const CHUNK: usize = 64;

/// What is known of a record before it is routed.
#[derive(Default)]
pub(super) struct Prepared {
    /// The device it is from, if it is a registered one.
    pub device: Option<DeviceNo>,
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
            self.prepare(shared, chunk, prepared, work);
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
        self.prepare(shared, &[(place.seq, *input)], &mut prepared, work);
        let [prepared] = prepared;
        self.route_prepared(shared, place, (input, prepared), work, sink)
    }

    fn prepare(
        &self,
        shared: &Shared,
        chunk: &[(u64, Input<'_>)],
        prepared: &mut [Prepared],
        work: &mut Workspace,
    ) {
        for (at, ((_, input), prepared)) in chunk.iter().zip(&mut *prepared).enumerate() {
            prepared.at = at;
            if let Input::Named { product, raw } = input
                && let Some(product) = shared.registry().products.get(usize::from(*product))
            {
                prepared.decoded = Some(decode(product, raw, None, work));
                // Each keeps its samples until its turn.
                work.swap_arena(at);
            }
        }
        for ((_, input), prepared) in chunk.iter().zip(&mut *prepared) {
            prepared.device = look_up(shared, input, prepared, work);
        }
        let devices = prepared.iter().filter_map(|prepared| prepared.device);
        let touched = devices.fold(0, |all, no| all ^ shared.touch(no) ^ self.touch(no));
        std::hint::black_box(touched);
    }
}

/// The device that a record is from.
fn look_up(
    shared: &Shared,
    input: &Input<'_>,
    prepared: &Prepared,
    work: &mut Workspace,
) -> Option<DeviceNo> {
    let registry = shared.registry();
    let no = match input {
        Input::Raw(raw) => registry.device(raw.device)?.0,
        Input::Named { product, .. } => {
            let Some(Ok(header)) = &prepared.decoded else { return None };
            let Workspace { arenas, key, .. } = work;
            let name = arenas.get(prepared.at)?.text_at(header.device?);
            key.clear();
            key.push_str(&registry.products.get(usize::from(*product))?.key);
            key.push('/');
            key.push_str(name);
            registry.device(key)?.0
        }
        Input::Tick { .. } | Input::Unreadable { .. } => return None,
    };
    Some(no)
}
