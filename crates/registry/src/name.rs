//! Names and URIs as the aggregate endpoint offers them.
//!
//! Tools and prompts become `<server>__<name>`, where a server whose id is not plain goes by
//! [another spelling](ServerId::in_names) of it: at most 64 characters of
//! `A-Z a-z 0-9 _ -`, the intersection of what clients and model providers accept.
//! A name that does not fit is shortened and given a hash of the original, so it
//! stays the same from one day to the next. URIs keep their text behind a scheme
//! prefix and can be turned back without a table.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use doorward_model::{CapabilityKind, ServerId};

/// Longest name offered, in characters.
pub const MAX_NAME: usize = 64;
/// What stands between server and capability.
pub const SEPARATOR: &str = "__";

const HASH_CHARS: usize = 6;
const URI_PREFIX: &str = "gw+";
const UI_PREFIX: &str = "ui://";

/// The name or URI under which the aggregate endpoint offers a capability.
pub fn exposed(server: &ServerId, kind: CapabilityKind, name: &str) -> String {
    match kind {
        CapabilityKind::Tool | CapabilityKind::Prompt => exposed_name(server, name),
        CapabilityKind::Resource | CapabilityKind::ResourceTemplate => exposed_uri(server, name),
    }
}

fn exposed_name(server: &ServerId, name: &str) -> String {
    let plain = format!("{}{SEPARATOR}{name}", server.in_names());
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if plain.len() <= MAX_NAME && !name.is_empty() && plain.chars().all(fits) {
        return plain;
    }
    let mut text: String = plain.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    text.truncate(MAX_NAME - HASH_CHARS - 1);
    let hash = digest(&SHA256, format!("{server}\0{name}").as_bytes());
    const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    text.push('_');
    text.extend(hash.as_ref()[..HASH_CHARS].iter().map(|byte| char::from(BASE32[usize::from(byte & 31)])));
    text
}

/// `ui://` keeps its scheme, because hosts dispatch on it.
fn exposed_uri(server: &ServerId, uri: &str) -> String {
    let mut out = String::with_capacity(uri.len() + server.as_str().len() + 6);
    let server = server.in_names();
    let written = match uri.strip_prefix(UI_PREFIX) {
        Some(rest) => write!(out, "{UI_PREFIX}{server}+{rest}"),
        None => write!(out, "{URI_PREFIX}{server}+{uri}"),
    };
    written.expect("writing to a string");
    out
}

/// The server, as it is called in names, and its own URI behind an offered URI. An empty URI is none (RFC 3986, section 3),
/// and records tell resource templates from prompts by it.
pub fn original_uri(offered: &str) -> Option<(ServerId, String)> {
    let (prefix, rest) = match offered.strip_prefix(UI_PREFIX) {
        Some(rest) => (UI_PREFIX, rest),
        None => ("", offered.strip_prefix(URI_PREFIX)?),
    };
    let (server, uri) = rest.split_once('+')?;
    if prefix.is_empty() && uri.is_empty() {
        return None;
    }
    Some((plain(server)?, format!("{prefix}{uri}")))
}

/// Whether an offered tool or prompt name may be one of this server's, of whose id it holds
/// no more than the beginning. Which server's it is shows when the server has been asked.
pub fn may_be_shortened_of(server: &ServerId, offered: &str) -> bool {
    let name = server.in_names();
    let beginning = name.get(..MAX_NAME - HASH_CHARS - 1);
    offered.len() == MAX_NAME && beginning.is_some_and(|beginning| offered.starts_with(beginning))
}

/// The server part of an offered tool or prompt name: the server as it is called in names.
pub fn server_of(offered: &str) -> Option<ServerId> {
    let (server, _) = offered.split_once(SEPARATOR)?;
    plain(server)
}

fn plain(server: &str) -> Option<ServerId> {
    ServerId::try_from(server).ok().filter(ServerId::is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ServerId {
        ServerId::try_from(text).expect("valid id")
    }

    #[test]
    fn names_fit_everywhere_and_stay_apart() {
        let github = id("github");
        assert_eq!(exposed_name(&github, "create_issue"), "github__create_issue");
        assert_eq!(exposed_name(&github, "a__b"), "github__a__b", "only the first separator counts");
        let long = "x".repeat(80);
        let short = exposed_name(&github, &long);
        assert_eq!(short.len(), MAX_NAME);
        assert!(short.starts_with("github__xxx"));
        assert_ne!(short, exposed_name(&github, &"x".repeat(81)), "the hash tells them apart");
        assert_ne!(exposed_name(&github, "a.b"), exposed_name(&github, "a/b"));
        assert!(
            exposed_name(&github, "naïve tool")
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        );
        assert_eq!(server_of("github__a__b"), Some(github));
        assert_eq!(server_of("nothing"), None);
        assert_eq!(server_of("__x"), None);
        assert_eq!(exposed_name(&id("My_Server"), "echo"), "my-server__echo");
        assert_eq!(exposed_name(&id("a__b"), "echo"), "a-b__echo");
        assert_eq!(server_of("My_Server__echo"), None, "one spelling only");
        for length in [54, 55, 56, 57, 63] {
            let server = id(&"s".repeat(length));
            let offered = exposed_name(&server, "echoes");
            let leads_back = server_of(&offered).as_ref() == Some(&server);
            assert_eq!(leads_back, length < 57, "{offered}");
            assert_eq!(may_be_shortened_of(&server, &offered), length >= 57, "{offered}");
        }
    }

    #[test]
    fn uris_turn_back_into_themselves() {
        for uri in ["wiki://handbook/{page}", "file:///a+b", "ui://card/1", "urn:x", "gw+nested+x:y", "a b+c"]
        {
            let offered = exposed_uri(&id("my-wiki"), uri);
            assert_eq!(original_uri(&offered), Some((id("my-wiki"), uri.to_owned())), "{offered}");
        }
        assert_eq!(exposed_uri(&id("My_Wiki"), "a:b"), "gw+my-wiki+a:b");
        assert_eq!(original_uri("wiki://handbook"), None);
        assert_eq!(original_uri("gw+Bad+x"), None);
        assert_eq!(original_uri("gw+my-wiki+"), None, "nothing has an empty URI");
    }
}
