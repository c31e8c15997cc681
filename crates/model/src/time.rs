//! A point in time, as records and policies see it: microseconds, UTC.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// A text that is not an RFC 3339 time after 1970.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: write it as 2026-11-21T10:00:00Z or 2026-11-21")]
pub struct InvalidTime(pub String);

impl Timestamp {
    /// The last microsecond of the year 9999, beyond which RFC 3339 ends.
    const LAST: u64 = 253_402_300_799_999_999;

    /// A time so many microseconds after the epoch.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros.min(Self::LAST))
    }

    /// Microseconds since the epoch.
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// This time and `by` later.
    #[must_use]
    pub fn plus(self, by: std::time::Duration) -> Self {
        Self::from_micros(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Reads RFC 3339 (`2026-11-21T10:00:00.5+01:00`) or a bare UTC date.
    ///
    /// # Errors
    /// [`InvalidTime`] for anything else, and for times before 1970.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let invalid = || InvalidTime(text.to_owned());
        let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
        let parsed = OffsetDateTime::parse(&full, &Rfc3339).map_err(|_| invalid())?;
        let micros = parsed.unix_timestamp_nanos() / 1_000;
        u64::try_from(micros).map(Self::from_micros).map_err(|_| invalid())
    }
}

/// RFC 3339 in UTC with exactly six decimals: `2026-11-21T10:00:00.000000Z`,
/// so that texts sort as times do.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .expect("bounded to the year 9999 on the way in");
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.microsecond()
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_as_written() {
        let cases = [
            ("2026-11-21T10:00:00Z", Some("2026-11-21T10:00:00.000000Z")),
            ("2026-11-21T11:00:00.25+01:00", Some("2026-11-21T10:00:00.250000Z")),
            ("2026-11-21", Some("2026-11-21T00:00:00.000000Z")),
            ("2024-02-29T23:59:59.999999Z", Some("2024-02-29T23:59:59.999999Z")),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let read = Timestamp::parse(text).ok().map(|at| at.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
