//! The outer layer: which `Host` and `Origin` may speak to any route at all.
//!
//! A page in a browser can make the browser send requests to a gateway on the same
//! machine (DNS rebinding, cross-site POST). Browsers cannot forge `Host` and
//! `Origin`, so both are checked before a route is even looked up. Clients that are
//! no browsers send no `Origin`; Node's `fetch` sends `Sec-Fetch-Mode` without one,
//! which says nothing.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, HeaderValue, ORIGIN};

/// The names this gateway answers to and the origins it listens to.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    any_origin: bool,
}

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// `Host` is missing, repeated, malformed or not ours.
    #[error("this gateway does not answer to that Host; list it under `allowedHosts`")]
    Host,
    /// `Origin` is present and not allowed.
    #[error("requests from that Origin are not accepted; list it under `cors.origin`")]
    Origin,
}

impl Guard {
    /// Answers to loopback names, to the bound address, and to `hosts` (names or
    /// addresses without port); listens to same-machine origins and to `origins`
    /// (`https://app.example`, or `*` for any).
    pub fn new(hosts: &[String], origins: &[String]) -> Self {
        Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect(),
            any_origin: origins.iter().any(|origin| origin == "*"),
        }
    }

    /// Checks one request that came to `bound`. `authority` is the one of an absolute
    /// or HTTP/2 target.
    ///
    /// # Errors
    /// [`Foreign`], to be answered with 403.
    pub fn check(&self, bound: IpAddr, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Foreign> {
        let mut hosts = headers.get_all(HOST).iter();
        let header = hosts.next().map(|value| value.to_str().map_err(|_| Foreign::Host)).transpose()?;
        if hosts.next().is_some() {
            return Err(Foreign::Host);
        }
        let host = match (header, authority) {
            (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
                return Err(Foreign::Host);
            }
            (Some(host), _) => host,
            (None, Some(authority)) => authority,
            (None, None) => return Err(Foreign::Host),
        };
        if !host_name(host).is_some_and(|name| self.is_ours(bound, &name)) {
            return Err(Foreign::Host);
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(()),
            (Some(origin), None) => {
                let origin = origin.to_str().map_err(|_| Foreign::Origin)?.to_ascii_lowercase();
                if self.may_originate(&origin) { Ok(()) } else { Err(Foreign::Origin) }
            }
            (Some(_), Some(_)) => Err(Foreign::Origin),
        }
    }

    /// The origin of the page that asks, if it is listed. Origins of this machine may speak without
    /// being listed, and are not told what they were answered.
    pub(super) fn listed<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        (self.any_origin || self.origins.contains(&text)).then_some(origin)
    }

    fn is_ours(&self, bound: IpAddr, name: &str) -> bool {
        is_loopback(name) || name.parse() == Ok(bound) || self.hosts.iter().any(|host| host == name)
    }

    fn may_originate(&self, origin: &str) -> bool {
        if self.any_origin || self.origins.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.and_then(host_name).is_some_and(|name| is_loopback(&name))
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The name of `host[:port]`, lower-cased, brackets of IPv6 removed; `None` when malformed.
fn host_name(host: &str) -> Option<String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']')?;
            name.parse::<std::net::Ipv6Addr>().ok()?;
            (name, rest.strip_prefix(':').or(rest.is_empty().then_some("0"))?)
        }
        None => host.split_once(':').unwrap_or((host, "0")),
    };
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b':');
    let valid = !name.is_empty() && name.bytes().all(fits) && port.parse::<u16>().is_ok();
    valid.then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn strangers_are_turned_away_at_the_door() {
        let guard = Guard::new(&["gate.example".to_owned()], &["https://app.example".to_owned()]);
        let cases = [
            // Host                 Origin                           verdict
            ("127.0.0.1:3100", None, Ok(())),
            ("localhost", None, Ok(())),
            ("[::1]:3100", None, Ok(())),
            ("192.0.2.1:3100", None, Ok(())),
            ("192.0.2.2", None, Err(Foreign::Host)),
            ("gate.example:443", None, Ok(())),
            ("GATE.example", Some("https://app.example"), Ok(())),
            ("localhost:3100", Some("http://localhost:5173"), Ok(())),
            ("localhost:3100", Some("http://127.0.0.1"), Ok(())),
            ("evil.example", None, Err(Foreign::Host)),
            ("127.0.0.1.evil.example", None, Err(Foreign::Host)),
            ("localhost/?x", None, Err(Foreign::Host)),
            ("localhost:99999", None, Err(Foreign::Host)),
            ("localhost:", None, Err(Foreign::Host)),
            ("", None, Err(Foreign::Host)),
            ("user@localhost", None, Err(Foreign::Host)),
            ("[::1", None, Err(Foreign::Host)),
            ("localhost", Some("https://evil.example"), Err(Foreign::Origin)),
            ("localhost", Some("null"), Err(Foreign::Origin)),
            ("localhost", Some("http://localhost.evil.example"), Err(Foreign::Origin)),
            ("localhost", Some("file://"), Err(Foreign::Origin)),
            ("localhost", Some("https://app.example.evil"), Err(Foreign::Origin)),
        ];
        for (host, origin, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(guard.check(BOUND, &headers, None), expected, "{host} {origin:?}");
        }
    }

    #[test]
    fn hosts_that_contradict_each_other_are_nobodys() {
        let guard = Guard::default();
        let mut headers = HeaderMap::new();
        assert_eq!(guard.check(BOUND, &headers, None), Err(Foreign::Host), "none at all");
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(guard.check(BOUND, &headers, Some("evil.example")), Err(Foreign::Host));
        assert_eq!(guard.check(BOUND, &headers, Some("localhost")), Ok(()));
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(guard.check(BOUND, &headers, None), Err(Foreign::Host), "two");
    }
}
