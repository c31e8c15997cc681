//! The periods of the calendar that quotas are counted in, in UTC.

use std::fmt;

use doorward_model::Timestamp;
use time::{Date, Month, UtcDateTime};

/// A period of the calendar. The same for everybody, and not begun by the first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// From :00 to :00.
    Minute,
    /// From the full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first to the first.
    Month,
}

impl Window {
    /// The word in configurations and refusals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// When the window that `now` lies in began, and when the next one begins.
    pub fn around(self, now: Timestamp) -> (Timestamp, Timestamp) {
        let seconds = now.as_micros() / 1_000_000;
        let length = match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => return month(seconds),
        };
        let begins = seconds - seconds % length;
        (at(begins), at(begins + length))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

fn month(seconds: u64) -> (Timestamp, Timestamp) {
    let first = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| UtcDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|now| now.date().replace_day(1).ok());
    // A `Timestamp` ends with the year 9999, and so does the calendar.
    let Some(first) = first else { return (at(0), at(u64::MAX)) };
    let year = if first.month() == Month::December { first.year() + 1 } else { first.year() };
    let next = Date::from_calendar_date(year, first.month().next(), 1);
    (midnight(first), next.map_or(at(u64::MAX), midnight))
}

fn midnight(date: Date) -> Timestamp {
    u64::try_from(date.midnight().as_utc().unix_timestamp()).map_or_else(|_| at(0), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_period_of_the_calendar() {
        let cases = [
            (Window::Minute, "2026-11-21T10:59:59.999999Z", "2026-11-21T10:59:00Z", "2026-11-21T11:00:00Z"),
            (Window::Hour, "2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"),
            (Window::Hour, "2026-12-31T23:59:59.999999Z", "2026-12-31T23:00:00Z", "2027-01-01"),
            (Window::Day, "2026-11-21T00:00:00Z", "2026-11-21", "2026-11-22"),
            (Window::Day, "2024-02-28T12:00:00Z", "2024-02-28", "2024-02-29"),
            (Window::Day, "2024-02-29T12:00:00Z", "2024-02-29", "2024-03-01"),
            (Window::Day, "2026-12-31T23:59:59Z", "2026-12-31", "2027-01-01"),
            (Window::Month, "2026-11-30T23:59:59.999999Z", "2026-11-01", "2026-12-01"),
            (Window::Month, "2026-12-01T00:00:00Z", "2026-12-01", "2027-01-01"),
            (Window::Month, "2026-12-31T23:59:59.999999Z", "2026-12-01", "2027-01-01"),
            (Window::Month, "2024-02-29T12:00:00Z", "2024-02-01", "2024-03-01"),
            (Window::Month, "2023-02-28T23:59:59Z", "2023-02-01", "2023-03-01"),
            (Window::Month, "2000-02-29T00:00:00Z", "2000-02-01", "2000-03-01"),
            (Window::Month, "2100-02-28T00:00:00Z", "2100-02-01", "2100-03-01"),
            (Window::Month, "1970-01-01T00:00:00Z", "1970-01-01", "1970-02-01"),
            (Window::Month, "9999-12-31T12:00:00Z", "9999-12-01", "9999-12-31T23:59:59.999999Z"),
        ];
        for (window, now, begins, ends) in cases {
            let read = |text: &str| Timestamp::parse(text).expect(text);
            assert_eq!(window.around(read(now)), (read(begins), read(ends)), "the {window} of {now}");
        }
    }

    #[test]
    fn one_window_ends_where_the_next_begins_for_four_hundred_years() {
        for window in [Window::Day, Window::Month] {
            let mut now = Timestamp::parse("2000-01-01").expect("a time");
            let last = Timestamp::parse("2400-01-01").expect("a time");
            let mut count = 0;
            while now < last {
                let (begins, ends) = window.around(now);
                assert_eq!(begins, now);
                let latest = Timestamp::from_micros(ends.as_micros() - 1);
                assert_eq!(window.around(latest), (begins, ends));
                (now, count) = (ends, count + 1);
            }
            assert_eq!(count, if window == Window::Month { 400 * 12 } else { 146_097 }, "{window}s");
        }
    }
}
