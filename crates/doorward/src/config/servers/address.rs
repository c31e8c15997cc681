//! Addresses of servers: may requests be sent there?

use std::net::IpAddr;

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
}
