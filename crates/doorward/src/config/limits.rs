//! How often anybody may call: `limits` and `rateLimit`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::dialect::Dialect;
use super::lint::did_you_mean;

/// Calls a minute where nothing else is said.
const PER_MINUTE: u32 = 60;

/// How many times the rate may come at once where nothing else is said.
const BURST: f64 = 2.0;

/// What a limit's key may be made of.
const KEY_PARTS: [&str; 7] = ["grant", "person", "agent", "consumer", "server", "tool", "ip"];

/// All limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The limit of every consumer on every server; `None` for none.
    pub default: Option<DefaultLimit>,
    /// Further limits; a call must fit into all that match it.
    pub rates: Vec<RateLimit>,
}

/// The limit of every consumer on every server. A key's own `rateLimit` replaces the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DefaultLimit {
    /// Calls a minute.
    pub per_minute: u32,
    /// How many times the rate may come at once, at least 1.
    pub burst_multiplier: f64,
}

impl DefaultLimit {
    /// How many calls may come at once at this rate.
    pub fn burst(&self, per_minute: u32) -> u32 {
        // Saturating is right: nobody sends four thousand million calls at once.
        (f64::from(per_minute) * self.burst_multiplier).ceil().max(1.0) as u32
    }
}

/// One rate limit.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Its name, for messages.
    pub name: String,
    /// What shares an allowance: parts joined by `:`, such as `grant:server`.
    pub key: String,
    /// Glob over the servers it is for.
    pub server: Option<String>,
    /// Glob over the tools it is for.
    pub tool: Option<String>,
    /// Calls in the period.
    pub max: u32,
    /// The period.
    pub per: Period,
    /// Calls that may come at once.
    pub burst: u32,
}

/// The period of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A second.
    Second,
    /// A minute.
    Minute,
}

/// One limit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LimitFile {
    /// Its name, unique.
    name: String,
    /// `rate`; quotas are not supported yet.
    kind: Option<String>,
    /// What shares an allowance: grant, person, agent, consumer, server, tool and ip, joined by `:`.
    key: Option<String>,
    /// Glob over the servers it is for; all unless set.
    server: Option<String>,
    /// Glob over the tools it is for; all unless set.
    tool: Option<String>,
    /// Calls in the period.
    max: Option<u32>,
    /// `second` or `minute`.
    per: Option<String>,
    /// Calls that may come at once; `max` unless set.
    burst: Option<u32>,
}

/// The rate limit that every consumer has on every server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RateLimitFile {
    /// Whether it applies; yes unless set.
    enabled: Option<bool>,
    /// Calls a minute that can be kept up; 60 unless set.
    default_per_minute: Option<u32>,
    /// How many times as many may come at once; 2 unless set.
    burst_multiplier: Option<f64>,
}

pub(crate) fn build(
    files: Vec<LimitFile>,
    default: Option<RateLimitFile>,
    dialect: Dialect,
    context: &mut Context<'_>,
) -> Limits {
    let mut rates: Vec<RateLimit> = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        let path = format!("limits[{index}]");
        let Some(rate) = rate(file, &path, context) else { continue };
        if rates.iter().any(|other| other.name == rate.name) {
            context
                .findings
                .error(
                    "duplicate-id",
                    format!("{path}.name"),
                    format!("two limits have the name `{}`", rate.name),
                )
                .remedy("rename one of them");
        }
        rates.push(rate);
    }
    Limits { default: default_limit(default, dialect, context), rates }
}

fn default_limit(
    file: Option<RateLimitFile>,
    dialect: Dialect,
    context: &mut Context<'_>,
) -> Option<DefaultLimit> {
    let file = match (file, dialect) {
        (Some(file), _) => file,
        (None, Dialect::Theirs) => RateLimitFile::default(),
        (None, Dialect::Ours) => return None,
    };
    for (key, is_zero) in [
        ("defaultPerMinute", file.default_per_minute == Some(0)),
        ("burstMultiplier", file.burst_multiplier.is_some_and(|it| it <= 0.0)),
    ] {
        if is_zero {
            context
                .findings
                .warn("rate-limit", format!("rateLimit.{key}"), "0 means the default, not none at all")
                .remedy("set `enabled: false` for no limit");
        }
    }
    file.enabled.unwrap_or(true).then(|| DefaultLimit {
        per_minute: file.default_per_minute.filter(|rate| *rate > 0).unwrap_or(PER_MINUTE),
        burst_multiplier: file.burst_multiplier.filter(|it| *it > 0.0).unwrap_or(BURST),
    })
}

fn rate(file: LimitFile, path: &str, context: &mut Context<'_>) -> Option<RateLimit> {
    if file.name.is_empty() {
        context.findings.error("limit", path, "`name` is missing");
        return None;
    }
    match file.kind.as_deref() {
        None | Some("rate") => {}
        Some("quota") => {
            context
                .findings
                .error("not-supported", format!("{path}.kind"), "quotas are not supported yet")
                .remedy("use `kind: rate`");
            return None;
        }
        Some(other) => {
            context
                .findings
                .error("limit", format!("{path}.kind"), format!("`{other}` is no kind of limit"))
                .remedy("use `kind: rate`");
            return None;
        }
    }
    let key = file.key.unwrap_or_else(|| "grant:server".to_owned());
    for part in key.split(':').filter(|part| !KEY_PARTS.contains(part)) {
        let lint = context.findings.error(
            "limit",
            format!("{path}.key"),
            format!("`{part}` is nothing that calls can be counted by"),
        );
        lint.remedy =
            did_you_mean(part, &KEY_PARTS).or_else(|| Some(format!("use {}", KEY_PARTS.join(", "))));
    }
    let per = match file.per.as_deref() {
        Some("second") => Period::Second,
        None | Some("minute") => Period::Minute,
        Some(other) => {
            context.findings.error(
                "limit",
                format!("{path}.per"),
                format!("a rate is per second or per minute, not per `{other}`"),
            );
            return None;
        }
    };
    let Some(max) = file.max.filter(|max| *max > 0) else {
        context.findings.error("limit", format!("{path}.max"), "`max` must be 1 or more");
        return None;
    };
    let given = |glob: Option<String>| glob.filter(|glob| !glob.is_empty());
    Some(RateLimit {
        name: file.name,
        key,
        server: given(file.server),
        tool: given(file.tool),
        max,
        per,
        burst: file.burst.filter(|burst| *burst > 0).unwrap_or(max),
    })
}
