//! Which calls a question is about, as it is asked on the command line.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use doorward_ledger::{Filter, Status};
use doorward_model::time::InvalidTime;
use doorward_model::{Outcome, Timestamp};

const DAY: u64 = 86_400;

/// From when to when. Two periods that meet share no call.
#[derive(Debug, Default, clap::Args)]
pub struct Period {
    /// From this time on: RFC 3339, a date, `today` or `yesterday` (UTC)
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Before this time, which is itself left out
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// The time until now: 15m, 24h, 7d, 4w
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with_all = ["from", "to"])]
    last: Option<Duration>,
}

impl Period {
    /// Its first moment, and the first one behind it.
    pub fn bounds(&self, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        match self.last {
            Some(last) => {
                let micros = u64::try_from(last.as_micros()).unwrap_or(u64::MAX);
                (Some(Timestamp::from_micros(now.as_micros().saturating_sub(micros))), None)
            }
            None => (self.from.map(|when| when.at(now)), self.to.map(|when| when.at(now))),
        }
    }
}

/// A time as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// This time.
    At(Timestamp),
    /// So many days before the beginning of today.
    DaysAgo(u64),
}

impl When {
    fn at(self, now: Timestamp) -> Timestamp {
        let days = now.as_micros() / 1_000_000 / DAY;
        match self {
            Self::At(time) => time,
            Self::DaysAgo(ago) => Timestamp::from_micros(days.saturating_sub(ago) * DAY * 1_000_000),
        }
    }
}

impl FromStr for When {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        match text {
            "today" => Ok(Self::DaysAgo(0)),
            "yesterday" => Ok(Self::DaysAgo(1)),
            text => Timestamp::parse(text).map(Self::At),
        }
    }
}

/// `15m`, `24h`, `7d` or `4w`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => DAY,
        Some('w') => 7 * DAY,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u64>().ok());
    match number.and_then(|number| number.checked_mul(unit)) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is no time: write it as 15m, 24h, 7d or 4w")),
    }
}

/// Which calls.
#[derive(Debug, Default, clap::Args)]
pub struct Selection {
    /// Consumer, exactly
    #[arg(long)]
    consumer: Option<String>,
    /// Person; repeat for several
    #[arg(long)]
    person: Vec<String>,
    /// Agent; `unknown` for none
    #[arg(long)]
    agent: Vec<String>,
    /// Domain of the person's address; `(none)` for none
    #[arg(long)]
    domain: Vec<String>,
    /// Server id or glob
    #[arg(long)]
    server: Vec<String>,
    /// Tool name, glob or server__tool
    #[arg(long)]
    tool: Vec<String>,
    /// success, error, denied or rate-limited
    #[arg(long)]
    status: Option<Status>,
    /// allow, deny or error
    #[arg(long, value_parser = PossibleValuesParser::new(["allow", "deny", "error"]))]
    decision: Vec<String>,
    /// allow, deny, hide or approval_required
    #[arg(long)]
    verdict: Vec<String>,
    /// How it ended
    #[arg(long, value_parser = PossibleValuesParser::new(Outcome::ALL.map(Outcome::as_str)))]
    outcome: Vec<String>,
    /// Code of the error, or a glob: upstream-timeout, `upstream-*`, -32603
    #[arg(long, value_name = "CODE", allow_hyphen_values = true)]
    error: Vec<String>,
    /// What guardrails did
    #[arg(long)]
    dlp: Vec<String>,
    #[command(flatten)]
    period: Period,
}

impl Selection {
    pub(super) fn filter(&self, now: Timestamp) -> Filter {
        let (from, to) = self.period.bounds(now);
        Filter {
            consumer: self.consumer.clone(),
            persons: self.person.clone(),
            agents: self.agent.clone(),
            domains: self.domain.clone(),
            servers: self.server.clone(),
            tools: self.tool.clone(),
            status: self.status,
            verdicts: self.verdict.clone(),
            outcomes: self.outcome.clone(),
            dlp: self.dlp.clone(),
            decisions: self.decision.clone(),
            codes: self.error.clone(),
            from,
            to,
            ..Filter::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_begins_and_ends_where_it_says() {
        let now = Timestamp::parse("2026-11-21T10:00:00Z").expect("a time");
        let bounds = |from: Option<&str>, to: Option<&str>, last: Option<&str>| {
            let when = |text: Option<&str>| text.map(|text| text.parse().expect(text));
            let last = last.map(|text| duration(text).expect(text));
            let (from, to) = Period { from: when(from), to: when(to), last }.bounds(now);
            let text = |time: Option<Timestamp>| time.map(|time| time.to_string()[..16].to_owned());
            (text(from).unwrap_or_default(), text(to).unwrap_or_default())
        };
        let cases = [
            ((None, None, None), ("", "")),
            ((Some("2026-11-20T08:00:00+02:00"), None, None), ("2026-11-20T06:00", "")),
            ((Some("yesterday"), Some("today"), None), ("2026-11-20T00:00", "2026-11-21T00:00")),
            ((None, None, Some("15m")), ("2026-11-21T09:45", "")),
            ((None, None, Some("24h")), ("2026-11-20T10:00", "")),
            ((None, None, Some("7d")), ("2026-11-14T10:00", "")),
            ((None, None, Some("4w")), ("2026-10-24T10:00", "")),
        ];
        for ((from, to, last), (begins, ends)) in cases {
            assert_eq!(bounds(from, to, last), (begins.to_owned(), ends.to_owned()));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "h", "0h", "7", "7s", "-1d", "1.5h", "99999999999999999999d", "7ä"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "tomorrow", "2026-13-01"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }
}
