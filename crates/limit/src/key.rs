//! Who shares a bucket.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use doorward_model::{Caller, GrantKind, ServerId};

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
            match part {
                Part::Person => match &caller.person {
                    Some(person) => push_name(&mut key, caller, 'p', &person.id),
                    None => push_grant(&mut key, caller),
                },
                Part::Agent => match &caller.agent {
                    Some(agent) => push_name(&mut key, caller, 'a', &agent.id),
                    None => push_grant(&mut key, caller),
                },
                Part::Grant => push_grant(&mut key, caller),
                Part::Consumer => push_name(&mut key, caller, 'c', caller.consumer()),
                Part::Server => push(&mut key, 's', subject.server.as_str()),
                Part::Tool => push(&mut key, 't', subject.tool),
                Part::Ip => {
                    match subject.ip {
                        Some(ip) => write!(key, "i{}", network(ip)).expect("a String takes everything"),
                        None => key.push('i'),
                    }
                    key.push(';');
                }
            }
        }
        key
    }
}

fn push(key: &mut String, letter: char, value: &str) {
    write!(key, "{letter}{}:{value};", value.len()).expect("a String takes everything");
}

/// A name that an issuer gave counts as that issuer's: another's bearer of the same name neither
/// uses up its allowance nor shares it.
fn push_name(key: &mut String, caller: &Caller, letter: char, name: &str) {
    if let Some(issuer) = &caller.grant.issuer {
        push(key, 'u', issuer);
    }
    push(key, letter, name);
}

/// A token is one of many that an issuer gives to the same bearer, who is counted as one
/// however often it is renewed.
fn push_grant(key: &mut String, caller: &Caller) {
    if caller.grant.kind == GrantKind::Jwt {
        push_name(key, caller, 'p', caller.person.as_ref().map_or("", |person| &person.id));
        push(key, 'a', caller.agent.as_ref().map_or("", |agent| &agent.id));
    } else {
        push(key, 'g', &caller.grant.id);
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
    use doorward_model::{Grant, Person};

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
    fn a_name_counts_as_its_issuers() {
        let of = |template: &str, issuer: Option<&str>| {
            let grant = Grant {
                id: "jwt:1".into(),
                kind: if issuer.is_some() { GrantKind::Jwt } else { GrantKind::Key },
                issuer: issuer.map(str::to_owned),
                roles: vec![],
                servers: None,
                scopes: vec![],
                claims: Default::default(),
                expires_at: None,
                rate_limit: None,
            };
            let person = Some(Person { id: "ana".into(), ..Person::default() });
            let agent = Some(doorward_model::Agent { id: "desk".into() });
            let (caller, server) = (Caller { grant, person, agent }, ServerId::try_from("s").expect("an id"));
            let subject = Subject { caller: &caller, server: &server, tool: "t", ip: None };
            template.parse::<KeyTemplate>().expect(template).key(&subject)
        };
        for template in ["grant", "person", "agent", "consumer", "person:server"] {
            let (here, there) = (of(template, Some("https://a")), of(template, Some("https://b")));
            assert_ne!(here, there, "{template}");
            assert_ne!(here, of(template, None), "{template}: not the configuration's either");
            assert_eq!(here, of(template, Some("https://a")), "{template}");
        }
        assert_eq!(of("server", Some("https://a")), of("server", Some("https://b")), "shared by everybody");
    }

    #[test]
    fn a_renewed_token_counts_as_the_one_before_it() {
        let caller = |kind, id: &str, person: &str| Caller {
            grant: Grant {
                id: id.into(),
                kind,
                issuer: None,
                roles: vec![],
                servers: None,
                scopes: vec![],
                claims: Default::default(),
                expires_at: None,
                rate_limit: None,
            },
            person: Some(Person { id: person.into(), ..Person::default() }),
            agent: None,
        };
        let key = |template: &str, kind, id, person| {
            let (caller, server) = (caller(kind, id, person), ServerId::try_from("s").expect("an id"));
            let subject = Subject { caller: &caller, server: &server, tool: "t", ip: None };
            template.parse::<KeyTemplate>().expect(template).key(&subject)
        };
        for template in ["grant", "grant:server", "agent"] {
            let of = |id, person| key(template, GrantKind::Jwt, id, person);
            assert_eq!(of("jwt:1", "ana"), of("jwt:2", "ana"), "{template}");
            assert_ne!(of("jwt:1", "ana"), of("jwt:1", "bob"), "{template}");
            let of = |id| key(template, GrantKind::Key, id, "ana");
            assert_ne!(of("key-1"), of("key-2"), "{template}");
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
