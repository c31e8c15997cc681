//! What is presented to a server, as the file says it: `credential`.

use std::collections::{BTreeMap, BTreeSet};

use doorward_model::Secret;
use doorward_upstream::is_reserved_header;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Credential;
use super::read::ServerFile;
use crate::config::Context;
use crate::config::lint::did_you_mean;
use crate::config::pasted::{self, Slip};

/// What is presented to a server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct CredentialFile {
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

/// The credential and what it adds to a child's environment.
pub(super) fn credential(
    file: &ServerFile,
    path: &str,
    is_whole: bool,
    context: &mut Context<'_>,
) -> (Credential, BTreeMap<String, Secret>) {
    let nothing = (Credential::None, BTreeMap::new());
    let Some(given) = &file.credential else { return nothing };
    let path = format!("{path}.credential");
    let is_child = file.url.is_none();
    for (key, kind, is_there) in [
        ("token", "bearer", given.token.is_some()),
        ("headers", "headers", !given.headers.is_empty()),
        ("env", "env", !given.env.is_empty()),
    ] {
        if is_there && given.kind != kind && CREDENTIAL_KINDS.contains(&given.kind.as_str()) {
            let message = format!("`{key}` belongs to `kind: {kind}`, and means nothing to `{}`", given.kind);
            context
                .findings
                .warn("unused", format!("{path}.{key}"), message)
                .remedy(format!("write `kind: {kind}`, or remove it"));
        }
    }
    match given.kind.as_str() {
        "none" => nothing,
        "bearer" | "headers" if is_child => {
            context
                .findings
                .error("credential", path, format!("a child process gets no {}", given.kind))
                .remedy("use `kind: env`");
            nothing
        }
        // A token that waits for its variable is empty, and the server does not start.
        "bearer" => match given.token.as_ref().filter(|token| !token.is_empty() || !is_whole) {
            Some(token) => {
                let at = format!("{path}.token");
                if check_header(token, &at, context) {
                    check_text(pasted::slip_of_token(token.expose()).filter(|_| is_whole), &at, context);
                }
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
            check_names(&given.headers, &path, context);
            for (name, value) in &given.headers {
                let at = format!("{path}.headers.{name}");
                if check_header(value, &at, context) {
                    check_text(pasted::slip(value.expose()).filter(|_| is_whole), &at, context);
                }
            }
            (Credential::Headers(given.headers.clone()), BTreeMap::new())
        }
        "env" if is_child => {
            for (name, value) in &given.env {
                // A key in PEM form ends with a line end and has more of them.
                let slip =
                    pasted::slip(value.expose()).filter(|_| is_whole && !value.expose().contains('\n'));
                check_text(slip, &format!("{path}.env.{name}"), context);
            }
            (Credential::Env, given.env.clone())
        }
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

/// Headers that a credential may have: each once, and none of the gateway's own.
fn check_names(headers: &BTreeMap<String, Secret>, path: &str, context: &mut Context<'_>) {
    let mut seen = BTreeSet::new();
    for name in headers.keys() {
        let lower = name.to_ascii_lowercase();
        let (message, remedy) = if http::HeaderName::try_from(name.as_str()).is_err() {
            (format!("`{name}` is no header name"), "use letters, digits and `-`")
        } else if is_reserved_header(&lower) {
            (
                format!("the header `{name}` is the gateway's to set"),
                "remove it; a credential has headers of its own",
            )
        } else if !seen.insert(lower) {
            (format!("the header `{name}` stands here twice"), "keep one of them")
        } else {
            continue;
        };
        context.findings.error("credential", format!("{path}.headers.{name}"), message).remedy(remedy);
    }
}

/// A credential that cannot be meant. The server is asked all the same: it refuses the credential,
/// and all others go on.
fn check_text(slip: Option<Slip>, path: &str, context: &mut Context<'_>) {
    if let Some(slip) = slip {
        let message = format!("the server will refuse this credential: {}", slip.message);
        slip.advise(context.findings.warn("secret-text", path, message));
    }
}

/// Whether a header may have this value: a line break in it would be the start of another one.
fn check_header(value: &Secret, path: &str, context: &mut Context<'_>) -> bool {
    let fits = http::HeaderValue::try_from(value.expose()).is_ok();
    if !fits {
        context
            .findings
            .error("credential", path, "this cannot be sent in a header")
            .remedy("look for line breaks and other control characters in it");
    }
    fits
}
