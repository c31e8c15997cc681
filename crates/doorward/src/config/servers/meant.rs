//! Values of a server's entry that are valid and can hardly be meant: a time in seconds, the name
//! of a variable for its value, an address where no server is.

use doorward_model::Secret;

use super::address::{Surroundings, check_url, surroundings};
use super::secrecy::is_secret_name;
use crate::config::{Context, pasted};

/// A variable whose value cannot be what was meant.
pub(super) fn check_variable(name: &str, value: &Secret, path: &str, context: &mut Context<'_>) {
    if pasted::is_variable(value.expose()) {
        let message = format!("`{name}` gets the name of a variable, and not its value");
        context.findings.warn("secret-text", path, message).remedy("write `${NAME}`, with braces");
    } else if is_secret_name(name)
        && let Some(slip) = pasted::slip(value.expose()).filter(|_| !value.expose().contains('\n'))
    {
        slip.advise(context.findings.warn("secret-text", path, format!("`{name}`: {}", slip.message)));
    }
}

/// Nobody waits less than a second for a tool on purpose; `timeout: 30` is 30 s in other programs.
pub(super) fn warn_of_seconds(key: &str, value: Option<u64>, path: &str, context: &mut Context<'_>) {
    if let Some(value) = value.filter(|value| (1..1000).contains(value)) {
        let message = format!("`{key}` is a number of milliseconds: {value} is less than a second");
        context
            .findings
            .warn("milliseconds", format!("{path}.{key}"), message)
            .remedy(format!("write {} if {value} seconds are meant", value * 1000));
    }
}

/// Looks for addresses where no server can be meant to be.
pub(super) fn check_place(url: &str, allow_insecure: bool, path: &str, context: &mut Context<'_>) {
    let at = format!("{path}.url");
    if let Err((message, remedy)) = check_url(url, allow_insecure) {
        context.findings.error("url", at, message).remedy(remedy);
        return;
    }
    match surroundings(url) {
        Surroundings::Metadata => {
            context
                .findings
                .error("private-address", at, "clouds tell machines their credentials at this address")
                .remedy("name the server itself");
        }
        Surroundings::Private => {
            context
                .findings
                .warn(
                    "private-address",
                    at,
                    "this address belongs to a private network or to no network at all",
                )
                .remedy("make sure that callers may reach what answers there");
        }
        Surroundings::Usual => {}
    }
}
