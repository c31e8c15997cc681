//! Whose file is this?
//!
//! A file written for PetrefiedThunder/mcp-gateway means the same here as there, also
//! where it says nothing. Two defaults differ between that gateway and this one: a rate
//! limit that nobody configured (60 calls a minute there, none here), and what is kept
//! of arguments and results (everything there, a preview here).

use super::tree::{Node, Value};

/// Sections without which that gateway does not start.
const THEIRS: [&str; 5] = ["auth", "servers", "policies", "audit", "metering"];

/// Top-level keys that only that gateway and this one share.
const SHARED: [&str; 5] = ["port", "host", "cors", "ipFilter", "rateLimit"];

/// Top-level keys of that gateway that have no meaning here.
const THEIRS_ALONE: [&str; 2] = ["redaction", "tenants"];

/// Whose defaults apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Those of PetrefiedThunder/mcp-gateway.
    Theirs,
    /// Doorward's own.
    Ours,
}

impl Dialect {
    /// A file is theirs when it has all that theirs must have, and no top-level key
    /// that theirs cannot have.
    pub fn of(root: &Node) -> Self {
        let Value::Map(entries) = &root.value else { return Self::Ours };
        let complete = THEIRS.iter().all(|key| root.get(key).is_some());
        let known = |key: &str| THEIRS.contains(&key) || SHARED.contains(&key) || THEIRS_ALONE.contains(&key);
        if complete && entries.iter().all(|(key, _)| known(&key.text)) { Self::Theirs } else { Self::Ours }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    #[test]
    fn a_file_with_all_of_theirs_and_none_of_ours_is_theirs() {
        let complete = "auth: {}\nservers: []\npolicies: []\naudit: {}\nmetering: {}\n";
        let cases = [
            (complete.to_owned(), Dialect::Theirs),
            (format!("{complete}port: 1\nrateLimit: {{}}\n"), Dialect::Theirs),
            (format!("{complete}dataDir: x\n"), Dialect::Ours),
            ("auth: {}\nservers: []\npolicies: []\n".to_owned(), Dialect::Ours),
            (String::new(), Dialect::Ours),
        ];
        for (text, expected) in cases {
            assert_eq!(Dialect::of(&yaml::parse(&text).expect("valid")), expected, "{text}");
        }
    }
}
