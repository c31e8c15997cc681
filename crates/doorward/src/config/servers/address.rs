//! Addresses of servers: may requests be sent there?

use std::net::IpAddr;

use doorward_egress::is_public;

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

/// What is known of an address by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// A name, this machine, or an address of the public Internet.
    Usual,
    /// An address of a private network, or one that nobody can have.
    Private,
    /// Where a cloud gives machines their credentials.
    Metadata,
}

/// Where clouds give machines their credentials.
const METADATA: [&str; 6] = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "metadata.google.internal",
];

/// Looks at the host of a URL. Names are not resolved here.
pub(super) fn surroundings(url: &str) -> Surroundings {
    let parsed: Option<http::Uri> = url.parse().ok();
    let host = parsed.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let canonical = address.map_or(host, |address| address.to_string());
    match address {
        _ if METADATA.contains(&canonical.as_str()) => Surroundings::Metadata,
        Some(address) if !address.is_loopback() && !is_public(address) => Surroundings::Private,
        _ => Surroundings::Usual,
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
    fn addresses_of_private_networks_and_of_clouds_are_told_from_others() {
        let cases = [
            ("https://api.example/mcp", Surroundings::Usual),
            ("http://127.0.0.1:8080/mcp", Surroundings::Usual),
            ("http://[::1]/mcp", Surroundings::Usual),
            ("https://8.8.8.8/", Surroundings::Usual),
            ("https://10.0.0.8/mcp", Surroundings::Private),
            ("https://[fe80::1]/", Surroundings::Private),
            ("https://0.0.0.0/", Surroundings::Private),
            ("https://169.254.169.254/latest", Surroundings::Metadata),
            ("https://[::ffff:169.254.169.254]/", Surroundings::Metadata),
            ("https://[fd00:ec2:0::254]/", Surroundings::Metadata),
            ("https://Metadata.Google.Internal./", Surroundings::Metadata),
        ];
        for (url, expected) in cases {
            assert_eq!(surroundings(url), expected, "{url}");
        }
    }
}
