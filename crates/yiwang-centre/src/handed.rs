//! Committed changes on their way from the writer to the feed, as the store has them: what this process wrote itself it
//! need not read back.
//!
//! Invariant: numbers grow. A shortcut only: what is not here lies in the outbox, and a hole makes the feed look there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use yiwang_core::ids::Id;
use yiwang_core::incident::{ChangeKind, OutboxRow};
use yiwang_core::record::Millis;
use yiwang_store::{Applied, OutboxEntry};

/// Changes that wait for the feed.
const WAITING_MAX: usize = 8_192;

/// A committed change.
pub(crate) struct Handed {
    pub(crate) entry: OutboxEntry,
    /// When the signal behind it was received, if it opened an incident.
    pub(crate) arrival: Option<Millis>,
}

/// Those that wait.
#[derive(Default)]
pub(crate) struct HandOver(Mutex<VecDeque<Handed>>);

impl HandOver {
    /// Adds the changes of a transaction that has committed.
    pub(crate) fn put(
        &self,
        outbox: Vec<OutboxRow>,
        applied: &Applied,
        received: &HashMap<Id, Millis>,
    ) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + outbox.len() > WAITING_MAX {
            waiting.clear();
            return;
        }
        for (mut row, seq) in outbox.into_iter().zip(applied.first_seq..) {
            if let Some(no) = applied.numbers.get(&row.incident) {
                row.view.no.clone_from(no);
            }
            let opened = row.kind == ChangeKind::Opened;
            let arrival = received.get(&row.incident).filter(|_| opened).copied();
            waiting.push_back(Handed { entry: OutboxEntry { seq, row }, arrival });
        }
    }

    /// Takes the changes from a number on, without a gap; those before it are forgotten.
    pub(crate) fn take(&self, from: u64) -> Vec<Handed> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.front().is_some_and(|change| change.entry.seq < from) {
            waiting.pop_front();
        }
        let next = waiting.iter().zip(from..).take_while(|(change, seq)| change.entry.seq == *seq);
        let count = next.count();
        waiting.drain(..count).collect()
    }
}
