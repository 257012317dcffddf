//! Fields as single columns: numbers, texts, ids, words, and short lists as JSON.

use std::borrow::Cow;
use std::sync::Arc;

use yiwang_core::ids::Id;
use yiwang_core::incident::{
    Action, Cause, CauseKind, ChangeKind, ClockKind, CloseMethod, Confidence, LocatedBy, Notice,
    NoticeKind, Outcome, RefusalCode, RequestKind, RequestState, Role, State, TaskRole, TaskState,
};
use yiwang_core::record::{AlarmSeverity, Point, SignalKind};

use super::Cell;
use crate::engine::{Kind, Value, storable};

impl<C: Cell> Cell for Option<C> {
    const KIND: Kind = C::KIND;

    fn value(&self) -> Value<'_> {
        match (self, C::KIND) {
            (Some(inner), _) => inner.value(),
            (None, Kind::Int) => Value::Int(None),
            (None, Kind::Text) => Value::Text(None),
            (None, Kind::Bytes) => Value::Bytes(None),
        }
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        match value {
            Value::Int(None) | Value::Text(None) | Value::Bytes(None) => Some(None),
            _ => C::of(value).map(Some),
        }
    }
}

macro_rules! integers {
    ($($int:ty),+) => {$(
        impl Cell for $int {
            const KIND: Kind = Kind::Int;

            fn value(&self) -> Value<'_> {
                Value::Int(Some(i64::from(*self)))
            }

            fn of(value: &mut Value<'static>) -> Option<Self> {
                match value {
                    Value::Int(Some(value)) => Self::try_from(*value).ok(),
                    _ => None,
                }
            }
        }
    )+};
}
integers!(i64, u32, u8);

impl Cell for bool {
    const KIND: Kind = Kind::Int;

    fn value(&self) -> Value<'_> {
        Value::Int(Some(i64::from(*self)))
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        match value {
            Value::Int(Some(0)) => Some(false),
            Value::Int(Some(1)) => Some(true),
            _ => None,
        }
    }
}

/// The text of a value, taken out of it.
fn text(value: &mut Value<'static>) -> Option<Cow<'static, str>> {
    match value {
        Value::Text(text) => text.take(),
        _ => None,
    }
}

impl Cell for String {
    const KIND: Kind = Kind::Text;

    fn value(&self) -> Value<'_> {
        Value::text(self)
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        text(value).map(Cow::into_owned)
    }
}

impl Cell for Arc<str> {
    const KIND: Kind = Kind::Text;

    fn value(&self) -> Value<'_> {
        Value::text(self)
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        text(value).map(Arc::from)
    }
}

impl Cell for Id {
    const KIND: Kind = Kind::Bytes;

    fn value(&self) -> Value<'_> {
        Value::id(*self)
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        match value {
            Value::Bytes(Some(bytes)) => Some(Self::from_bytes(bytes.as_ref().try_into().ok()?)),
            _ => None,
        }
    }
}

macro_rules! words {
    ($($word:ty),+ $(,)?) => {$(
        impl Cell for $word {
            const KIND: Kind = Kind::Text;

            fn value(&self) -> Value<'_> {
                Value::text(self.as_str())
            }

            fn of(value: &mut Value<'static>) -> Option<Self> {
                match value {
                    Value::Text(Some(text)) => Self::parse(text),
                    _ => None,
                }
            }
        }
    )+};
}
words!(
    Action,
    AlarmSeverity,
    Cause,
    CauseKind,
    ChangeKind,
    ClockKind,
    CloseMethod,
    Confidence,
    LocatedBy,
    Outcome,
    RefusalCode,
    RequestKind,
    RequestState,
    Role,
    SignalKind,
    State,
    TaskRole,
    TaskState,
);

/// A point as one text, `lon_e6,lat_e6`: never compared, only read back.
impl Cell for Point {
    const KIND: Kind = Kind::Text;

    fn value(&self) -> Value<'_> {
        Value::owned(format!("{},{}", self.lon_e6, self.lat_e6))
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        let text = text(value)?;
        let (lon, lat) = text.split_once(',')?;
        Some(Self { lon_e6: lon.parse().ok()?, lat_e6: lat.parse().ok()? })
    }
}

fn to_json<'t>(texts: impl ExactSizeIterator<Item = &'t str>) -> Value<'static> {
    if texts.len() == 0 {
        return Value::text("[]");
    }
    let texts: Vec<Cow<'t, str>> = texts.map(storable).collect();
    // A list of texts always has a JSON form.
    Value::owned(serde_json::to_string(&texts).unwrap_or_default())
}

fn from_json(value: &mut Value<'static>) -> Option<Vec<String>> {
    serde_json::from_str(&text(value)?).ok()
}

impl Cell for Vec<String> {
    const KIND: Kind = Kind::Text;

    fn value(&self) -> Value<'_> {
        to_json(self.iter().map(String::as_str))
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        from_json(value)
    }
}

impl Cell for Vec<Arc<str>> {
    const KIND: Kind = Kind::Text;

    fn value(&self) -> Value<'_> {
        to_json(self.iter().map(AsRef::as_ref))
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        Some(from_json(value)?.into_iter().map(Arc::from).collect())
    }
}

/// Unit and kind in turns, in one list.
impl Cell for Vec<Notice> {
    const KIND: Kind = Kind::Text;

    fn value(&self) -> Value<'_> {
        let pairs: Vec<&str> =
            self.iter().flat_map(|notice| [&*notice.unit, notice.kind.as_str()]).collect();
        to_json(pairs.into_iter())
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        let texts = from_json(value)?;
        let notice = |pair: &[String]| match pair {
            [unit, kind] => {
                Some(Notice { unit: Arc::from(unit.as_str()), kind: NoticeKind::parse(kind)? })
            }
            _ => None,
        };
        texts.chunks(2).map(notice).collect()
    }
}
