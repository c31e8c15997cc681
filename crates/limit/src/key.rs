//! What shares a bucket.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::limiter::Subject;

/// A template such as `grant:server`: calls with the same parts share a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate(Vec<Part>);

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

const PARTS: [(&str, Part); 7] = [
    ("grant", Part::Grant),
    ("person", Part::Person),
    ("agent", Part::Agent),
    ("consumer", Part::Consumer),
    ("server", Part::Server),
    ("tool", Part::Tool),
    ("ip", Part::Ip),
];

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no key of a limit: join grant, person, agent, consumer, server, tool, ip by `:`")]
pub struct InvalidKey(pub String);

impl FromStr for KeyTemplate {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let part = |name: &str| PARTS.iter().find(|(known, _)| *known == name).map(|(_, part)| *part);
        let parts: Option<Vec<_>> = text.split(':').map(|name| part(name.trim())).collect();
        parts.map(Self).ok_or_else(|| InvalidKey(text.to_owned()))
    }
}

impl KeyTemplate {
    /// The key of one call. Each part carries its length, so that no two calls that
    /// differ can have the same key.
    pub(crate) fn of(&self, limit: usize, subject: &Subject<'_>) -> String {
        let caller = subject.caller;
        let mut key = format!("{limit}");
        for part in &self.0 {
            let ip;
            let text = match part {
                Part::Grant => caller.grant.id.as_str(),
                Part::Person => caller.person.as_ref().map_or("", |person| &person.id),
                Part::Agent => caller.agent.as_ref().map_or("", |agent| &agent.id),
                Part::Consumer => caller.consumer(),
                Part::Server => subject.server.as_str(),
                Part::Tool => subject.tool,
                Part::Ip => {
                    ip = subject.ip.map(|ip| ip.to_string()).unwrap_or_default();
                    ip.as_str()
                }
            };
            write!(key, "|{}:{text}", text.len()).expect("writing to a string");
        }
        key
    }
}
