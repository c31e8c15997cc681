//! Whose file is this?
//!
//! A file written for PetrefiedThunder/mcp-gateway means the same here as there, also
//! where it says nothing. Two defaults differ between that gateway and this one: a rate
//! limit that nobody configured (60 calls a minute there, none here), and what is kept
//! of arguments and results (everything there, a preview here).
//!
//! Such a file stays theirs when keys are added to it, so adding one never changes a limit or
//! what is recorded.

use super::tree::Node;

/// Sections without which that gateway does not start.
const THEIRS: [&str; 5] = ["auth", "servers", "policies", "audit", "metering"];

/// Keys of `audit` that only that gateway needs; its files have at least one of them.
const OF_AUDIT: [&str; 8] =
    ["enabled", "storage", "path", "hashChain", "retentionDays", "dsn", "webhookUrl", "export"];

/// Whose defaults apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Those of PetrefiedThunder/mcp-gateway.
    Theirs,
    /// Doorward's own.
    Ours,
}

impl Dialect {
    /// A file is theirs when it has all sections that theirs must have, and says in `audit` what
    /// only theirs need to say. Whatever else it has makes no difference.
    pub fn of(root: &Node) -> Self {
        let is_complete = THEIRS.iter().all(|key| root.get(key).is_some());
        let is_audited_as_there =
            root.get("audit").is_some_and(|audit| OF_AUDIT.iter().any(|key| audit.get(key).is_some()));
        if is_complete && is_audited_as_there { Self::Theirs } else { Self::Ours }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    #[test]
    fn a_file_is_theirs_by_its_own_sections_whatever_is_added() {
        let complete = "auth: {}\nservers: []\npolicies: []\naudit: {storage: sqlite}\nmetering: {}\n";
        let cases = [
            (complete.to_owned(), Dialect::Theirs),
            (format!("{complete}port: 1\nrateLimit: {{}}\n"), Dialect::Theirs),
            (format!("{complete}dataDir: x\nallowedHosts: [a]\nx-note: 1\n"), Dialect::Theirs),
            (complete.replace("sqlite", "sqlite, durability: strict"), Dialect::Theirs),
            (complete.replace("storage: sqlite", "durability: strict"), Dialect::Ours),
            ("auth: {}\nservers: []\npolicies: []\naudit: {storage: sqlite}\n".to_owned(), Dialect::Ours),
            (String::new(), Dialect::Ours),
        ];
        for (text, expected) in cases {
            assert_eq!(Dialect::of(&yaml::parse(&text).expect("valid")), expected, "{text}");
        }
    }
}
