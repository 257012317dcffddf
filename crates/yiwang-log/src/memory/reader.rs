//! Reading one topic of the memory log; a seeded share of reads takes all partitions away first.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::Rng as _;

use super::{EPOCH, Memory, State};
use crate::error::Error;
use crate::log::CommitterInner;
use crate::records::{BatchLimit, Event, Position, Records};
use crate::tail::{Cursor, Fetch};
use crate::topic::TopicId;

/// Reads one topic of a memory log.
#[derive(Debug)]
pub(crate) struct MemoryReader {
    log: Arc<Memory>,
    topic: TopicId,
    group: Arc<str>,
    cursors: Vec<Cursor>,
    turn: usize,
    events: VecDeque<Event>,
}

impl MemoryReader {
    pub(super) fn new(log: Arc<Memory>, topic: TopicId, group: Arc<str>) -> Self {
        let (cursors, events) = (Vec::new(), VecDeque::new());
        let mut reader = Self { log, topic, group, cursors, turn: 0, events };
        reader.assign();
        reader
    }

    pub(crate) async fn next(&mut self, limit: BatchLimit) -> Result<Event, Error> {
        let ratio = self.log.config.faults.rebalance_ratio;
        if self.events.is_empty() && ratio > 0.0 && self.log.lock().rng.random_bool(ratio) {
            self.events.push_back(Event::Revoked((0..self.cursors.len() as u16).collect()));
            self.assign();
        }
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        let log = self.log.clone();
        log.until(|state| self.poll(state, limit)).await
    }

    /// One look at all partitions, beginning with the one after the last that gave records.
    fn poll(&mut self, state: &mut State, limit: BatchLimit) -> Option<Result<Event, Error>> {
        let count = self.cursors.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let partition = index as u16;
            let slot = self.log.layout.slot(self.topic, partition);
            match state.tails[slot].fetch(self.cursors[index], limit) {
                Fetch::AtEnd => {}
                Fetch::Cut(cut) => {
                    self.cursors[index] = cut.cursor;
                    self.turn = index + 1;
                    let next = cut.cursor.seq;
                    let records = Records::new(EPOCH, partition, next, cut.parts);
                    return Some(Ok(Event::Records(records)));
                }
                Fetch::Behind | Fetch::Outside if state.halted.is_none() => {
                    let (seq, tail) = (self.cursors[index].seq, &state.tails[slot]);
                    return Some(Err(self.log.outside(self.topic, partition, seq, tail)));
                }
                Fetch::Behind | Fetch::Outside => {}
            }
        }
        let over = state.halted.is_some()
            || (state.closed && state.unsafe_appends.is_empty() && state.acks.is_empty());
        over.then(|| Ok(Event::Records(Records::shutdown())))
    }

    /// Takes all partitions from their committed positions.
    fn assign(&mut self) {
        let partitions = self.log.layout.spec(self.topic).partitions;
        let committed = self.log.committed(self.topic, &self.group);
        let state = self.log.lock();
        self.cursors = (0..partitions)
            .map(|partition| {
                let first = state.tails[self.log.layout.slot(self.topic, partition)].first;
                let known = committed.iter().find(|position| position.partition == partition);
                Cursor::at(known.map_or(first, |position| position.seq))
            })
            .collect();
        drop(state);
        self.events.push_back(Event::Assigned((0..partitions).collect()));
    }

    pub(crate) fn seek(&mut self, position: Position) -> Result<(), Error> {
        let index = usize::from(position.partition);
        if position.epoch != EPOCH || index >= self.cursors.len() {
            return Err(Error::Revoked { partition: position.partition });
        }
        self.cursors[index] = Cursor::at(position.seq);
        Ok(())
    }

    pub(crate) fn committer(&self) -> CommitterInner {
        CommitterInner::Memory(self.log.clone(), self.topic, self.group.clone())
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        if let Ok(mut state) = self.log.state.lock() {
            state.readers.remove(&(self.topic, self.group.clone()));
        }
    }
}
