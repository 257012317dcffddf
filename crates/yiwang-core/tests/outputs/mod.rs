//! Everything that the step hands out, as bytes, for tests that compare runs.
//!
//! Every output is taken apart field by field without `..`: a field that is added does not compile until it is written
//! here. Texts and lists stand behind their length, so no two outputs have the same bytes. Of what the configuration
//! holds (device, product, the groups of absences) the name stands for the whole.

use yiwang_core::ids::Id;
use yiwang_core::record::{Absence, Absent, Command, Group, Point, Raw, Signal};
use yiwang_core::route::{Quarantined, Reading, Sink};
use yiwang_core::sample::{PropertyRef, Sampled, Samples, Value};

/// The outputs since it was last emptied.
#[derive(Default)]
pub struct Bytes {
    pub bytes: Vec<u8>,
    /// Signals ever.
    pub signals: u64,
}

impl Bytes {
    fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn int(&mut self, int: i64) {
        self.bytes.extend_from_slice(&int.to_le_bytes());
    }

    fn id(&mut self, id: Id) {
        self.bytes.extend_from_slice(&id.to_bytes());
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    /// Whether there is one, then it.
    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.bytes.push(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn point(&mut self, point: Option<Point>) {
        self.option(point, |to, Point { lon_e6, lat_e6 }| {
            to.int(lon_e6.into());
            to.int(lat_e6.into());
        });
    }

    fn value(&mut self, sampled: &Sampled, samples: &Samples) {
        let Sampled { property, value, quality, flags } = *sampled;
        match property {
            PropertyRef::Known(index) => self.number(index.into()),
            PropertyRef::Unknown(name) => {
                self.number(u64::MAX);
                self.text(samples.text_at(name));
            }
        }
        let (kind, bits) = match value {
            Value::Bool(value) => (0, u64::from(value)),
            Value::Int(value) => (1, value.cast_unsigned()),
            // Bits: a number that is none is not equal to itself.
            Value::Float(value) => (2, value.to_bits()),
            Value::Enum(value) => (3, u64::from(value)),
            Value::Date(value) => (4, value.cast_unsigned()),
            Value::Text(span) => (5, u64::from(span.len)),
            Value::Json(span) => (6, u64::from(span.len)),
        };
        self.bytes.push(kind);
        self.number(bits);
        if let Value::Text(span) | Value::Json(span) = value {
            self.bytes.extend_from_slice(samples.text_at(span).as_bytes());
        }
        self.bytes.push(quality as u8);
        self.number(flags.0.into());
    }

    fn raw(&mut self, raw: &Raw<'_>) {
        let Raw { device, lane, kind, path, listener, peer, received_at, payload } = *raw;
        self.bytes.extend([lane as u8, kind as u8]);
        for text in [device, path, listener, peer] {
            self.text(text);
        }
        self.int(received_at);
        self.blob(payload);
    }
}

impl Sink for Bytes {
    fn reading(&mut self, reading: &Reading<'_>) {
        let Reading {
            id,
            raw,
            device_no,
            device,
            product,
            event,
            t,
            received_at,
            flags,
            alarming,
            values,
            samples,
        } = *reading;
        self.bytes.push(b'r');
        self.id(id);
        self.id(raw);
        self.number(device_no.0.into());
        self.text(&device.key);
        self.text(&product.key);
        self.text(&product.version);
        self.option(event, |to, event| to.number(event.into()));
        self.int(t);
        self.int(received_at);
        self.number(flags.0.into());
        self.bytes.push(u8::from(alarming));
        self.number(values.len() as u64);
        for value in values {
            self.value(value, samples);
        }
    }

    fn signal(&mut self, signal: &Signal) {
        let Signal {
            source,
            event_id,
            kind,
            alarm_key,
            category,
            severity,
            time,
            since,
            received_at,
            device,
            asset,
            place,
            point,
            cause,
            text,
            reading,
            members,
        } = signal;
        self.signals += 1;
        self.bytes.extend([b's', *kind as u8, *severity as u8]);
        for text in [source, event_id, alarm_key, category, device, cause, text] {
            self.text(text);
        }
        for time in [*time, *since, *received_at] {
            self.int(time);
        }
        for name in [asset, place] {
            self.option(name.as_deref(), Self::text);
        }
        self.point(*point);
        self.option(*reading, Self::id);
        self.number(members.len() as u64);
        for member in members {
            self.text(member);
        }
    }

    /// What nothing folds is a signal like any other, here too.
    fn absence(&mut self, absence: &Absence) {
        let Absence { signal, group, what, clock, number } = absence;
        let Group { key, .. } = group;
        let says = *what == Absent::Says;
        self.bytes.extend([b'a', u8::from(says)]);
        self.text(key);
        self.int(*clock);
        self.number(*number);
        if says {
            self.signal(signal);
        } else {
            self.text(&signal.device);
            self.text(&signal.alarm_key);
        }
    }

    fn quarantine(&mut self, row: &Quarantined<'_>) {
        let Quarantined { raw, id, reason, detail, product, attempts } = *row;
        self.bytes.push(b'q');
        self.id(id);
        self.raw(raw);
        self.text(reason.as_str());
        self.text(detail);
        self.option(product, |to, product| {
            to.text(&product.key);
            to.text(&product.version);
        });
        self.number(attempts.into());
    }

    fn command(&mut self, command: &Command) {
        let Command { id, device, lane, listener, topic, payload, asked_at } = command;
        self.bytes.extend([b'c', *lane as u8]);
        self.id(*id);
        for text in [device, listener, topic] {
            self.text(text);
        }
        self.blob(payload);
        self.int(*asked_at);
    }
}
