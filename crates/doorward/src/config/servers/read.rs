//! One entry of `servers` as it may be written, and what it means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use doorward_model::{Secret, ServerId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::credential::{CredentialFile, credential};
use super::meant::{check_place, check_variable, warn_of_seconds};
use super::secrecy::Secrecy;
use super::{DEFAULT_TIMEOUT, Protocol, Review, Server, Transport};
use crate::config::Context;
use crate::config::audit::Capture;

/// What the gateway's own tools are listed under.
const OWN_NAME: &str = "gateway";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TransportKind {
    /// Streamable HTTP.
    Http,
    /// HTTP with server-sent events, as of 2024-11-05.
    Sse,
    /// A child process.
    Stdio,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum NumbersKind {
    /// Refuse integers that JavaScript would round.
    #[default]
    Safe,
    /// Pass them on as written. No policy may compare them: whichever would look at
    /// arguments refuses the call.
    Exact,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum StartKind {
    /// When it is first needed.
    #[default]
    Lazy,
    /// With the gateway.
    Eager,
}

/// One server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ServerFile {
    /// Its id: a-z, 0-9 and `-`. Rules and records name it by this. An id with capitals or `_`
    /// is called otherwise in `/mcp`: `My_Server` is `my-server` there.
    id: String,
    /// Its name for people.
    name: Option<String>,
    /// Whether it takes part. Missing means no.
    enabled: Option<bool>,
    /// Tags, visible to policies.
    tags: Vec<String>,
    /// The endpoint of a server that is reached over HTTP.
    pub(super) url: Option<String>,
    /// The program of a server that is started as a child.
    command: Option<String>,
    /// Arguments of the program.
    args: Vec<String>,
    /// Environment of the program. `${VAR}` is filled from the gateway's own.
    #[schemars(with = "BTreeMap<String, String>")]
    env: BTreeMap<String, Secret>,
    /// Working directory of the program, relative to `--base-dir`, or to the gateway's own.
    cwd: Option<String>,
    /// Most memory that the program, and each process it starts, may have, in bytes. Address space
    /// that is merely reserved does not count.
    max_memory: Option<u64>,
    /// How it is reached; follows from `url` or `command` unless set.
    transport: Option<TransportKind>,
    /// Which protocol it speaks.
    protocol: Protocol,
    /// How new and changed definitions are treated.
    review: Option<Review>,
    /// What is presented to it.
    pub(super) credential: Option<CredentialFile>,
    /// Names of variables whose values the server must not repeat. Values of `${…}`, and those
    /// whose names say so, are secret anyway.
    secrets: Vec<String>,
    /// Names of variables whose values are no secrets, whatever their names say.
    plain: Vec<String>,
    /// Globs over names of tools, prompts and resources that nobody gets.
    disable: Vec<String>,
    /// How long a call may take, in milliseconds; 30000 unless set.
    timeout: Option<u64>,
    /// How long a call may take whose progress is reported, in milliseconds: each report lets it
    /// go on for another `timeout`. Without it, progress changes nothing.
    max_timeout: Option<u64>,
    /// When it is started, or connected to; `lazy` unless set.
    start: StartKind,
    /// How long starting it may take, in milliseconds; 30000 unless set.
    start_timeout: Option<u64>,
    /// After how many milliseconds without a call it is stopped; never unless set.
    idle_timeout: Option<u64>,
    /// Accept unencrypted HTTP beyond this machine.
    allow_insecure_http: bool,
    /// What becomes of integers beyond ±(2^53−1).
    numbers: NumbersKind,
    /// What is kept of arguments and results of its calls.
    capture: Option<Capture>,
    /// Has no effect: a server's health is seen from its calls.
    health_check: Option<bool>,
}

pub(crate) fn build(files: Vec<ServerFile>, context: &mut Context<'_>) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        let Some(server) = server(file, index, context) else { continue };
        if servers.iter().any(|other| other.id == server.id) {
            context
                .findings
                .error(
                    "duplicate-id",
                    format!("servers[{index}].id"),
                    format!("two servers have the id `{}`", server.id),
                )
                .remedy("rename one of them");
        } else if let Some(twin) = servers.iter().find(|other| other.id.in_names() == server.id.in_names()) {
            let message = format!(
                "`{}` and `{}` are both called `{}` in `/mcp`",
                twin.id,
                server.id,
                server.id.in_names()
            );
            context
                .findings
                .error("duplicate-id", format!("servers[{index}].id"), message)
                .remedy("rename one of them");
        }
        servers.push(server);
    }
    servers
}

fn server(file: ServerFile, index: usize, context: &mut Context<'_>) -> Option<Server> {
    let path = format!("servers[{index}]");
    let id = id(&file.id, &path, context)?;
    if file.enabled.is_none() {
        context
            .findings
            .warn(
                "not-enabled",
                format!("{path}.enabled"),
                format!("`{id}` is not started, because `enabled` is missing"),
            )
            .remedy("add `enabled: true`");
    }
    if file.health_check.is_some() {
        context.findings.warn(
            "no-effect",
            format!("{path}.healthCheck"),
            "`healthCheck` has no effect: a server's health is seen from its calls",
        );
    }
    let missing = context.missing.remove(&index).unwrap_or_default();
    let enabled = file.enabled.unwrap_or(false);
    if enabled && !missing.is_empty() {
        let names = missing.join(", ");
        context
            .findings
            .warn(
                "unset-variable",
                &path,
                format!("`{id}` will not start: {names} is not set in the environment, or empty"),
            )
            .remedy("set it, or give a default: `${NAME:-default}`");
    }
    if file.review == Some(Review::Tofu) {
        let message = "`review: tofu` has no effect yet: changed definitions are not reviewed";
        context.findings.warn("no-effect", format!("{path}.review"), message);
    }
    for (key, value) in [
        ("timeout", file.timeout),
        ("maxTimeout", file.max_timeout),
        ("startTimeout", file.start_timeout),
        ("idleTimeout", file.idle_timeout),
    ] {
        warn_of_seconds(key, value, &path, context);
    }
    let milliseconds = |value: Option<u64>| value.filter(|ms| *ms > 0).map(Duration::from_millis);
    let timeout = milliseconds(file.timeout).unwrap_or(DEFAULT_TIMEOUT);
    if milliseconds(file.max_timeout).is_some_and(|max| max < timeout) {
        let message = "`maxTimeout` is less than `timeout`, so that progress extends nothing";
        context.findings.warn("no-effect", format!("{path}.maxTimeout"), message);
    }
    let (credential, extra_env) = credential(&file, &path, missing.is_empty(), context);
    let secrets = secrets(&file, &extra_env, &path, context);
    Some(Server {
        name: file.name.clone().unwrap_or_else(|| id.to_string()),
        enabled,
        protocol: file.protocol,
        review: file.review.unwrap_or_default(),
        credential,
        secrets,
        timeout,
        max_timeout: milliseconds(file.max_timeout),
        is_eager: file.start == StartKind::Eager,
        start_timeout: milliseconds(file.start_timeout).unwrap_or(DEFAULT_TIMEOUT),
        idle_timeout: milliseconds(file.idle_timeout),
        allow_insecure_http: file.allow_insecure_http,
        exact_numbers: file.numbers == NumbersKind::Exact,
        capture: file.capture,
        // An entry with holes cannot be judged further: its address may be one of them.
        transport: transport(&file, extra_env, &path, missing.is_empty(), context)?,
        written: context.written.get(index).cloned().unwrap_or_default(),
        tags: file.tags,
        disable: file.disable,
        missing,
        id,
    })
}

/// The values that must not come back from a server, in whichever of its texts they stand.
fn secrets(
    file: &ServerFile,
    extra_env: &BTreeMap<String, Secret>,
    path: &str,
    context: &mut Context<'_>,
) -> Vec<Secret> {
    let mut secrecy = Secrecy::new(&file.secrets, &file.plain);
    secrecy.environment(&file.env, path, context);
    secrecy.arguments(&file.args, path, context);
    for (key, text) in [("url", &file.url), ("command", &file.command), ("cwd", &file.cwd)] {
        secrecy.text(key, text.as_deref(), path, context);
    }
    let mut secrets = secrecy.finish(path, context);
    secrets.extend(extra_env.values().cloned());
    for (name, value) in &file.env {
        check_variable(name, value, &format!("{path}.env.{name}"), context);
    }
    secrets
}

fn id(text: &str, path: &str, context: &mut Context<'_>) -> Option<ServerId> {
    // However it is spelled: names of tools know one spelling.
    if ServerId::try_from(text).is_ok_and(|id| id.in_names() == OWN_NAME) {
        let message = format!("`{OWN_NAME}` is the name of the gateway's own tools");
        context.findings.error("server-id", format!("{path}.id"), message).remedy("choose another id");
        return None;
    }
    match ServerId::try_from(text) {
        Ok(id) => {
            if !id.is_plain() {
                let message =
                    format!("`{id}` is called `{0}` in `/mcp`: its tools are `{0}__…`", id.in_names());
                let lint = context.findings.warn("server-id", format!("{path}.id"), message);
                lint.remedy("rules, limits, records and `/mcp/ID` keep the id as it is written");
            }
            Some(id)
        }
        Err(invalid) => {
            let lint = context.findings.error("server-id", format!("{path}.id"), invalid.to_string());
            if let Some(better) = spelled_better(text) {
                lint.remedy(format!("`{better}` would do; rules that name it must follow"));
            }
            None
        }
    }
}

/// The valid id that is most like `text`.
fn spelled_better(text: &str) -> Option<String> {
    let letters = text.to_lowercase();
    let parts = letters.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let mut better = parts.collect::<Vec<_>>().join("-");
    better.truncate(ServerId::MAX_LEN);
    (!better.is_empty() && better != OWN_NAME).then_some(better)
}

fn transport(
    file: &ServerFile,
    extra_env: BTreeMap<String, Secret>,
    path: &str,
    is_whole: bool,
    context: &mut Context<'_>,
) -> Option<Transport> {
    let kind = match (file.transport, &file.url, &file.command) {
        (Some(kind), ..) => kind,
        (None, Some(_), None) => TransportKind::Http,
        (None, None, Some(_)) => TransportKind::Stdio,
        (None, Some(_), Some(_)) => {
            context
                .findings
                .error("transport", path, "both `url` and `command` are given")
                .remedy("keep one of them, or say which by `transport`");
            return None;
        }
        (None, None, None) => {
            context
                .findings
                .error("transport", path, "neither `url` nor `command` is given")
                .remedy("add one of them");
            return None;
        }
    };
    let needed = if kind == TransportKind::Stdio { ("command", &file.command) } else { ("url", &file.url) };
    let Some(place) = needed.1.clone().filter(|place| !place.is_empty() || !is_whole) else {
        context.findings.error("transport", path, format!("`{}` is missing", needed.0));
        return None;
    };
    if kind == TransportKind::Stdio {
        if file.url.is_some() {
            let message = "a server that is started by its `command` has no `url`";
            context
                .findings
                .error("transport", format!("{path}.url"), message)
                .remedy("remove it, or say `transport: http`");
        }
        let mut env = file.env.clone();
        env.extend(extra_env);
        return Some(Transport::Stdio {
            command: place,
            args: file.args.clone(),
            env,
            cwd: match (&context.children, &file.cwd) {
                (Some(base), Some(cwd)) => Some(base.join(cwd)),
                (Some(base), None) => Some(base.clone()),
                (None, cwd) => cwd.as_ref().map(PathBuf::from),
            },
            max_memory: file.max_memory.filter(|bytes| *bytes > 0),
        });
    }
    let child_only = [
        ("args", !file.args.is_empty()),
        ("env", !file.env.is_empty()),
        ("cwd", file.cwd.is_some()),
        ("maxMemory", file.max_memory.is_some()),
    ];
    if file.command.is_some() {
        let message = "a server that is reached by its `url` has no `command`";
        context
            .findings
            .error("transport", format!("{path}.command"), message)
            .remedy("remove it, or say `transport: stdio`");
    }
    for (key, _) in child_only.into_iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` has no effect: the server is reached by its `url`");
        context.findings.warn("no-effect", format!("{path}.{key}"), message);
    }
    if is_whole {
        check_place(&place, file.allow_insecure_http, path, context);
    }
    Some(if kind == TransportKind::Sse {
        Transport::Sse { url: place }
    } else {
        Transport::Http { url: place }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_id_gets_a_valid_spelling() {
        let cases = [
            ("GitHub", Some("github")),
            ("my__server_1", Some("my-server-1")),
            ("-a-", Some("a")),
            ("__", None),
            ("_gateway", None),
        ];
        for (text, expected) in cases {
            assert_eq!(spelled_better(text).as_deref(), expected, "{text}");
        }
    }
}
