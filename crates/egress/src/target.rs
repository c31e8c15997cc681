//! A URL, read once into what a connection needs.
//!
//! Nothing is normalised: the path goes out as it was written. What browsers
//! forgive (user names in URLs, spaces, backslashes) is refused.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use http::uri::PathAndQuery;

/// Where a request goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    tls: bool,
    host: Arc<str>,
    port: u16,
    path: PathAndQuery,
    authority: HeaderValue,
}

/// Why a text is no URL to go to. Names no part of the URL: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Not an absolute URL at all.
    #[error("not an absolute URL")]
    Syntax,
    /// Another scheme than `http` and `https`.
    #[error("only http and https URLs can be reached")]
    Scheme,
    /// A user name or password in the URL.
    #[error("a URL must not hold a user name or password")]
    UserInfo,
    /// A host that is neither a name nor an address.
    #[error("the URL's host is neither a name nor an address")]
    Host,
}

impl Target {
    /// Reads an absolute `http` or `https` URL. A fragment is dropped.
    ///
    /// # Errors
    /// [`InvalidUrl`]
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let uri: http::Uri = url.parse().map_err(|_| InvalidUrl::Syntax)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(InvalidUrl::Syntax);
        };
        let tls = match scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(InvalidUrl::Scheme),
        };
        if authority.as_str().contains('@') {
            return Err(InvalidUrl::UserInfo);
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let is_name = bare.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'));
        if bare.is_empty() || !(is_name || bare.parse::<IpAddr>().is_ok()) {
            return Err(InvalidUrl::Host);
        }
        let rest = &authority.as_str()[host.len()..];
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some(digits) => Some(digits.parse::<u16>().map_err(|_| InvalidUrl::Syntax)?),
            None => return Err(InvalidUrl::Syntax),
        };
        let host = host.to_ascii_lowercase();
        let default = if tls { 443 } else { 80 };
        let shown = match port {
            Some(port) if port != default => format!("{host}:{port}"),
            _ => host.clone(),
        };
        Ok(Self {
            tls,
            host: bare.to_ascii_lowercase().into(),
            port: port.unwrap_or(default),
            path: parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")),
            authority: HeaderValue::from_str(&shown).map_err(|_| InvalidUrl::Host)?,
        })
    }

    /// Resolves a reference found at this URL (RFC 3986, section 5, without the
    /// removal of dot segments, which a reference has no business to hold).
    ///
    /// # Errors
    /// [`InvalidUrl`]
    pub fn join(&self, reference: &str) -> Result<Self, InvalidUrl> {
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme_ends = reference.find([':', '/', '?']);
        if scheme_ends.is_some_and(|at| reference.as_bytes()[at] == b':') {
            return Self::parse(reference);
        }
        if reference.starts_with("//") {
            return Self::parse(&format!("{}:{reference}", self.scheme()));
        }
        let path = self.path.path();
        let full = if reference.starts_with('/') {
            reference.to_owned()
        } else if reference.starts_with('?') {
            format!("{path}{reference}")
        } else if reference.is_empty() {
            self.path.as_str().to_owned()
        } else {
            let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
            format!("{folder}{reference}")
        };
        let path = PathAndQuery::try_from(full).map_err(|_| InvalidUrl::Syntax)?;
        let dots = |segment: &str| matches!(segment, "." | "..");
        if path.path().split('/').any(dots) && !self.path.path().split('/').any(dots) {
            return Err(InvalidUrl::Syntax);
        }
        Ok(Self { path, ..self.clone() })
    }

    /// Whether both lead to the same scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.tls == other.tls && self.host == other.host && self.port == other.port
    }

    /// Whether the way there is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host: a lower-case name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, given or implied.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as written.
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// Whether the URL itself, before any name is resolved, promises to stay on
    /// this machine.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => crate::reach::is_loopback(address),
            Err(_) => *self.host == *"localhost" || self.host.ends_with(".localhost"),
        }
    }

    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// Scheme, host and port only: a path or query may hold a secret.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority.to_str().unwrap_or_default())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        let cases = [
            ("https://api.example/mcp", Ok("https://api.example /mcp 443")),
            ("HTTPS://API.example:443", Ok("https://api.example / 443")),
            ("http://127.0.0.1:8080/a?b=c#d", Ok("http://127.0.0.1:8080 /a?b=c 8080")),
            ("http://[::1]:9/x", Ok("http://[::1]:9 /x 9")),
            ("https://a_b.example/%7e/../x", Ok("https://a_b.example /%7e/../x 443")),
            ("https://user:pw@api.example/", Err(InvalidUrl::UserInfo)),
            ("ftp://api.example/", Err(InvalidUrl::Scheme)),
            ("/mcp", Err(InvalidUrl::Syntax)),
            ("api.example", Err(InvalidUrl::Syntax)),
            ("https://api.example:99999/", Err(InvalidUrl::Syntax)),
            ("https:///x", Err(InvalidUrl::Syntax)),
            ("", Err(InvalidUrl::Syntax)),
        ];
        for (url, expected) in cases {
            let read = Target::parse(url).map(|it| format!("{it} {} {}", it.path(), it.port()));
            assert_eq!(read.as_deref(), expected.as_ref().copied(), "{url}");
        }
        for url in
            ["https://a b/", "https://a\\b/", "https://[::1/", "https://exa%41mple/", "https://é.example/"]
        {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn references_resolve_against_where_they_were_found() {
        let base = Target::parse("https://api.example/v1/sse?key=1").expect("valid");
        let cases = [
            ("/messages/?session_id=7", Some("https://api.example /messages/?session_id=7")),
            ("messages?s=1:2", Some("https://api.example /v1/messages?s=1:2")),
            ("?s=1", Some("https://api.example /v1/sse?s=1")),
            ("https://API.example/m", Some("https://api.example /m")),
            ("https://evil.example/m", Some("https://evil.example /m")),
            ("//evil.example/m", Some("https://evil.example /m")),
            ("../m", None),
            ("javascript:alert(1)", None),
        ];
        for (reference, expected) in cases {
            let joined = base.join(reference).ok().map(|it| format!("{it} {}", it.path()));
            assert_eq!(joined.as_deref(), expected, "{reference}");
        }
        let same = |url| base.same_origin(&Target::parse(url).expect("valid"));
        assert!(same("https://api.example:443/other"));
        assert!(
            !same("http://api.example/") && !same("https://api.example:8443/") && !same("https://x.example/")
        );
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for (url, expected) in [
            ("http://localhost:1/", true),
            ("http://a.localhost/", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]/", true),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(Target::parse(url).expect("valid").is_loopback(), expected, "{url}");
        }
    }
}
