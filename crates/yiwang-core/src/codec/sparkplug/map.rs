//! Metrics become properties: by the name of the product file, else by their own.

use hashbrown::HashMap;

use super::arrays::append_json;
use super::payload::{Carried, Datatype, Metric, Payload};
use super::session::{Refused, Session};
use super::{BD_SEQ, Topic};
use crate::codec::Fields;
use crate::codec::json::Cursor;
use crate::codec::value::{Convert, fits};
use crate::record::Millis;
use crate::sample::{Quality, Span, Value};
use crate::thing::DataType;
use crate::validate::{Intake, Tag};

/// Metrics that steer the edge node or its devices and measure nothing.
const CONTROLS: [&str; 2] = ["Node Control/", "Device Control/"];

/// A compiled `codec.kind: sparkplugB`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    /// Property by the name of its metric; one that is not here has the property's identifier.
    pub(crate) names: HashMap<Box<str>, u16>,
    /// By property; the plain one where there is none.
    pub(crate) conversions: Vec<Convert>,
}

impl Metrics {
    /// Reads the values of a message; aliases and types that it leaves out are those of the session.
    pub(crate) fn read(
        &self,
        topic: &Topic<'_>,
        payload: &Payload<'_>,
        session: &Session,
        intake: &mut Intake<'_>,
    ) -> Result<Fields, Refused> {
        let mut group: Option<(Option<Millis>, bool)> = None;
        let mut groups = 0;
        let own_time =
            |metric: &Metric<'_>| metric.timestamp.filter(|ts| Some(*ts) != payload.timestamp);
        for metric in payload.metrics() {
            let metric = metric?;
            let next = (own_time(&metric), metric.historical);
            if group != Some(next) {
                if let Some(open) = group {
                    end(intake, open, false);
                }
                intake.begin();
                group = Some(next);
                groups += 1;
            }
            self.metric(topic, &metric, session, intake)?;
        }
        if let Some(open) = group {
            // Births tell everything; other messages tell what changed.
            end(intake, open, topic.kind.is_birth() && groups == 1);
        }
        Ok(Fields { ts: payload.timestamp, ..Fields::default() })
    }

    fn metric(
        &self,
        topic: &Topic<'_>,
        metric: &Metric<'_>,
        session: &Session,
        intake: &mut Intake<'_>,
    ) -> Result<(), Refused> {
        let told = session.name_of(topic.device, metric);
        let (name, datatype) = told.ok_or(Refused::Unknown("an alias that a birth has named"))?;
        let datatype = datatype.or_else(|| own_type(metric.carried));
        let datatype = datatype.ok_or(Refused::Unknown("a datatype, or a birth that tells it"))?;
        let known = self.names.get(name).copied().or_else(|| intake.plan.find(name));
        let control = name == BD_SEQ || CONTROLS.iter().any(|control| name.starts_with(control));
        if known.is_none() && control {
            return Ok(());
        }
        if datatype.is_refused() {
            return Err(Refused::Unknown("a metric of a type that a property can have"));
        }
        if metric.transient {
            intake.dropped += 1;
            return Ok(());
        }
        if !intake.admit() {
            return Ok(());
        }
        match known {
            Some(property) if intake.see(property) => {
                self.property(property, datatype, metric, intake);
            }
            Some(_) => {}
            None => unknown(name, datatype, metric, intake),
        }
        Ok(())
    }

    fn property(
        &self,
        property: u16,
        datatype: Datatype,
        metric: &Metric<'_>,
        intake: &mut Intake<'_>,
    ) {
        if metric.null || metric.carried == Carried::None {
            let value = Value::Json(intake.out.push_text("null"));
            intake.take(property, value, Tag { ts: None, quality: Quality::Bad });
            return;
        }
        let plan = intake.plan;
        let data = &plan.checks[usize::from(property)].data;
        let plain = const { &Convert::plain() };
        let convert = self.conversions.get(usize::from(property)).unwrap_or(plain);
        let value = match (datatype.0, metric.carried) {
            (1..=8 | 13, carried) => {
                datatype.whole(carried).and_then(|whole| convert.whole(whole, data))
            }
            (9, Carried::Float(value)) => convert.real(f64::from(value), data),
            (10, Carried::Double(value)) => convert.real(value, data),
            (11, Carried::Bool(value)) => convert.truth(value, data),
            (12 | 14 | 15, Carried::Text(text)) => match data {
                DataType::Text { bytes_max } if text.len() <= *bytes_max as usize => {
                    Some(Value::Text(intake.out.push_text(text)))
                }
                _ => convert.word(text, data),
            },
            (22..=34, Carried::Bytes(bytes)) => array(datatype, bytes, data, intake),
            _ => None,
        };
        match value {
            Some(value) => intake.take(property, value, Tag::default()),
            None => {
                let raw = json(datatype, metric.carried);
                intake.misfit(property, &raw, datatype.as_str(), Tag::default());
            }
        }
    }
}

/// Ends the group of one time.
fn end(intake: &mut Intake<'_>, (ts, historical): (Option<Millis>, bool), required: bool) {
    if historical {
        intake.end_historical(ts);
    } else {
        intake.end(ts, required);
    }
}

/// An array of the wire as one of the model.
fn array(
    datatype: Datatype,
    bytes: &[u8],
    data: &DataType,
    intake: &mut Intake<'_>,
) -> Option<Value> {
    let text = &mut intake.out.text;
    let start = text.len();
    append_json(datatype, bytes, text)?;
    let span = Span { start: start as u32, len: (text.len() - start) as u32 };
    let mut cursor = Cursor::over(intake.out.text_at(span));
    if fits(&mut cursor, data) == Ok(true) {
        return Some(Value::Json(span));
    }
    intake.out.text.truncate(start);
    None
}

/// The type of a value whose field tells it.
fn own_type(carried: Carried<'_>) -> Option<Datatype> {
    match carried {
        Carried::Float(_) => Some(Datatype(9)),
        Carried::Double(_) => Some(Datatype(10)),
        Carried::Bool(_) => Some(Datatype(11)),
        Carried::Text(_) => Some(Datatype(12)),
        _ => None,
    }
}

#[cold]
fn unknown(name: &str, datatype: Datatype, metric: &Metric<'_>, intake: &mut Intake<'_>) {
    let raw = if metric.null { String::from("null") } else { json(datatype, metric.carried) };
    let name = intake.out.push_text(name);
    intake.unknown(name, &raw);
}

/// A value as JSON text, for what is kept as it came.
#[cold]
fn json(datatype: Datatype, carried: Carried<'_>) -> String {
    let json = match carried {
        Carried::Int(_) | Carried::Long(_) => {
            datatype.whole(carried).map(|value| value.to_string())
        }
        Carried::Float(value) => value.is_finite().then(|| value.to_string()),
        Carried::Double(value) => value.is_finite().then(|| value.to_string()),
        Carried::Bool(value) => Some(value.to_string()),
        Carried::Text(text) => Some(serde_json::Value::from(text).to_string()),
        Carried::Bytes(bytes) => {
            let mut text = String::new();
            append_json(datatype, bytes, &mut text).map(|()| text)
        }
        Carried::None | Carried::Other => None,
    };
    json.unwrap_or_else(|| String::from("null"))
}
