//! Who is at the other end of a connection, and whether they may speak at all.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;

/// A question about an address.
type Asks = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What is known of addresses: which are proxies of ours, and which are let in.
#[derive(Clone)]
pub struct Peers {
    trusted: Asks,
    admitted: Asks,
    /// Whether requests come through proxies of ours, or from this machine, and not otherwise.
    only_proxied: bool,
}

impl Peers {
    /// * `trusted`: whether an address is a proxy whose `X-Forwarded-For` is believed.
    /// * `admitted`: whether clients from an address are let in.
    pub fn new(
        trusted: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
        admitted: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { trusted: Arc::new(trusted), admitted: Arc::new(admitted), only_proxied: false }
    }

    /// The same, where the proxy is what ends TLS: whoever comes past it speaks in the clear.
    #[must_use]
    pub fn only_proxied(self, only_proxied: bool) -> Self {
        Self { only_proxied, ..self }
    }

    /// Whether this address may speak to the gateway itself.
    pub(crate) fn may_connect(&self, peer: IpAddr) -> bool {
        !self.only_proxied || peer.to_canonical().is_loopback() || (self.trusted)(peer)
    }

    /// The client's address: the peer's, or, behind proxies of ours, the last one in
    /// `X-Forwarded-For` that none of them is. What stands before it, the client wrote,
    /// and it may be anything; so the header is read from its end, and no further.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !(self.trusted)(peer) {
            return peer;
        }
        let values: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        let hops = values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        hops.map_while(address).find(|hop| !(self.trusted)(*hop)).unwrap_or(peer)
    }

    /// Whether clients from this address are let in.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        (self.admitted)(client.to_canonical())
    }
}

/// One hop: an address, which some proxies write with its port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    hop.parse().or_else(|_| hop.parse().map(|with_port: SocketAddr| with_port.ip())).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn where_the_proxy_ends_tls_nobody_comes_past_it() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let peers = Peers::new(move |ip| ip == address("10.0.0.1"), |_| true);
        let strict = peers.clone().only_proxied(true);
        for (peer, allowed) in [
            ("10.0.0.1", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.2", false),
        ] {
            assert_eq!(strict.may_connect(address(peer)), allowed, "{peer}");
            assert!(peers.may_connect(address(peer)), "{peer}");
        }
    }

    #[test]
    fn only_our_own_proxies_say_who_the_client_is() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let peers = Peers::new(move |ip| ip == address("10.0.0.1") || ip == address("10.0.0.2"), |_| true);
        let cases = [
            // peer        X-Forwarded-For             client
            ("192.0.2.9", "203.0.113.5", "192.0.2.9"),
            ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
            ("10.0.0.1", "198.51.100.1, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
            ("10.0.0.1", "10.0.0.2", "10.0.0.1"),
            ("10.0.0.1", "nonsense", "10.0.0.1"),
            ("10.0.0.1", "nonsense, 203.0.113.5", "203.0.113.5"),
            ("10.0.0.1", "198.51.100.1, nonsense, 10.0.0.2", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.5:4711, 10.0.0.2:80", "203.0.113.5"),
            ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            ("10.0.0.1", "", "10.0.0.1"),
        ];
        for (peer, forwarded, client) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
            assert_eq!(peers.client(address(peer), &headers), address(client), "{peer}: {forwarded}");
        }
    }
}
