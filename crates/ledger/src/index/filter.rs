//! Which calls a question is about.

use std::str::FromStr;

use doorward_model::{Timestamp, domain};

use super::CallRow;

/// In place of a person: calls of nobody.
pub const NO_PERSON: &str = "\0";
/// In place of an agent: calls of no known program.
pub const NO_AGENT: &str = "unknown";

/// The four words that older records used for the end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The server answered.
    Success,
    /// It did not, or its tool failed.
    Error,
    /// A rule said no.
    Denied,
    /// A limit said no.
    RateLimited,
}

/// A text that is none of the four.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no status: use success, error, denied or rate-limited")]
pub struct UnknownStatus(pub String);

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        [Self::Success, Self::Error, Self::Denied, Self::RateLimited]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

impl Status {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Denied => "denied",
            Self::RateLimited => "rate-limited",
        }
    }

    /// The status of a call that ended so; a call under way counts as a success so far, and so
    /// does one that has asked its client something and is made again.
    pub fn of(outcome: Option<&str>) -> Self {
        match outcome {
            None | Some("success" | "pending" | "input_required") => Self::Success,
            Some("denied") => Self::Denied,
            Some("rate_limited" | "quota_exceeded") => Self::RateLimited,
            Some(_) => Self::Error,
        }
    }

    fn condition(self) -> &'static str {
        match self {
            Self::Success => "(outcome IS NULL OR outcome IN ('success', 'pending', 'input_required'))",
            Self::Error => "outcome IN ('tool_error', 'upstream_error', 'timeout', 'cancelled', 'unknown')",
            Self::Denied => "outcome = 'denied'",
            Self::RateLimited => "outcome IN ('rate_limited', 'quota_exceeded')",
        }
    }
}

/// Which calls to look at. Everything that is set must match; of several values,
/// any one.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Consumer, exactly.
    pub consumer: Option<String>,
    /// Persons.
    pub persons: Vec<String>,
    /// Agents; `unknown` stands for none.
    pub agents: Vec<String>,
    /// Domains of the persons' addresses; `(none)` stands for none.
    pub domains: Vec<String>,
    /// Server ids or globs.
    pub servers: Vec<String>,
    /// Tool names, globs, or `server__tool`.
    pub tools: Vec<String>,
    /// The older words for the end.
    pub status: Option<Status>,
    /// Verdicts.
    pub verdicts: Vec<String>,
    /// Outcomes; `pending` stands for none yet.
    pub outcomes: Vec<String>,
    /// What guardrails did.
    pub dlp: Vec<String>,
    /// `allow`, `deny` or `error`.
    pub decisions: Vec<String>,
    /// Codes of errors, or globs over them.
    pub codes: Vec<String>,
    /// Texts, one of which a reason or the error must contain, whatever the case.
    pub reasons: Vec<String>,
    /// Not before, inclusive.
    pub from: Option<Timestamp>,
    /// Before this time: two ranges that meet share no call.
    pub to: Option<Timestamp>,
    /// Only entries before this sequence number: where the last page ended.
    pub before: Option<u64>,
    /// Only entries from this sequence number on.
    pub since: Option<u64>,
    /// How many rows at most.
    pub limit: usize,
}

/// [`CallRow::decision`](super::CallRow::decision), as the database finds it.
const DECISION: &str = "(CASE WHEN verdict = 'error' THEN 'error' WHEN verdict <> 'allow' THEN 'deny' \
    WHEN outcome IN ('upstream_error', 'timeout', 'unknown') THEN 'error' ELSE 'allow' END)";

impl Filter {
    /// Whether what only the log says of a call is what is looked for.
    pub(super) fn admits(&self, row: &CallRow) -> bool {
        let said = || row.reasons.iter().chain(&row.error).map(|text| text.to_lowercase());
        self.reasons.is_empty()
            || self.reasons.iter().any(|wanted| said().any(|text| text.contains(&wanted.to_lowercase())))
    }

    /// The condition and the values of its placeholders.
    pub(super) fn sql(&self) -> (String, Vec<String>) {
        let mut conditions = vec!["1".to_owned()];
        let mut values: Vec<String> = Vec::new();
        let mut any = |column: &str, wanted: &[String], none: &str, operator: fn(&str) -> &'static str| {
            if wanted.is_empty() {
                return;
            }
            let each: Vec<_> = wanted
                .iter()
                .map(|value| match value {
                    value if value == none => format!("{column} IS NULL"),
                    value => {
                        let operator = operator(value);
                        values.push(pattern(value, operator));
                        format!("{column} {operator} ?{}", values.len())
                    }
                })
                .collect();
            conditions.push(format!("({})", each.join(" OR ")));
        };
        any("consumer", self.consumer.as_slice(), "\0", exactly);
        any("person", &self.persons, NO_PERSON, exactly);
        any("agent", &self.agents, NO_AGENT, exactly);
        let domains: Vec<_> = self.domains.iter().map(|text| domain(text)).collect();
        any("domain", &domains, "(none)", exactly);
        any("server", &self.servers, "\0", glob);
        any("verdict", &self.verdicts, "\0", exactly);
        any("outcome", &self.outcomes, "pending", exactly);
        any("dlp", &self.dlp, "\0", exactly);
        any(DECISION, &self.decisions, "\0", exactly);
        any("code", &self.codes, "\0", glob);
        if !self.tools.is_empty() {
            let each: Vec<_> = self
                .tools
                .iter()
                .map(|tool| {
                    let mut fits = |column: &str, text: &str| {
                        let operator = glob(text);
                        values.push(pattern(text, operator));
                        format!("{column} {operator} ?{}", values.len())
                    };
                    let plain = fits("target", tool);
                    match tool.split_once("__") {
                        Some((server, name)) => {
                            format!("({plain} OR ({} AND {}))", fits("server", server), fits("target", name))
                        }
                        None => plain,
                    }
                })
                .collect();
            conditions.push(format!("({})", each.join(" OR ")));
        }
        if let Some(status) = self.status {
            conditions.push(status.condition().to_owned());
        }
        // Times are texts of one length, so they compare as times do.
        for (operator, time) in [(">=", self.from), ("<", self.to)] {
            if let Some(time) = time {
                values.push(time.to_string());
                conditions.push(format!("time {operator} ?{}", values.len()));
            }
        }
        if let Some(since) = self.since {
            conditions.push(format!("seq >= {since}"));
        }
        if let Some(before) = self.before {
            conditions.push(format!("seq < {before}"));
        }
        (conditions.join(" AND "), values)
    }
}

/// How a name is compared.
fn exactly(_: &str) -> &'static str {
    "="
}

/// How a name that may be a glob is compared.
fn glob(text: &str) -> &'static str {
    if text.contains(['*', '?']) { "GLOB" } else { "=" }
}

/// Our globs know `*` and `?`; SQLite's know brackets, too.
fn pattern(text: &str, operator: &str) -> String {
    if operator == "GLOB" { text.replace('[', "[[]") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use doorward_model::Outcome;

    use super::*;

    #[test]
    fn a_status_finds_the_calls_that_have_it() {
        let database = rusqlite::Connection::open_in_memory().expect("a database");
        for outcome in Outcome::ALL.map(Outcome::as_str) {
            for status in [Status::Success, Status::Error, Status::Denied, Status::RateLimited] {
                let sql = format!("SELECT {} FROM (SELECT ?1 AS outcome)", status.condition());
                let found: bool = database.query_row(&sql, [outcome], |row| row.get(0)).expect("a condition");
                assert_eq!(found, Status::of(Some(outcome)) == status, "{outcome} as {}", status.as_str());
            }
        }
    }
}
