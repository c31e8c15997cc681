//! How often anybody may call: `limits` and `rateLimit`.

use doorward_model::glob;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::dialect::Dialect;
use super::lint::did_you_mean;
use super::servers::Server;
use super::spelled;

/// Calls a minute where nothing else is said.
const PER_MINUTE: u32 = 60;

/// How many times the rate may come at once where nothing else is said.
const BURST: f64 = 2.0;

/// Characters in the name of a quota, which records repeat.
const LONGEST_NAME: usize = 128;

/// What a limit's key may be made of.
const KEY_PARTS: [&str; 7] = ["grant", "person", "agent", "consumer", "server", "tool", "ip"];

/// All limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The limit of every consumer on every server; `None` for none.
    pub default: Option<DefaultLimit>,
    /// Further limits; a call must fit into all that match it.
    pub rates: Vec<RateLimit>,
    /// Quotas; a call must fit into all that match it.
    pub quotas: Vec<Quota>,
    /// The names of all of them, in the order of the file.
    pub in_file: Vec<String>,
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

/// One quota.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// Its name, for messages.
    pub name: String,
    /// What shares a count, as for a rate.
    pub key: String,
    /// Glob over the servers it is for.
    pub server: Option<String>,
    /// Glob over the tools it is for.
    pub tool: Option<String>,
    /// Calls in the period.
    pub max: u32,
    /// The period.
    pub per: Calendar,
}

/// The period of a quota, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    /// From :00 to :00.
    Minute,
    /// From the full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first to the first.
    Month,
}

/// One limit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LimitFile {
    /// Its name, unique.
    name: String,
    /// `rate`, which smooths, or `quota`, which counts; `rate` unless set.
    kind: Option<String>,
    /// What shares an allowance: grant, person, agent, consumer, server, tool and ip, joined by `:`.
    key: Option<String>,
    /// Glob over the servers it is for; all unless set.
    server: Option<String>,
    /// Glob over the tools it is for; all unless set.
    tool: Option<String>,
    /// Calls in the period.
    max: Option<u32>,
    /// Of a rate `second` or `minute`, which it is unless set. Of a quota `minute`, `hour`, `day`
    /// or `month`, in UTC.
    per: Option<String>,
    /// Calls that may come at once at a rate; `max` unless set.
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
    servers: &[Server],
    dialect: Dialect,
    context: &mut Context<'_>,
) -> Limits {
    let mut limits = Limits { default: default_limit(default, dialect, context), ..Limits::default() };
    for (index, file) in files.into_iter().enumerate() {
        let path = format!("limits[{index}]");
        warn_of_no_server(&file, &path, servers, context);
        if let Some(tool) = given(&file.tool) {
            let path = format!("{path}.tool");
            spelled::check(&tool, &path, true, servers, dialect, &mut context.findings);
        }
        let name = file.name.clone();
        limits.in_file.push(name.clone());
        let is_taken = limits.rates.iter().any(|other| other.name == name)
            || limits.quotas.iter().any(|other| other.name == name);
        match limit(file, &path, context) {
            Some(Limit::Rate(rate)) => limits.rates.push(rate),
            Some(Limit::Quota(quota)) => limits.quotas.push(quota),
            None => continue,
        }
        if is_taken {
            context
                .findings
                .error("duplicate-id", format!("{path}.name"), format!("two limits have the name `{name}`"))
                .remedy("rename one of them");
        }
    }
    limits
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

fn warn_of_no_server(file: &LimitFile, path: &str, servers: &[Server], context: &mut Context<'_>) {
    let Some(pattern) = given(&file.server).filter(|_| !servers.is_empty()) else { return };
    if !servers.iter().any(|server| glob::matches(&pattern, server.id.as_str())) {
        let message = format!("no server matches `{pattern}`, so this limit never matches");
        context.findings.warn("unknown-server", format!("{path}.server"), message);
    }
}

/// A limit of either kind.
enum Limit {
    Rate(RateLimit),
    Quota(Quota),
}

fn limit(file: LimitFile, path: &str, context: &mut Context<'_>) -> Option<Limit> {
    if file.name.is_empty() {
        context.findings.error("limit", path, "`name` is missing");
        return None;
    }
    let is_quota = match file.kind.as_deref() {
        None | Some("rate") => false,
        Some("quota") => true,
        Some(other) => {
            context
                .findings
                .error("limit", format!("{path}.kind"), format!("`{other}` is no kind of limit"))
                .remedy("use `kind: rate` or `kind: quota`");
            return None;
        }
    };
    let key = file.key.clone().unwrap_or_else(|| "grant:server".to_owned());
    for part in key.split(':').filter(|part| !KEY_PARTS.contains(part)) {
        let lint = context.findings.error(
            "limit",
            format!("{path}.key"),
            format!("`{part}` is nothing that calls can be counted by"),
        );
        lint.remedy =
            did_you_mean(part, &KEY_PARTS).or_else(|| Some(format!("use {}", KEY_PARTS.join(", "))));
    }
    let made = if is_quota {
        quota(&file, key, path, context).map(Limit::Quota)
    } else {
        rate(&file, key, path, context).map(Limit::Rate)
    };
    if file.max.is_none_or(|max| max == 0) {
        let lint = context.findings.error("limit", format!("{path}.max"), "`max` must be 1 or more");
        if file.max == Some(0) {
            lint.remedy("what nobody may call is for a rule with `action: deny`");
        }
        return None;
    }
    made
}

fn rate(file: &LimitFile, key: String, path: &str, context: &mut Context<'_>) -> Option<RateLimit> {
    let per = match file.per.as_deref() {
        Some("second") => Period::Second,
        None | Some("minute") => Period::Minute,
        Some(other) => {
            let lint = context.findings.error(
                "limit",
                format!("{path}.per"),
                format!("a rate is per second or per minute, not per `{other}`"),
            );
            if matches!(other, "hour" | "day" | "month") {
                lint.remedy("use `kind: quota`");
            }
            return None;
        }
    };
    let max = file.max?;
    Some(RateLimit {
        name: file.name.clone(),
        key,
        server: given(&file.server),
        tool: given(&file.tool),
        max,
        per,
        burst: file.burst.filter(|burst| *burst > 0).unwrap_or(max),
    })
}

fn quota(file: &LimitFile, key: String, path: &str, context: &mut Context<'_>) -> Option<Quota> {
    if file.name.chars().count() > LONGEST_NAME {
        let message = format!("the name of a quota has at most {LONGEST_NAME} characters");
        context.findings.error("limit", format!("{path}.name"), message);
    }
    if file.burst.is_some() {
        context
            .findings
            .warn("limit", format!("{path}.burst"), "a quota counts, so there is no burst: this does nothing")
            .remedy("remove it, or add a limit with `kind: rate`");
    }
    let per = match file.per.as_deref() {
        Some("minute") => Calendar::Minute,
        Some("hour") => Calendar::Hour,
        Some("day") => Calendar::Day,
        Some("month") => Calendar::Month,
        other => {
            let message = match other {
                Some(other) => format!("a quota is per minute, hour, day or month, not per `{other}`"),
                None => "a quota is per minute, hour, day or month: which?".to_owned(),
            };
            let at = if other.is_some() { format!("{path}.per") } else { path.to_owned() };
            context.findings.error("limit", at, message);
            return None;
        }
    };
    Some(Quota {
        name: file.name.clone(),
        key,
        server: given(&file.server),
        tool: given(&file.tool),
        max: file.max?,
        per,
    })
}

fn given(glob: &Option<String>) -> Option<String> {
    glob.clone().filter(|glob| !glob.is_empty())
}
