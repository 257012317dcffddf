//! Neutral values: what both engines can hold, and nothing else.
//!
//! Texts lose NUL characters (they become U+FFFD) on the way in, because PostgreSQL refuses them
//! and a device may send them: the same rule on both engines keeps one behaviour and makes no
//! signal unstorable.

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Row as _};

use yiwang_core::ids::Id;

use crate::Error;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// INTEGER, BIGINT.
    Int,
    /// TEXT.
    Text,
    /// BLOB, BYTEA.
    Bytes,
}

/// A value of a column or of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// A whole number.
    Int(Option<i64>),
    /// UTF-8 text.
    Text(Option<Cow<'a, str>>),
    /// Bytes.
    Bytes(Option<Cow<'a, [u8]>>),
    /// An id, in a column of bytes.
    Id(Id),
    /// Parameter only: a list of texts.
    Texts(Vec<&'a str>),
    /// Parameter only: a list of ids.
    Ids(Vec<Id>),
}

impl<'a> Value<'a> {
    pub(crate) fn int(value: i64) -> Self {
        Self::Int(Some(value))
    }

    pub(crate) fn text(value: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }

    pub(crate) fn owned(value: String) -> Self {
        Self::Text(Some(Cow::Owned(value)))
    }

    pub(crate) fn id(value: Id) -> Self {
        Self::Id(value)
    }
}

/// The text as it is stored.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.as_bytes().contains(&0) {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn encode_failed(error: sqlx::error::BoxDynError) -> Error {
    Error::Conflict { reason: error.to_string() }
}

/// Texts that were made an argument already: most texts of a batch are words of the program and names of units, which
/// lie at the same place in many rows.
pub(crate) struct Shared<'v> {
    slots: Vec<Option<(&'v str, Arc<str>)>>,
}

impl<'v> Shared<'v> {
    /// Texts remembered; one that falls on another's slot takes it.
    const SLOTS: usize = 128;

    pub(crate) fn new() -> Self {
        Self { slots: vec![None; Self::SLOTS] }
    }

    /// The text as it is stored, made once.
    fn get(&mut self, text: &'v str) -> Arc<str> {
        // Only a hash: neighbours in memory fall on different slots.
        let place = (text.as_ptr() as usize / 8 + text.len()) % Self::SLOTS;
        let slot = &mut self.slots[place];
        match slot {
            Some((known, made)) if std::ptr::eq(*known, text) => Arc::clone(made),
            _ => {
                let made: Arc<str> = storable(text).into();
                *slot = Some((text, Arc::clone(&made)));
                made
            }
        }
    }
}

/// Values as arguments of SQLite; lists become JSON for `json_each`.
pub(crate) fn add_arguments<'v>(
    arguments: &mut SqliteArguments,
    values: impl ExactSizeIterator<Item = Value<'v>>,
    shared: &mut Shared<'v>,
) -> Result<(), Error> {
    arguments.reserve(values.len(), 0);
    for value in values {
        match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(None) => arguments.add(None::<String>),
            Value::Text(Some(Cow::Borrowed(text))) => arguments.add(shared.get(text)),
            Value::Text(Some(Cow::Owned(text))) => match storable(&text) {
                Cow::Borrowed(_) => arguments.add(text),
                Cow::Owned(changed) => arguments.add(changed),
            },
            Value::Bytes(value) => arguments.add(value.map(Cow::into_owned)),
            Value::Id(id) => arguments.add(id.to_bytes().to_vec()),
            Value::Texts(list) => {
                let list: Vec<_> = list.into_iter().map(storable).collect();
                arguments.add(serde_json::Value::from(list).to_string())
            }
            Value::Ids(list) => {
                let list: Vec<String> = list.iter().map(Id::to_string).collect();
                arguments.add(serde_json::Value::from(list).to_string())
            }
        }
        .map_err(encode_failed)?;
    }
    Ok(())
}

/// Values as arguments of PostgreSQL.
pub(crate) fn postgres_arguments(values: Vec<Value<'_>>) -> Result<PgArguments, Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value.as_deref().map(storable)),
            Value::Bytes(value) => arguments.add(value.as_deref()),
            Value::Id(id) => arguments.add(&id.to_bytes()[..]),
            Value::Texts(list) => {
                let list: Vec<_> = list.into_iter().map(storable).collect();
                arguments.add(list)
            }
            Value::Ids(list) => {
                let list: Vec<_> = list.into_iter().map(|id| id.to_bytes().to_vec()).collect();
                arguments.add(list)
            }
        }
        .map_err(encode_failed)?;
    }
    Ok(arguments)
}

/// Rows as columns, each one array: what `UNNEST` reads. `width` values make a row.
pub(crate) fn postgres_columns(values: &[Value<'_>], kinds: &[Kind]) -> Result<PgArguments, Error> {
    let mut arguments = PgArguments::default();
    let width = kinds.len();
    for (column, kind) in kinds.iter().enumerate() {
        let cells = values.iter().skip(column).step_by(width);
        match kind {
            Kind::Int => arguments.add(cells.map(as_int).collect::<Vec<_>>()),
            Kind::Text => arguments.add(cells.map(as_text).collect::<Vec<_>>()),
            Kind::Bytes => arguments.add(cells.map(as_bytes).collect::<Vec<_>>()),
        }
        .map_err(encode_failed)?;
    }
    Ok(arguments)
}

fn as_int(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => *value,
        _ => None,
    }
}

fn as_text<'v>(value: &'v Value<'_>) -> Option<Cow<'v, str>> {
    match value {
        Value::Text(value) => value.as_deref().map(storable),
        _ => None,
    }
}

fn as_bytes(value: &Value<'_>) -> Option<Vec<u8>> {
    match value {
        Value::Bytes(value) => value.as_deref().map(<[u8]>::to_vec),
        Value::Id(id) => Some(id.to_bytes().to_vec()),
        _ => None,
    }
}

/// The values of a row of SQLite.
pub(crate) fn sqlite_row(row: &SqliteRow, kinds: &[Kind]) -> Result<Vec<Value<'static>>, Error> {
    let value = |(index, kind): (usize, &Kind)| {
        Ok(match kind {
            Kind::Int => Value::Int(row.try_get(index)?),
            Kind::Text => Value::Text(row.try_get::<Option<String>, _>(index)?.map(Cow::Owned)),
            Kind::Bytes => Value::Bytes(row.try_get::<Option<Vec<u8>>, _>(index)?.map(Cow::Owned)),
        })
    };
    kinds.iter().enumerate().map(value).collect::<Result<_, sqlx::Error>>().map_err(Error::sqlite)
}

/// The values of a row of PostgreSQL.
pub(crate) fn postgres_row(row: &PgRow, kinds: &[Kind]) -> Result<Vec<Value<'static>>, Error> {
    let value = |(index, kind): (usize, &Kind)| {
        Ok(match kind {
            Kind::Int => Value::Int(row.try_get(index)?),
            Kind::Text => Value::Text(row.try_get::<Option<String>, _>(index)?.map(Cow::Owned)),
            Kind::Bytes => Value::Bytes(row.try_get::<Option<Vec<u8>>, _>(index)?.map(Cow::Owned)),
        })
    };
    kinds.iter().enumerate().map(value).collect::<Result<_, sqlx::Error>>().map_err(Error::postgres)
}
