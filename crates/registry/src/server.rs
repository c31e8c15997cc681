//! A server as its registration describes it.

use doorward_model::{CapabilityKind, ServerId, glob};

/// One registered server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Its name for people.
    pub name: String,
    /// Tags, visible to policies.
    pub tags: Vec<String>,
    /// `http`, `sse` or `stdio`.
    pub transport: &'static str,
    /// Stands for where it is: its URL, or its program. What a client carries from one request to
    /// the next is bound to it, so that nothing goes on at another server that was given its id.
    pub address: String,
    /// Whether it takes part at all.
    pub enabled: bool,
    /// Secrets that its registration names and nobody has set: it cannot be started without.
    pub lacking: Vec<String>,
    /// Globs over capability names that nobody gets.
    pub disable: Vec<String>,
    /// Whether it is sent integers beyond ±(2^53−1), which others are not.
    pub exact_numbers: bool,
}

impl Server {
    /// Whether the registration leaves a capability of this name callable.
    /// Globs speak of tools, prompts and resource URIs alike.
    pub fn offers(&self, _kind: CapabilityKind, name: &str) -> bool {
        self.enabled && !self.disable.iter().any(|pattern| glob::matches(pattern, name))
    }
}
