//! How the rows of `yiwang_core::incident` become columns and come back.
//!
//! Invariant: `take(put(row)) == row` for every row without NUL in its texts. A field added to a
//! struct there does not compile here until it has a column.

mod blob;
mod cells;
mod incident;
mod table;

#[cfg(test)]
mod round_trip_tests;

pub(crate) use incident::{NO_CELL, outbox_values};
pub(crate) use table::{Rows, Table, Tables};

use crate::Error;
use crate::engine::{Kind, Value};

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Name, the same as the field's, with a prefix for parts.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) kind: Kind,
}

/// A struct that lies in several columns.
pub(crate) trait Row: Sized {
    /// Its columns in the order of `put` and `take`.
    fn columns(prefix: &str, out: &mut Vec<Column>);
    /// Its values.
    fn put<'a>(&'a self, out: &mut Vec<Value<'a>>);
    /// The inverse of `put`.
    fn take(cells: &mut Cells<'_>) -> Result<Self, Error>;
}

/// A field that lies in one column.
pub(crate) trait Cell: Sized {
    /// What the column holds.
    const KIND: Kind;
    /// Its value.
    fn value(&self) -> Value<'_>;
    /// The inverse of `value`; `None` for a value that it never writes.
    fn of(value: &mut Value<'static>) -> Option<Self>;
}

/// The values of one row, read from left to right.
pub(crate) struct Cells<'v> {
    values: std::slice::IterMut<'v, Value<'static>>,
}

impl<'v> Cells<'v> {
    pub(crate) fn new(values: &'v mut [Value<'static>]) -> Self {
        Self { values: values.iter_mut() }
    }

    pub(crate) fn next<C: Cell>(&mut self, name: &str) -> Result<C, Error> {
        let Some(value) = self.values.next() else {
            return Err(Error::unreadable(name, "a row that is too short"));
        };
        C::of(value).ok_or_else(|| Error::unreadable(name, &*value))
    }
}

/// Reads a whole row.
pub(crate) fn read<R: Row>(mut values: Vec<Value<'static>>) -> Result<R, Error> {
    R::take(&mut Cells::new(&mut values))
}

/// Reads all rows.
pub(crate) fn read_all<R: Row>(rows: crate::engine::Rows) -> Result<Vec<R>, Error> {
    rows.into_iter().map(read).collect()
}

fn kind_of<R, C: Cell>(_: fn(&R) -> &C) -> Kind {
    C::KIND
}

fn part_columns<R, P: Row>(_: fn(&R) -> &P, prefix: &str, out: &mut Vec<Column>) {
    P::columns(prefix, out);
}

/// Declares the columns of a struct: first the parts, each with its prefix, then the fields in
/// their order.
macro_rules! row {
    ($name:ident, [$($part:ident as $prefix:literal),*], $($field:ident),+ $(,)?) => {
        impl crate::rows::Row for $name {
            fn columns(prefix: &str, out: &mut Vec<crate::rows::Column>) {
                $(crate::rows::part_columns(
                    |row: &$name| &row.$part,
                    &format!("{prefix}{}", $prefix),
                    out,
                );)*
                $(out.push(crate::rows::Column {
                    name: format!("{prefix}{}", stringify!($field)),
                    kind: crate::rows::kind_of(|row: &$name| &row.$field),
                });)+
            }

            fn put<'a>(&'a self, out: &mut Vec<crate::engine::Value<'a>>) {
                let Self { $($part,)* $($field),+ } = self;
                $(crate::rows::Row::put($part, out);)*
                $(out.push(crate::rows::Cell::value($field));)+
            }

            fn take(cells: &mut crate::rows::Cells<'_>) -> Result<Self, crate::Error> {
                Ok(Self {
                    $($part: crate::rows::Row::take(cells)?,)*
                    $($field: cells.next(stringify!($field))?),+
                })
            }
        }
    };
}
pub(crate) use row;
