//! A call as people name it: by its id or the start of it, by the number of its entry, or as
//! the last one.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use doorward_ledger::{Filter, Index, Recorded, SHORTEST_START};
use doorward_model::CallId;

/// The arguments that name one call.
#[derive(Clone, Debug, clap::Args)]
pub struct Named {
    /// The call: its id, the first 8 or more digits of it, or the number of its entry
    #[arg(required_unless_present = "last")]
    call: Option<Which>,
    /// The newest call of the log
    #[arg(long, conflicts_with = "call")]
    last: bool,
}

impl Named {
    /// What the log says of it; `None` when it has no such call.
    pub(super) fn find(&self, index: &Index) -> anyhow::Result<Option<Recorded>> {
        match &self.call {
            Some(which) => which.find(index),
            None => {
                let newest = index.query(&Filter { limit: 1, ..Filter::default() })?;
                Ok(newest.first().map(|row| index.recorded_at(row.seq)).transpose()?.flatten())
            }
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.call {
            Some(which) => write!(f, "the log has no call `{which}`"),
            None => f.write_str("the log has no calls yet"),
        }
    }
}

/// Which call is meant.
#[derive(Clone, Debug)]
enum Which {
    /// The one of this id.
    Id(CallId),
    /// The one whose id starts like this.
    Start(String),
    /// The one whose decision is this entry.
    Entry(u64),
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(id) = CallId::parse(text) {
            return Ok(Self::Id(id));
        }
        let digits = text.chars().filter(|c| *c != '-').count();
        let is_start = digits >= SHORTEST_START && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        // An id starts with a zero until the year 2527; no number does, but the first.
        if is_start && (text.starts_with('0') || text.parse::<u64>().is_err()) {
            return Ok(Self::Start(text.to_lowercase()));
        }
        text.parse()
            .map(Self::Entry)
            .map_err(|_| "a call is named by its id, by 8 or more digits of it, or by its number")
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Start(start) => write!(f, "{start}…"),
            Self::Entry(entry) => entry.fmt(f),
        }
    }
}

impl Which {
    fn find(&self, index: &Index) -> anyhow::Result<Option<Recorded>> {
        match self {
            Self::Id(call) => Ok(index.recorded(*call)?),
            Self::Entry(entry) => Ok(index.recorded_at(*entry)?),
            Self::Start(start) => match index.starting_with(start)?.as_slice() {
                [] => Ok(None),
                [row] => Ok(index.recorded_at(row.seq)?),
                rows => {
                    let ids: Vec<_> = rows.iter().map(|row| row.call.as_str()).take(10).collect();
                    bail!("{} calls start with `{start}`: {}", rows.len(), ids.join(", "))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_by_its_id_its_start_or_its_number() {
        let cases = [
            ("019a2b3c-4d5e-7f60-8123-456789abcdef", "019a2b3c-4d5e-7f60-8123-456789abcdef"),
            ("019A2B3C-4d", "019a2b3c-4d…"),
            ("01902030", "01902030…"),
            ("17", "17"),
            ("0", "0"),
            ("12345678", "12345678"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Which>().expect(text).to_string(), expected);
        }
        for wrong in ["", "019a2b", "x19a2b3c", "last", "-1"] {
            assert!(wrong.parse::<Which>().is_err(), "{wrong}");
        }
    }
}
