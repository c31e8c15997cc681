//! Who shares a bucket.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use doorward_model::{Caller, ServerId};

/// Who calls what, as limits count it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// Which server.
    pub server: &'a ServerId,
    /// The server's own name of the tool or prompt, or the URI of the resource.
    pub tool: &'a str,
    /// From where, when it came over a network.
    pub ip: Option<IpAddr>,
}

/// The parts of a call that name a bucket, such as `grant:server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate(Vec<Part>);

/// A word that names no part of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be counted by; use grant, person, agent, consumer, server, tool and ip, joined by `:`")]
pub struct InvalidKey(pub String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Grant,
    Person,
    Agent,
    Consumer,
    Server,
    Tool,
    Ip,
}

impl FromStr for KeyTemplate {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let parts = text.split(':').map(|word| match word {
            "grant" => Ok(Part::Grant),
            "person" => Ok(Part::Person),
            "agent" => Ok(Part::Agent),
            "consumer" => Ok(Part::Consumer),
            "server" => Ok(Part::Server),
            "tool" => Ok(Part::Tool),
            "ip" => Ok(Part::Ip),
            other => Err(InvalidKey(other.to_owned())),
        });
        parts.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for KeyTemplate {
    /// As it is configured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            let word = match part {
                Part::Grant => "grant",
                Part::Person => "person",
                Part::Agent => "agent",
                Part::Consumer => "consumer",
                Part::Server => "server",
                Part::Tool => "tool",
                Part::Ip => "ip",
            };
            write!(f, "{}{word}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl KeyTemplate {
    /// The bucket of a call. Every part is led by a letter and its length, so that no
    /// two calls share a bucket by an accident of spelling.
    ///
    /// Who has no person or agent is counted by the grant instead: neither free of
    /// the limit nor thrown together with every other such caller.
    pub(crate) fn key(&self, subject: &Subject<'_>) -> String {
        let mut key = String::with_capacity(64);
        let caller = subject.caller;
        for part in &self.0 {
            let (letter, value) = match part {
                Part::Person => match &caller.person {
                    Some(person) => ('p', person.id.as_str()),
                    None => ('g', caller.grant.id.as_str()),
                },
                Part::Agent => match &caller.agent {
                    Some(agent) => ('a', agent.id.as_str()),
                    None => ('g', caller.grant.id.as_str()),
                },
                Part::Grant => ('g', caller.grant.id.as_str()),
                Part::Consumer => ('c', caller.consumer()),
                Part::Server => ('s', subject.server.as_str()),
                Part::Tool => ('t', subject.tool),
                Part::Ip => {
                    match subject.ip {
                        Some(ip) => write!(key, "i{}", network(ip)).expect("a String takes everything"),
                        None => key.push('i'),
                    }
                    key.push(';');
                    continue;
                }
            };
            write!(key, "{letter}{}:{value};", value.len()).expect("a String takes everything");
        }
        key
    }
}

/// The address that counts: of IPv6 the network, since one host has all of a /64.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_parts_make_a_key() {
        for text in ["grant:server", "ip", "person:agent:consumer:tool"] {
            let key = text.parse::<KeyTemplate>().map(|key| key.to_string());
            assert_eq!(key.as_deref(), Ok(text));
        }
        for text in ["", "grant:", "grants", "Grant", "grant server"] {
            assert!(text.parse::<KeyTemplate>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_counts_as_its_network() {
        let cases = [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ];
        for (ip, expected) in cases {
            assert_eq!(network(ip.parse().expect(ip)).to_string(), expected);
        }
    }
}
