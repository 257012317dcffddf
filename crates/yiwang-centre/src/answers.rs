//! What is told of the inputs and answers of a batch: to the ledger, to the metrics, and to the clock of sensor to desk.

use std::collections::HashMap;

use yiwang_core::ids::Id;
use yiwang_core::incident::{Answer, Command, Outcome};
use yiwang_core::record::{Millis, Signal};

use crate::metrics;

const STAGE: &str = "centre";

/// A counter of the ledger: stage, name, how many.
pub(crate) type Count = (&'static str, &'static str, i64);

/// What the ledger counts beside the outcomes, which the store counts with their rows.
pub(crate) fn counted(answers: &[Answer]) -> Vec<Count> {
    let duplicates = answers.iter().filter(|answer| answer.duplicate).count();
    let differ = answers.iter().filter(|answer| answer.content_differs).count();
    let count = |name, number| (STAGE, name, i64::try_from(number).unwrap_or(i64::MAX));
    vec![
        count("signals", answers.len()),
        count("duplicate", duplicates),
        count("content_differs", differ),
    ]
}

pub(crate) fn record_answers(answers: &[Answer]) {
    let duplicates = answers.iter().filter(|answer| answer.duplicate).count();
    metrics::record_duplicates(duplicates as u64);
    for answer in answers.iter().filter(|answer| !answer.duplicate) {
        metrics::record_signals(answer.outcome, 1);
    }
}

/// When the signals that opened incidents were received.
pub(crate) fn received(batch: &[Signal], answers: &[Answer]) -> HashMap<Id, Millis> {
    let opened = batch
        .iter()
        .zip(answers)
        .filter(|(_, answer)| answer.outcome == Outcome::Opened && !answer.duplicate);
    opened.filter_map(|(signal, answer)| Some((answer.incident?, signal.received_at))).collect()
}

/// Whether the store keeps the texts that came in as they are; it replaces NUL characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inputted {
    AsStored,
    Changed,
}

impl Inputted {
    pub(crate) fn of_signals(signals: &[Signal]) -> Self {
        Self::of(signals.iter().flat_map(|signal| {
            let optional = [signal.asset.as_deref(), signal.place.as_deref()];
            [
                signal.source.as_str(),
                &signal.event_id,
                &signal.alarm_key,
                &signal.category,
                &signal.device,
                &signal.cause,
                &signal.text,
            ]
            .into_iter()
            .chain(optional.into_iter().flatten())
        }))
    }

    pub(crate) fn of_command(command: &Command) -> Self {
        let texts = [command.request_id.as_str(), &command.unit, &command.person, &command.note];
        Self::of(texts.into_iter().chain(command.evidence.iter().map(String::as_str)))
    }

    fn of<'t>(mut texts: impl Iterator<Item = &'t str>) -> Self {
        if texts.any(|text| text.as_bytes().contains(&0)) { Self::Changed } else { Self::AsStored }
    }
}
