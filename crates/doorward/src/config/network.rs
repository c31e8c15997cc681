//! Ranges of addresses: `10.1.2.3`, `10.0.0.0/8`, `2001:db8::/32`, `*`.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses. IPv4 and IPv4-mapped IPv6 addresses are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address, IPv4 as mapped.
    first: u128,
    /// How many leading bits of 128 must agree.
    bits: u8,
}

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address and no network")]
pub struct InvalidNetwork(pub String);

impl Network {
    /// Whether the address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = self.first ^ number(address);
        // Shifting by all 128 bits would overflow: nothing has to agree then.
        differing.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        if text == "*" {
            return Ok(Self { first: 0, bits: 0 });
        }
        let (address, length) =
            text.split_once('/').map_or((text, None), |(address, it)| (address, Some(it)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length: u8 = length.map_or(Ok(width), str::parse).map_err(|_| invalid())?;
        if length > width {
            return Err(invalid());
        }
        Ok(Self { first: number(address), bits: 128 - width + length })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => Ipv6Addr::from(address.to_ipv6_mapped().octets()).to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_should() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("*", "203.0.113.9", true),
            ("*", "::1", true),
        ];
        for (network, address, expected) in cases {
            let range: Network = network.parse().expect(network);
            assert_eq!(range.contains(address.parse().expect(address)), expected, "{network} {address}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "host", "10.0.0.0/-1", "**"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
