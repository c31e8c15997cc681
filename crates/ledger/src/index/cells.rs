//! What a row of the index holds of a call, from the entries themselves.
//!
//! One list for whoever writes rows and for whoever compares them with the log, so that what is
//! in a row can be told from what somebody wrote into it.

use std::borrow::Cow;

use doorward_model::domain_of;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Row, ToSql};

use super::columns::{Column, Entry};
use crate::entry::Raw;

/// The columns, in the order of the cells.
pub(super) const COLUMNS: &str = "time, consumer, person, domain, agent, server, target, verdict, outcome, duration_us, upstream_us, error, code, dlp";
/// How many of them the decision gives, and how many there are.
pub(super) const OF_DECISION: usize = 8;
pub(super) const ALL: usize = 14;

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Null,
    Number(i64),
    Text(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    fn text(text: Option<Cow<'a, str>>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }

    fn number(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Number)
    }

    fn is(&self, stored: ValueRef<'_>) -> bool {
        match (self, stored) {
            (Self::Null, ValueRef::Null) => true,
            (Self::Number(number), ValueRef::Integer(stored)) => *number == stored,
            (Self::Text(text), ValueRef::Text(stored)) => text.as_bytes() == stored,
            _ => false,
        }
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Number(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// What a row holds of a call, whose outcome may not be written yet or be in its decision.
pub(super) fn of_call<'a>(decision: &Entry<'a>, outcome: Option<&Entry<'a>>) -> [Cell<'a>; ALL] {
    let text = |column| Cell::text(decision.text(column));
    let domain = decision.text(Column::Email).and_then(|email| domain_of(&email));
    let [end, duration, upstream, error, code, dlp] = match outcome {
        Some(outcome) => of_outcome(outcome),
        None => [
            text(Column::Outcome),
            Cell::number(decision.value(Column::Duration).and_then(Raw::number)),
            Cell::Null,
            text(Column::Error),
            Cell::Null,
            Cell::Text("none".into()),
        ],
    };
    [
        text(Column::Time),
        text(Column::Consumer),
        text(Column::Person),
        Cell::text(domain.map(Cow::Owned)),
        text(Column::Agent),
        text(Column::Server),
        text(Column::Target),
        text(Column::Verdict),
        end,
        duration,
        upstream,
        error,
        code,
        dlp,
    ]
}

/// The cells behind those of the decision, from the outcome.
pub(super) fn of_outcome<'a>(outcome: &Entry<'a>) -> [Cell<'a>; ALL - OF_DECISION] {
    [
        Cell::text(outcome.text(Column::Outcome)),
        Cell::number(outcome.number(Column::Duration)),
        Cell::number(outcome.number(Column::Upstream)),
        Cell::text(outcome.text(Column::Error)),
        Cell::text(outcome.text(Column::Code)),
        Cell::Text(outcome.text(Column::Dlp).unwrap_or("none".into())),
    ]
}

/// The name of the first column of a row that says something else than these cells, which are the
/// first or all; they begin at `start`.
pub(super) fn differing(
    cells: &[Cell<'_>],
    row: &Row<'_>,
    start: usize,
) -> rusqlite::Result<Option<&'static str>> {
    for (at, (cell, name)) in cells.iter().zip(COLUMNS.split(", ")).enumerate() {
        if !cell.is(row.get_ref(start + at)?) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The cells of a row, to be kept; they begin at `start`.
pub(super) fn kept(row: &Row<'_>, start: usize, count: usize) -> rusqlite::Result<Vec<Cell<'static>>> {
    (start..start + count)
        .map(|at| {
            Ok(match row.get_ref(at)? {
                ValueRef::Integer(number) => Cell::Number(number),
                ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned().into()),
                _ => Cell::Null,
            })
        })
        .collect()
}
