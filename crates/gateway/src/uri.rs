//! One spelling for each URI.
//!
//! Rules speak of URIs as text, and servers read them: they fold case, take out dot segments
//! and decode escapes, each in its own way (RFC 3986, section 6.2.2; WHATWG URL). A URI that
//! somebody might read as another one is not asked for: what was judged has to be what is read.

use doorward_model::CapabilityKind;

/// Schemes that WHATWG URL reads in its own way.
const SPECIAL: [&str; 6] = ["file", "ftp", "http", "https", "ws", "wss"];

/// Whether every reader takes this URI for what it says.
pub(crate) fn has_one_reading(kind: CapabilityKind, uri: &str) -> bool {
    let is_template = kind == CapabilityKind::ResourceTemplate;
    let is_plain = |byte: u8| match byte {
        b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' => false,
        b'{' | b'}' => is_template,
        byte => byte.is_ascii_graphic(),
    };
    if !uri.bytes().all(is_plain) || !escapes_are_needed(uri) {
        return false;
    }
    let Some((scheme, rest)) = uri.split_once(':') else { return !has_dots(uri) };
    // A name with a colon further on, such as a template's `{+path}:x`.
    if scheme.contains(['/', '{', '?', '#']) {
        return !has_dots(uri);
    }
    let is_lower = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
    if !scheme.bytes().all(is_lower) || !scheme.starts_with(|c: char| c.is_ascii_lowercase()) {
        return false;
    }
    // WHATWG URL escapes an apostrophe in the query of the schemes that it knows.
    let query = rest.split('#').next().and_then(|rest| rest.split_once('?')).map_or("", |(_, query)| query);
    if SPECIAL.contains(&scheme) && query.contains('\'') {
        return false;
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    match (rest.strip_prefix("//"), scheme) {
        (None, scheme) if SPECIAL.contains(&scheme) => false,
        (None, _) => !has_dots(path),
        (Some(_), "file") => path.starts_with("///") && !path[2..].contains("//") && !has_dots(path),
        (Some(rest), scheme) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            // Where WHATWG URL knows the scheme, a host is followed by a path.
            let is_whole = !SPECIAL.contains(&scheme) || rest[authority.len()..].starts_with('/');
            is_whole && is_plain_authority(scheme, authority) && !has_dots(&path[2 + authority.len()..])
        }
    }
}

/// Whether every escape stands for what could not be written otherwise, in capitals.
fn escapes_are_needed(uri: &str) -> bool {
    uri.split('%').skip(1).all(|rest| {
        let digit = |at: usize| match rest.as_bytes().get(at) {
            Some(byte @ b'0'..=b'9') => Some(byte - b'0'),
            Some(byte @ b'A'..=b'F') => Some(byte - b'A' + 10),
            _ => None,
        };
        let Some((high, low)) = digit(0).zip(digit(1)) else { return false };
        let byte = high * 16 + low;
        // What some decode to a separator, to an end, or to nothing special at all.
        let is_harmful = matches!(byte, b'/' | b'\\' | 0);
        let is_unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        !is_harmful && !is_unreserved
    })
}

/// Whether a segment of a path is `.` or `..`; escaped dots have been refused before.
fn has_dots(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Whether an authority is spelled as it comes out of every parser: without what is empty, or
/// goes without saying.
fn is_plain_authority(scheme: &str, authority: &str) -> bool {
    let (user, place) = match authority.split_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    let usual = match scheme {
        "ftp" => "21",
        "http" | "ws" => "80",
        "https" | "wss" => "443",
        _ => "",
    };
    let is_user = |user: &str| !user.is_empty() && !user.contains([':', '@', '[', ']', '|', '\'', ';', '=']);
    let is_port = |port: &str| port != usual && !port.starts_with('0') && port.parse::<u16>().is_ok();
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|host| {
            host.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.to_string() == host)
        }),
        None if SPECIAL.contains(&scheme) => is_plain_host(host),
        None => !host.contains([':', '@', '[', ']', '|']),
    };
    let has_more = user.is_some() || port.is_some();
    user.is_none_or(is_user) && port.is_none_or(is_port) && is_host && !(has_more && host.is_empty())
}

/// Whether a host is in lower case, and no number that is an address in disguise.
fn is_plain_host(host: &str) -> bool {
    let is_name = !host.is_empty()
        && host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'));
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    let is_puny = host.split('.').any(|label| label.starts_with("xn--"));
    is_name && !is_puny && (!is_number || host.parse::<std::net::Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn is_one(uri: &str) -> bool {
        has_one_reading(CapabilityKind::Resource, uri)
    }

    #[test]
    fn what_servers_people_use_have_is_taken() {
        for uri in [
            "file:///srv/docs/a%20b.md",
            "file:///C:/x",
            "test://static/1",
            "demo://resource/static/document/architecture.md",
            "postgres://user@host/db/table/schema",
            "memory:abc",
            "urn:isbn:0451450523",
            "ui://widgets/chart.html",
            "https://example.com/a/b?c=d#e",
            "https://example.com:8443/",
            "http://127.0.0.1:3000/x",
            "http://[::1]/x",
            "note:///%C3%9Cber%20uns",
            "git://Host/Repo//x",
            "config",
            "a/b.c",
        ] {
            assert!(is_one(uri), "{uri}");
        }
        assert!(has_one_reading(CapabilityKind::ResourceTemplate, "file:///{+path}"));
    }

    #[test]
    fn what_somebody_would_read_as_another_is_not() {
        for uri in [
            "FILE:///private/key",
            "File:///private/key",
            "file:///public/../private/key",
            "file:///public/./key",
            "file:///public/%2e%2e/private/key",
            "file:///public/.%2E/private/key",
            "file:///public/..%2Fprivate/key",
            "file:///public/..%5Cprivate",
            "file:///public\\..\\private",
            "file:///pr%69vate/key",
            "file:///a%2fb",
            "file:///a%c3%a9",
            "file:///a%",
            "file:///a%0",
            "file:///a%00",
            "file:/private/key",
            "file:private/key",
            "file://localhost/private/key",
            "file:////private/key",
            "file:///private//key",
            "file:///private/key\t",
            " file:///private/key",
            "file:///pri\nvate/key",
            "file:///ä",
            "https:/example.com/x",
            "https://EXAMPLE.com/x",
            "https://example.com:443/x",
            "https://example.com:/x",
            "https://example.com",
            "https://0x7f.1/x",
            "https://2130706433/x",
            "https://127.1/x",
            "https://[0::1]/x",
            "https://%65xample.com/x",
            "https://a/b/../c",
            "git://host/a/../b",
            "memory:a/../b",
            "../x",
            "a/./b",
            "x y",
            "x{y}",
            "",
        ] {
            assert!(uri.is_empty() || !is_one(uri), "{uri}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn another_parser_leaves_it_as_it_is(
            scheme in prop::sample::select(vec!["file", "FILE", "http", "https", "x", "x+y", "ws"]),
            rest in prop::collection::vec(prop::sample::select(vec![
                "/", "//", ":", ".", "..", "a", "B", "%2e", "%2F", "%41", "%C3%A9", "%c3", "é", "\\", "@", "?", "#",
                "80", "443", "8080", "127.1", "0x7f", "[::1]", "localhost", " ", "\t", "{", "|", "^", "'", "~", "xn--a",
            ]), 0..8),
        ) {
            let uri = format!("{scheme}:{}", rest.concat());
            if is_one(&uri) {
                // What it does not take at all, nobody reads with it.
                if let Ok(parsed) = Url::parse(&uri) {
                    prop_assert_eq!(parsed.as_str(), &*uri);
                }
            }
        }
    }
}
