//! What is presented to a server, as the file says it: `credential`.

use std::collections::BTreeMap;

use doorward_model::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Credential;
use super::read::ServerFile;
use crate::config::Context;
use crate::config::lint::did_you_mean;

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
