//! One entry of `servers` as it may be written, and what it means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use doorward_model::{Secret, ServerId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::address::check_url;
use super::credential::{CredentialFile, credential};
use super::{DEFAULT_TIMEOUT, Protocol, Review, Server, Transport};
use crate::config::Context;
use crate::config::audit::Capture;

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

/// One server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ServerFile {
    /// Its id: a-z, 0-9 and `-`. Rules and records name it by this.
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
    /// Working directory of the program, relative to the gateway's own.
    cwd: Option<String>,
    /// Largest address space of the program, in bytes.
    max_memory: Option<u64>,
    /// How it is reached; follows from `url` or `command` unless set.
    transport: Option<TransportKind>,
    /// Which protocol it speaks.
    protocol: Protocol,
    /// How new and changed definitions are treated.
    review: Review,
    /// What is presented to it.
    pub(super) credential: Option<CredentialFile>,
    /// Globs over names of tools, prompts and resources that nobody gets.
    disable: Vec<String>,
    /// How long a call may take, in milliseconds; 30000 unless set.
    timeout: Option<u64>,
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
                format!("`{id}` will not start: {names} is not set in the environment"),
            )
            .remedy("set it, or give a default: `${NAME:-default}`");
    }
    let milliseconds = |value: Option<u64>| value.filter(|ms| *ms > 0).map(Duration::from_millis);
    let (credential, extra_env) = credential(&file, &path, context);
    Some(Server {
        name: file.name.clone().unwrap_or_else(|| id.to_string()),
        enabled,
        protocol: file.protocol,
        review: file.review,
        credential,
        timeout: milliseconds(file.timeout).unwrap_or(DEFAULT_TIMEOUT),
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

fn id(text: &str, path: &str, context: &mut Context<'_>) -> Option<ServerId> {
    match ServerId::try_from(text) {
        Ok(id) => Some(id),
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
    (!better.is_empty()).then_some(better)
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
            let message = "`url` has no effect: the server is started by its `command`";
            context.findings.warn("no-effect", format!("{path}.url"), message);
        }
        let mut env = file.env.clone();
        env.extend(extra_env);
        return Some(Transport::Stdio {
            command: place,
            args: file.args.clone(),
            env,
            cwd: file.cwd.as_ref().map(PathBuf::from),
            max_memory: file.max_memory.filter(|bytes| *bytes > 0),
        });
    }
    let child_only = [
        ("args", !file.args.is_empty()),
        ("env", !file.env.is_empty()),
        ("cwd", file.cwd.is_some()),
        ("maxMemory", file.max_memory.is_some()),
        ("command", file.command.is_some()),
    ];
    for (key, _) in child_only.into_iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` has no effect: the server is reached by its `url`");
        context.findings.warn("no-effect", format!("{path}.{key}"), message);
    }
    if is_whole && let Err((message, remedy)) = check_url(&place, file.allow_insecure_http) {
        context.findings.error("url", format!("{path}.url"), message).remedy(remedy);
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
        ];
        for (text, expected) in cases {
            assert_eq!(spelled_better(text).as_deref(), expected, "{text}");
        }
    }
}
