//! The second stage of the router: rows of topic `lifecycle`, and the snapshots of what was folded.

use yiwang_core::outage::Folding;
use yiwang_proto::{Lifecycle, absence_to_bytes, lifecycle_from_bytes, time_to_bytes};

use crate::Check;

/// The rows of one input at most.
const ROWS_MAX: usize = 64;

/// Rows, each with two bytes for its length: every raise has one fate, whatever limits and times the rows bring.
pub(crate) fn lifecycle() -> Check {
    Box::new(|bytes| {
        let (mut folding, mut told, mut rest) = (Folding::default(), Vec::new(), bytes);
        for _ in 0..ROWS_MAX {
            let Some((length, after)) = rest.split_first_chunk::<2>() else { break };
            let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
            let (row, after) = after.split_at(length);
            rest = after;
            let Ok(Some(row)) = lifecycle_from_bytes(row) else { continue };
            let written = match &row {
                Lifecycle::Time(passed) => time_to_bytes(passed),
                Lifecycle::Absence { partition, absence } => absence_to_bytes(*partition, absence),
            };
            let again = lifecycle_from_bytes(&written).expect("what was written is read");
            assert_eq!(again.as_ref(), Some(&row));
            match row {
                Lifecycle::Time(passed) => folding.pass(passed, &mut told),
                Lifecycle::Absence { partition, absence } => {
                    folding.take(partition, *absence, &mut told);
                }
            }
        }
        let counts = folding.counts();
        let fates = counts.singly + counts.folded + counts.undone + folding.held();
        assert_eq!(counts.absences, fates);
        assert_eq!(counts.signals, told.len() as u64);
        let bytes = folding.encode();
        let again = Folding::decode(&bytes).expect("what was written is read");
        assert_eq!(again, folding);
    })
}

/// The snapshot of a partition of `lifecycle`.
pub(crate) fn folding() -> Check {
    Box::new(|bytes| {
        let Ok(folding) = Folding::decode(bytes) else { return };
        // What was believed is a state like any other: written, read and written again it is the same.
        let bytes = folding.encode();
        let again = Folding::decode(&bytes).expect("what was written is read");
        assert_eq!(again.encode(), bytes);
    })
}
