//! What keeps a gateway from serving, or soon will: looked at from outside.
//!
//! Everything here reads and asks; nothing is written, locked, installed or called. It can
//! be done beside a running gateway and without one. Whatever cannot be known from here is
//! said to be unknown, never to be well.

mod certificate;
mod clock;
mod data;
mod descriptors;
mod http_date;
mod ledger;
mod memory;
mod outside;
mod port;
mod servers;
mod tls;

use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, Lint};
use crate::runtime::{self, Surroundings};
use clock::Clocks;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// The gateway serves, and soon may not, or not as was meant.
    Warn,
    /// Something does not work.
    Fail,
}

impl Status {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check: a stable word.
    pub check: &'static str,
    /// What was looked at, where there are several of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub message: String,
    /// What to do about it; there unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, subject: None, status: Status::Ok, message: message.into(), remedy: None }
    }

    pub(crate) fn warn(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Warn, remedy: Some(remedy.into()), ..Self::ok(check, message) }
    }

    pub(crate) fn fail(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Fail, ..Self::warn(check, message, remedy) }
    }

    pub(crate) fn of(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Whether servers, issuer and shared store are reached.
    pub reaches_out: bool,
    /// How long each of them may take.
    pub within: Duration,
}

/// The findings about a file: each that keeps it from being put in force, or one on the whole.
pub fn configuration(path: &str, lints: &[Lint]) -> Vec<Finding> {
    let errors: Vec<_> = lints.iter().filter(|lint| lint.is_error()).collect();
    if errors.is_empty() {
        let message = format!("{path} is valid");
        return vec![match lints.len() {
            0 => Finding::ok("config", message),
            odd => Finding::warn(
                "config",
                format!("{message}, with {odd} warning{}", if odd == 1 { "" } else { "s" }),
                "`doorward check` shows what is odd",
            ),
        }];
    }
    let fail = |lint: &&Lint| {
        let line = lint.line.map(|line| format!(":{line}")).unwrap_or_default();
        let at = if lint.path.is_empty() { String::new() } else { format!("{}: ", lint.path) };
        let remedy = lint.remedy.clone();
        let remedy = remedy.unwrap_or_else(|| format!("`doorward explain {}` says more", lint.code));
        Finding::fail("config", format!("{path}{line}: {at}{}", lint.message), remedy)
    };
    errors.iter().map(fail).collect()
}

/// The findings about names in rules and limits that match nothing a server offers.
pub fn names(lints: &[Lint]) -> Vec<Finding> {
    let warn = |lint: &Lint| {
        let remedy = lint.remedy.clone().unwrap_or_default();
        Finding::warn("names", format!("{}: {}", lint.path, lint.message), remedy)
    };
    lints.iter().map(warn).collect()
}

/// Looks at everything that a valid configuration speaks of, and hands on what it finds as
/// it is found.
pub async fn examine(
    config: &Config,
    surroundings: &Surroundings,
    scope: Scope,
    say: &mut dyn FnMut(Finding) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let clocks = Clocks::start(&*surroundings.clock);
    let mut skews = Vec::new();
    say(policies(config, surroundings))?;
    for finding in data::check(config) {
        say(finding)?;
    }
    let holder = ledger::holder(config).await;
    let (findings, last_signed) = ledger::check(config, holder.is_some());
    for finding in findings {
        say(finding)?;
    }
    for finding in port::check(config, holder.as_ref(), surroundings).await {
        say(finding)?;
    }
    if let Some(files) = &config.listen.tls {
        for finding in tls::check(files, &config.listen, surroundings.clock.now()) {
            say(finding)?;
        }
    }
    say(descriptors::check(config, holder.as_ref(), surroundings.capacity))?;
    say(memory::check(surroundings.capacity))?;
    if scope.reaches_out {
        for (finding, skew) in outside::check(config, surroundings, scope.within).await {
            say(finding)?;
            skews.extend(skew);
        }
    }
    for finding in servers::check(config, surroundings, scope).await {
        say(finding)?;
    }
    say(clocks.finish(&*surroundings.clock, last_signed, &skews))
}

/// Looks at what does not depend on a configuration.
pub fn without_configuration() -> Finding {
    descriptors::alone()
}

fn policies(config: &Config, surroundings: &Surroundings) -> Finding {
    let counted = (config.policies.len(), config.rego_policies.len());
    match runtime::compile(config, surroundings) {
        Ok(_) if counted == (0, 0) => {
            Finding::warn("policies", "there is none, so every call is denied", "write `policies`")
        }
        Ok(doubts) if !doubts.is_empty() => {
            let doubts: Vec<_> = doubts.iter().map(ToString::to_string).collect();
            Finding::warn("policies", doubts.join("; "), "see whether that is what is meant")
        }
        Ok(_) => {
            let (roles, rego) = counted;
            Finding::ok("policies", format!("{roles} with role rules and {rego} in Rego compile"))
        }
        Err(error) => {
            let message = format!("{error:#}").replace('\n', "; ");
            Finding::fail("policies", message, "mend it: the gateway does not start like this")
        }
    }
}
