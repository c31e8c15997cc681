//! Each server in use: its variables set, its command there, and what it answers. It is
//! greeted and its lists are read; no tool is called, and its child is stopped again.

use std::path::Path;
use std::sync::Arc;

use doorward_model::{CapabilityKind, ServerId};
use doorward_upstream::{Settings, UpstreamError, Upstreams};
use tokio::task::JoinSet;

use super::{Finding, Scope};
use crate::config::Config;
use crate::config::servers::{Server, Transport};
use crate::runtime::{self, Surroundings};

const CHECK: &str = "server";

pub(super) async fn check(config: &Config, surroundings: &Surroundings, scope: Scope) -> Vec<Finding> {
    let enabled: Vec<_> = config.servers.iter().filter(|server| server.enabled).collect();
    if enabled.is_empty() {
        return vec![Finding::warn(
            CHECK,
            "none is enabled, so there is nothing to call",
            "register one in `servers`",
        )];
    }
    let path = (surroundings.variables)("PATH").unwrap_or_default();
    let mut found: Vec<_> = enabled.iter().map(|server| at_hand(server, &path)).collect();
    if scope.reaches_out {
        reach(config, surroundings, scope, &enabled, &mut found).await;
    }
    let named = enabled.iter().zip(found).map(|(server, finding)| {
        let finding = finding.unwrap_or_else(|| Finding::ok(CHECK, "not asked"));
        finding.of(server.id.as_str())
    });
    named.collect()
}

/// What can be found wrong without reaching it.
fn at_hand(server: &Server, path: &str) -> Option<Finding> {
    if !server.missing.is_empty() {
        let missing = server.missing.join(", ");
        let message = format!("{missing} is not set in the environment, so it is left out");
        return Some(Finding::fail(CHECK, message, format!("set {missing} where the gateway is started")));
    }
    if let Transport::Stdio { command, cwd, .. } = &server.transport
        && !is_found(command, cwd.as_deref(), path)
    {
        let message = format!("there is no program `{command}` in PATH ({path})");
        return Some(Finding::fail(CHECK, message, "install it, or write its whole path"));
    }
    None
}

fn is_found(command: &str, cwd: Option<&Path>, path: &str) -> bool {
    let runs =
        |place: &Path| rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_ok() && place.is_file();
    if command.contains('/') {
        return runs(&cwd.unwrap_or(Path::new("")).join(command)) || runs(Path::new(command));
    }
    path.split(':').any(|folder| runs(&Path::new(folder).join(command)))
}

/// Greets those of which nothing is wrong so far, all at once.
async fn reach(
    config: &Config,
    surroundings: &Surroundings,
    scope: Scope,
    enabled: &[&Server],
    found: &mut [Option<Finding>],
) {
    let settings = Settings {
        environment: doorward_upstream::inherited(surroundings.environment.iter().cloned()),
        // What is looked at once need not be looked after.
        health_every: None,
        ..Settings::default()
    };
    let clocks = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.random));
    let (upstreams, _events) = Upstreams::new(settings, clocks.0, clocks.1);
    upstreams.configure(runtime::specs(config));
    let mut asking = JoinSet::new();
    for (at, server) in
        enabled.iter().enumerate().filter(|(at, _)| found.get(*at).is_some_and(Option::is_none))
    {
        let (upstreams, id) = (upstreams.clone(), server.id.clone());
        asking.spawn(async move {
            let asked = tokio::time::timeout(scope.within, upstreams.catalog(&id, "")).await;
            let finding = match asked {
                Ok(Ok((_, catalog))) => answered(&upstreams, &id, catalog.of(CapabilityKind::Tool).count()),
                Ok(Err(error)) => failed(&error, upstreams.stderr(&id)),
                Err(_) => Finding::fail(
                    CHECK,
                    format!("it does not answer within {} s", scope.within.as_secs()),
                    "look why it hangs; `--timeout` waits longer for one that is only slow to start",
                ),
            };
            (at, finding)
        });
    }
    while let Some(Ok((at, finding))) = asking.join_next().await {
        if let Some(place) = found.get_mut(at) {
            *place = Some(finding);
        }
    }
    upstreams.shutdown().await;
}

fn answered(upstreams: &Upstreams, id: &ServerId, tools: usize) -> Finding {
    let status = upstreams.status(id);
    let revision = status.as_ref().and_then(|status| status.protocol_version.clone());
    let era = status.and_then(|status| status.era).map_or("unknown", |era| match era {
        doorward_wire::Era::Legacy => "legacy",
        doorward_wire::Era::Modern => "modern",
    });
    let revision = revision.as_deref().unwrap_or("of no known revision").to_owned();
    Finding::ok(CHECK, format!("it answers: {revision} (era {era}), {tools} tools"))
}

fn failed(error: &UpstreamError, stderr: Option<String>) -> Finding {
    let remedy = match error {
        UpstreamError::AuthRequired { .. } => "give it a `credential` that it accepts",
        UpstreamError::Unreachable { .. } => "start it, or correct its `url`",
        UpstreamError::Start { .. } => "install its command, or correct `command` and `cwd`",
        UpstreamError::Exited { .. } | UpstreamError::Restarting { .. } => "run its command by hand",
        UpstreamError::Timeout { .. } => "look why it hangs, or give it a longer `startTimeout`",
        UpstreamError::Configuration { .. } => "correct its entry",
        _ => "look into the server's own log",
    };
    let mut message = format!("{} [{}]", error.in_full(), error.code());
    let said = stderr.unwrap_or_default();
    if let Some(last) = said.lines().rev().find(|line| !line.trim().is_empty()) {
        let last: String = last.chars().take(200).collect();
        message = format!("{message} (its last words: {})", last.escape_debug());
    }
    Finding::fail(CHECK, message, remedy)
}
