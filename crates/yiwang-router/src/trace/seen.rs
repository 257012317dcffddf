//! A sink that watches the step: which ids came out of a record and, where it is wanted, the outputs themselves.

use std::collections::HashMap;

use yiwang_core::ids::Id;
use yiwang_core::record::Signal;
use yiwang_core::route::{Quarantined, Reading, Sink};
use yiwang_core::routes::Stream;
use yiwang_core::rules::Heard;
use yiwang_core::sample::Sampled;
use yiwang_proto::signal_to_bytes;

use crate::outputs::{device_fields, quarantine_bytes};
use crate::readings::Names;

/// Something that came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What it is.
    pub stream: Stream,
    /// Its id as printed: that of a reading or signal, of a quarantine row that of the raw record.
    pub id: String,
    /// The device that it is of.
    pub device: String,
    /// As it lies on the log.
    pub value: Vec<u8>,
}

impl Output {
    /// Whether a record of a stream with this id is this output.
    #[must_use]
    pub fn is(&self, stream: Stream, id: &str) -> bool {
        self.stream == stream && self.id == id
    }
}

/// The sink.
#[derive(Default)]
pub(super) struct Seen {
    /// What is looked for.
    pub wanted: Option<Id>,
    /// Whether it came out, or came out of what was looked for.
    pub hit: bool,
    /// Whether outputs are kept.
    pub keeps: bool,
    pub outputs: Vec<Output>,
    /// By device: the sets of properties behind the readings that are kept.
    pub heard: HashMap<String, Vec<Heard>>,
    names: Names,
}

impl Seen {
    /// Another configuration numbers properties anew.
    pub(super) fn forget_names(&mut self) {
        self.names.clear();
    }

    fn look(&mut self, ids: &[Id]) {
        self.hit |= self.wanted.is_some_and(|wanted| ids.contains(&wanted));
    }
}

impl Sink for Seen {
    fn reading(&mut self, reading: &Reading<'_>) {
        self.look(&[reading.id, reading.raw]);
        if !self.keeps {
            return;
        }
        let mut value = Vec::new();
        self.names.encode(reading, &device_fields(reading), &mut value);
        // What an event says is no sample of any rule.
        if reading.event.is_none() {
            let named = |sampled: &Sampled| (reading.identifier(sampled).to_owned(), *sampled);
            let values = reading.values.iter().map(named).collect();
            let (t, received_at) = (reading.t, reading.received_at);
            let sets = self.heard.entry(reading.device.key.to_string()).or_default();
            sets.push(Heard { t, received_at, values });
        }
        self.outputs.push(Output {
            stream: Stream::Readings,
            id: reading.id.to_string(),
            device: reading.device.key.to_string(),
            value,
        });
    }

    fn signal(&mut self, signal: &Signal) {
        if let Some(id) = Id::parse(&signal.event_id) {
            self.look(&[id]);
        }
        if self.keeps {
            self.outputs.push(Output {
                stream: Stream::Signals,
                id: signal.event_id.clone(),
                device: signal.device.clone(),
                value: signal_to_bytes(signal),
            });
        }
    }

    fn quarantine(&mut self, row: &Quarantined<'_>) {
        self.look(&[row.id]);
        if !self.keeps {
            return;
        }
        self.outputs.push(Output {
            stream: Stream::Quarantine,
            id: row.id.to_string(),
            device: row.raw.device.to_owned(),
            value: quarantine_bytes(row),
        });
    }
}
