//! A point in time, as records and policies see it: microseconds, UTC.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, UtcDateTime};

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

impl Timestamp {
    /// RFC 3339 in UTC with exactly six decimals: `2026-11-21T10:00:00.000000Z`,
    /// so that texts sort as times do.
    pub fn to_ascii(self) -> [u8; 27] {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let date = Date::from_julian_day(
            i32::try_from(seconds / 86_400).unwrap_or(0) + UtcDateTime::UNIX_EPOCH.to_julian_day(),
        );
        let date = date.expect("bounded to the year 9999 on the way in");
        let of_day = seconds % 86_400;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: std::ops::Range<usize>, mut number: u64| {
            for digit in text[at].iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
                number /= 10;
            }
        };
        put(0..4, u64::from(date.year().unsigned_abs()));
        put(5..7, u64::from(u8::from(date.month())));
        put(8..10, u64::from(date.day()));
        put(11..13, of_day / 3_600);
        put(14..16, of_day / 60 % 60);
        put(17..19, of_day % 60);
        put(20..26, micros);
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_ascii()).expect("digits are ASCII"))
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
            ("1970-01-01", Some("1970-01-01T00:00:00.000000Z")),
            ("2000-12-31T09:08:07.060504Z", Some("2000-12-31T09:08:07.060504Z")),
            ("9999-12-31T23:59:59.999999Z", Some("9999-12-31T23:59:59.999999Z")),
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
