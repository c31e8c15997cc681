//! Which addresses may be dialled.
//!
//! The check is made on the addresses a name has resolved to, and the connection
//! goes to exactly those: a name that changes its mind between check and
//! connection (DNS rebinding) gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a door may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Wherever the owner of the configuration file points.
    Anywhere,
    /// Only addresses of the public Internet: for URLs that came from elsewhere.
    PublicOnly,
}

/// What a door must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Which addresses may be dialled.
    pub reach: Reach,
    /// Whether `http://` may leave this machine.
    pub allow_insecure_http: bool,
}

impl Rules {
    /// For servers named in the configuration file: any address over TLS, plain
    /// HTTP to this machine only.
    pub const CONFIGURED: Self = Self { reach: Reach::Anywhere, allow_insecure_http: false };

    /// For URLs that somebody else supplied: public addresses over TLS only.
    pub const DISCOVERED: Self = Self { reach: Reach::PublicOnly, allow_insecure_http: false };

    /// Whether a connection to `address` may be made, over TLS or in the clear.
    pub fn admit(self, address: IpAddr, tls: bool) -> bool {
        let reachable = match self.reach {
            Reach::Anywhere => true,
            Reach::PublicOnly => is_public(address),
        };
        reachable && (tls || self.allow_insecure_http || is_loopback(address))
    }
}

/// Whether `address` never leaves this machine.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether `address` belongs to the public Internet, as the IANA special-purpose
/// registries draw the line.
///
/// IPv6 forms that carry an IPv4 address (mapped, 6to4, NAT64, Teredo) count as
/// not public at all: no server has to be reached through one, and judging the
/// address inside has gone wrong too often.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = match (a, b, c, d) {
        (0 | 10 | 127 | 224.., ..) => true, // this network, private, loopback, multicast, reserved
        (100, 64..=127, ..) => true,        // carrier-grade NAT, and one cloud's metadata
        (169, 254, ..) => true,             // link-local, and most clouds' metadata
        (172, 16..=31, ..) => true,         // private
        (192, 0, 0 | 2, _) => true,         // protocol assignments, documentation
        (192, 88, 99, _) => true,           // 6to4 relays
        (192, 168, ..) => true,             // private
        (198, 18 | 19, ..) => true,         // benchmarks
        (198, 51, 100, _) => true,          // documentation
        (203, 0, 113, _) => true,           // documentation
        (168, 63, 129, 16) => true,         // a cloud's host agent, on a public address
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only 2000::/3 is handed out; loopback, unique local, link-local, multicast,
    // mapped and NAT64 addresses all lie outside it.
    let [first, second, ..] = address.segments();
    let special = match (first, second) {
        (0x2000..=0x3fff, _) if first == 0x2002 => true, // 6to4
        (0x2001, 0..=0x01ff) => true,                    // protocol assignments, Teredo, ORCHID
        (0x2001, 0x0db8) => true,                        // documentation
        (0x3fff, 0..=0x0fff) => true,                    // documentation
        (0x2000..=0x3fff, _) => false,
        _ => true,
    };
    !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn special_addresses_are_not_public() {
        let special = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254 \
            172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7 \
            203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 168.63.129.16 \
            :: ::1 ::ffff:8.8.8.8 ::ffff:127.0.0.1 ::8.8.8.8 64:ff9b::808:808 64:ff9b:1::a00:1 100::1 fe80::1 fec0::1 fc00::1 \
            fd00:ec2::254 ff02::1 2001::1 2001:0:4136:e378::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 3fff::1 5f00::1";
        for text in special.split_whitespace() {
            assert!(!is_public(ip(text)), "{text}");
        }
        let public = "1.1.1.1 8.8.8.8 9.255.255.255 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 198.17.0.1 \
            198.20.0.1 223.255.255.1 168.63.129.17 2001:200::1 2001:4860:4860::8888 2606:4700::1 2a00:1450::1 2003::1";
        for text in public.split_whitespace() {
            assert!(is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine_unless_allowed() {
        let cases = [
            // rules                                   address             tls    admitted
            (Rules::CONFIGURED, "127.0.0.1", false, true),
            (Rules::CONFIGURED, "::1", false, true),
            (Rules::CONFIGURED, "::ffff:127.0.0.1", false, true),
            (Rules::CONFIGURED, "10.0.0.1", false, false),
            (Rules::CONFIGURED, "10.0.0.1", true, true),
            (Rules { allow_insecure_http: true, ..Rules::CONFIGURED }, "10.0.0.1", false, true),
            (Rules::DISCOVERED, "127.0.0.1", true, false),
            (Rules::DISCOVERED, "8.8.8.8", true, true),
            (Rules::DISCOVERED, "8.8.8.8", false, false),
            (Rules { allow_insecure_http: true, ..Rules::DISCOVERED }, "169.254.169.254", false, false),
        ];
        for (rules, address, tls, admitted) in cases {
            assert_eq!(rules.admit(ip(address), tls), admitted, "{address} {tls} {rules:?}");
        }
    }
}
