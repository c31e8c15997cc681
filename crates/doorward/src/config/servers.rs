//! The servers that can be called: `servers`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use doorward_model::{Secret, ServerId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::audit::Capture;
use super::lint::did_you_mean;

/// How long a call may take unless configured.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// One registered server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Its name for people; the id unless configured.
    pub name: String,
    /// Tags, visible to policies.
    pub tags: Vec<String>,
    /// Whether it takes part at all.
    pub enabled: bool,
    /// How it is reached.
    pub transport: Transport,
    /// Which protocol it speaks.
    pub protocol: Protocol,
    /// How new and changed definitions are treated.
    pub review: Review,
    /// What is presented to it.
    pub credential: Credential,
    /// Globs over capabilities that nobody gets.
    pub disable: Vec<String>,
    /// How long a call may take.
    pub timeout: Duration,
    /// How long starting it may take.
    pub start_timeout: Duration,
    /// After how long without a call it is stopped; `None` keeps it.
    pub idle_timeout: Option<Duration>,
    /// Whether unencrypted HTTP beyond this machine is accepted.
    pub allow_insecure_http: bool,
    /// Whether integers that JavaScript would round are passed on as written.
    pub exact_numbers: bool,
    /// What is kept of arguments and results, if not what `audit.capture` says.
    pub capture: Option<Capture>,
    /// Environment variables that its entry names and nobody set. It cannot start
    /// while there are any.
    pub missing: Vec<String>,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A child process, spoken to over its standard input and output.
    Stdio {
        /// The program, found by `PATH`.
        command: String,
        /// Its arguments, verbatim.
        args: Vec<String>,
        /// Its environment, beside a few harmless variables.
        env: BTreeMap<String, Secret>,
        /// Its working directory, relative to the gateway's own.
        cwd: Option<PathBuf>,
        /// Its largest address space, in bytes.
        max_memory: Option<u64>,
    },
    /// Streamable HTTP.
    Http {
        /// The endpoint.
        url: String,
    },
    /// HTTP with server-sent events, as of 2024-11-05.
    Sse {
        /// The event stream.
        url: String,
    },
}

impl Transport {
    /// `stdio`, `http` or `sse`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stdio { .. } => "stdio",
            Self::Http { .. } => "http",
            Self::Sse { .. } => "sse",
        }
    }
}

/// Which protocol a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Found out when connecting.
    #[default]
    Auto,
    /// With sessions: 2024-11-05 to 2025-11-25.
    Legacy,
    /// Without sessions: 2026-07-28 and later.
    Modern,
}

/// How definitions of capabilities come into use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Review {
    /// What a server offers first is trusted; what changes later is reviewed.
    #[default]
    Tofu,
    /// Everything is reviewed before it can be called.
    Strict,
}

/// What is presented to a server.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing.
    None,
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// These headers.
    Headers(BTreeMap<String, Secret>),
}

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
    /// Pass them on as written.
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
    pub(crate) enabled: Option<bool>,
    /// Tags, visible to policies.
    tags: Vec<String>,
    /// The endpoint of a server that is reached over HTTP.
    url: Option<String>,
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
    credential: Option<CredentialFile>,
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

/// What is presented to a server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
struct CredentialFile {
    /// `none`, `bearer`, `headers` or `env`.
    kind: String,
    /// The token of `bearer`.
    #[schemars(with = "Option<String>")]
    token: Option<Secret>,
    /// The headers of `headers`.
    #[schemars(with = "BTreeMap<String, String>")]
    headers: BTreeMap<String, Secret>,
    /// The variables of `env`, for a child process.
    #[schemars(with = "BTreeMap<String, String>")]
    env: BTreeMap<String, Secret>,
}

const CREDENTIAL_KINDS: [&str; 4] = ["none", "bearer", "headers", "env"];
const LATER_CREDENTIAL_KINDS: [&str; 3] = ["query", "oauth", "passthrough"];

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

/// Whether requests may be sent there. Errors are a message and a remedy; they never
/// repeat the address, which may hold a credential.
pub(crate) fn check_url(url: &str, allow_insecure: bool) -> Result<(), (String, &'static str)> {
    let parsed: http::Uri =
        url.parse().map_err(|_| ("this is no address".to_owned(), "write https://host/path"))?;
    let host = parsed.host().unwrap_or_default();
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(("the address holds a credential".to_owned(), "move it to `credential`"));
    }
    match parsed.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if is_here || (allow_insecure && !host.is_empty()) => Ok(()),
        Some("http") => Err((
            "unencrypted HTTP to another machine would show calls and credentials to everybody on the way"
                .to_owned(),
            "use https, or set `allowInsecureHttp: true` if the network itself is protected",
        )),
        _ => Err(("the address must start with https:// or http://".to_owned(), "write https://host/path")),
    }
}

/// The credential and what it adds to a child's environment.
fn credential(
    file: &ServerFile,
    path: &str,
    context: &mut Context<'_>,
) -> (Credential, BTreeMap<String, Secret>) {
    let nothing = (Credential::None, BTreeMap::new());
    let Some(given) = &file.credential else { return nothing };
    let path = format!("{path}.credential");
    let is_child = file.url.is_none();
    match given.kind.as_str() {
        "none" => nothing,
        "bearer" | "headers" if is_child => {
            context
                .findings
                .error("credential", path, format!("a child process gets no {}", given.kind))
                .remedy("use `kind: env`");
            nothing
        }
        "bearer" => match &given.token {
            Some(token) => {
                check_header(token, &format!("{path}.token"), context);
                (Credential::Bearer(token.clone()), BTreeMap::new())
            }
            None => {
                context
                    .findings
                    .error("credential", path, "`token` is missing")
                    .remedy("add `token: \"${NAME}\"`");
                nothing
            }
        },
        "headers" => {
            for name in given.headers.keys().filter(|name| http::HeaderName::try_from(name.as_str()).is_err())
            {
                context.findings.error(
                    "credential",
                    format!("{path}.headers"),
                    format!("`{name}` is no header name"),
                );
            }
            for (name, value) in &given.headers {
                check_header(value, &format!("{path}.headers.{name}"), context);
            }
            (Credential::Headers(given.headers.clone()), BTreeMap::new())
        }
        "env" if is_child => (Credential::None, given.env.clone()),
        "env" => {
            context
                .findings
                .error("credential", path, "a server behind a `url` has no environment")
                .remedy("use `kind: bearer` or `kind: headers`");
            nothing
        }
        later if LATER_CREDENTIAL_KINDS.contains(&later) => {
            context.findings.error(
                "not-supported",
                path,
                format!("credentials of kind `{later}` are not supported yet"),
            );
            nothing
        }
        other => {
            let lint =
                context.findings.error("credential", path, format!("`{other}` is no kind of credential"));
            lint.remedy = did_you_mean(other, &CREDENTIAL_KINDS)
                .or_else(|| Some("use none, bearer, headers or env".to_owned()));
            nothing
        }
    }
}

/// A line break in a header would be the start of another one.
fn check_header(value: &Secret, path: &str, context: &mut Context<'_>) {
    if http::HeaderValue::try_from(value.expose()).is_err() {
        context
            .findings
            .error("credential", path, "this cannot be sent in a header")
            .remedy("look for line breaks and other control characters in it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_safe_or_say_why_not() {
        let cases = [
            ("https://api.example/mcp", false, true),
            ("http://127.0.0.1:8080/mcp", false, true),
            ("http://[::1]/mcp", false, true),
            ("http://localhost/mcp", false, true),
            ("http://api.example/mcp", false, false),
            ("http://api.example/mcp", true, true),
            ("https://user:pw@api.example/", true, false),
            ("ftp://api.example/", true, false),
            ("api.example", true, false),
            ("https://", true, false),
            ("", true, false),
            ("http://localhost.evil.example/", false, false),
        ];
        for (url, insecure, accepted) in cases {
            assert_eq!(check_url(url, insecure).is_ok(), accepted, "{url}");
        }
    }

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
