//! What a policy says, read from the values of its entry rules.

use std::collections::BTreeSet;

use doorward_model::Verdict;
use regorus::Value as RegoValue;

use super::machine::Evaluated;

/// The reason of a refusal because a policy could not be evaluated.
pub(crate) const POLICY_ERROR: &str = "policy_error";

/// The rules that are read; a module may define any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Allow,
    Deny,
    Hide,
    Approve,
    Redact,
}

impl Entry {
    pub(crate) const ALL: [Self; 5] = [Self::Allow, Self::Deny, Self::Hide, Self::Approve, Self::Redact];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Hide => "hide",
            Self::Approve => "approve",
            Self::Redact => "redact",
        }
    }

    fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Allow => Some(Verdict::Allow),
            Self::Deny => Some(Verdict::Deny),
            Self::Hide => Some(Verdict::Hide),
            Self::Approve => Some(Verdict::Approve),
            Self::Redact => None,
        }
    }
}

/// One policy's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Everything it said, in the order of the entries; empty when it abstains.
    pub(crate) said: Vec<(Verdict, Entry, Vec<String>)>,
    /// JSON pointers into the arguments.
    pub(crate) redactions: Vec<String>,
    /// What went wrong, for the log.
    pub(crate) errors: Vec<String>,
}

impl Statement {
    /// Reads the values of `entries`. What cannot be read denies.
    pub(crate) fn read(policy: &str, entries: &[Entry], values: Vec<Evaluated>) -> Self {
        let mut statement = Self::default();
        for (entry, value) in entries.iter().zip(values) {
            let read = value.and_then(|value| read(policy, *entry, &value));
            match (read, entry.verdict()) {
                (Ok(None), _) => {}
                (Ok(Some(pointers)), None) => statement.redactions = pointers,
                (Ok(Some(reasons)), Some(verdict)) => statement.said.push((verdict, *entry, reasons)),
                (Err(error), _) => {
                    statement.errors.push(format!("{policy}: {}: {error}", entry.as_str()));
                    statement.said.push((Verdict::Deny, *entry, vec![POLICY_ERROR.to_owned()]));
                }
            }
        }
        statement
    }

    /// Whether it said this.
    pub(crate) fn says(&self, verdict: Verdict) -> bool {
        self.said.iter().any(|(said, _, _)| *said == verdict)
    }
}

/// The reasons or pointers of an entry; `None` when it is silent.
fn read(policy: &str, entry: Entry, value: &RegoValue) -> Result<Option<Vec<String>>, String> {
    let items: Vec<&RegoValue> = match (entry, value) {
        (_, RegoValue::Undefined) => return Ok(None),
        (Entry::Allow, RegoValue::Bool(truth)) => return Ok(truth.then(Vec::new)),
        (Entry::Allow, _) => return Err("is not a boolean".to_owned()),
        (Entry::Redact, RegoValue::Set(items)) => items.iter().collect(),
        (Entry::Redact, RegoValue::Array(items)) => items.iter().collect(),
        (Entry::Redact, _) => return Err("is not a set of JSON pointers".to_owned()),
        // `deny if …` has no reason of its own.
        (_, RegoValue::Bool(truth)) => {
            return Ok(truth.then(|| vec![format!("{} by policy `{policy}`", entry.as_str())]));
        }
        (_, RegoValue::Set(items)) => items.iter().collect(),
        (_, RegoValue::Array(items)) => items.iter().collect(),
        _ => return Err("is not a set of reasons".to_owned()),
    };
    let texts: BTreeSet<String> =
        items.into_iter().map(|item| text(entry, item)).collect::<Result<_, _>>()?;
    Ok((!texts.is_empty()).then(|| texts.into_iter().collect()))
}

fn text(entry: Entry, item: &RegoValue) -> Result<String, String> {
    let text = match item {
        RegoValue::Object(members) if entry != Entry::Redact => members.get(&RegoValue::from("reason")),
        other => Some(other),
    };
    match text {
        Some(RegoValue::String(text))
            if entry != Entry::Redact || text.is_empty() || text.starts_with('/') =>
        {
            Ok(text.to_string())
        }
        _ if entry == Entry::Redact => Err("holds something other than a JSON pointer".to_owned()),
        _ => Err("holds something other than a text or an object with a `reason`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_read_is_believed() {
        let cases = [
            (Entry::Allow, "true", "allow"),
            (Entry::Allow, "false", ""),
            (Entry::Allow, "[]", "deny policy_error"),
            (Entry::Deny, "[]", ""),
            (Entry::Deny, r#"["b","a"]"#, "deny a b"),
            (Entry::Deny, r#"[{"reason":"too much","code":7}]"#, "deny too much"),
            (Entry::Deny, r#"[{"code":7}]"#, "deny policy_error"),
            (Entry::Deny, "[1]", "deny policy_error"),
            (Entry::Deny, "true", "deny deny by policy `p`"),
            (Entry::Deny, "{}", "deny policy_error"),
            (Entry::Hide, r#"["x"]"#, "hide x"),
            (Entry::Approve, r#"["x"]"#, "approve x"),
            (Entry::Redact, r#"["/a/b"]"#, "redacts /a/b"),
            (Entry::Redact, r#"["a"]"#, "deny policy_error"),
        ];
        for (entry, json, expected) in cases {
            let value = RegoValue::from_json_str(json).expect(json);
            let statement = Statement::read("p", &[entry], vec![Ok(value)]);
            let mut parts: Vec<String> = Vec::new();
            for (verdict, _, reasons) in &statement.said {
                parts.push(verdict.to_string());
                parts.extend(reasons.iter().cloned());
            }
            if !statement.redactions.is_empty() {
                parts.push("redacts".to_owned());
                parts.extend(statement.redactions.iter().cloned());
            }
            assert_eq!(parts.join(" "), expected, "{entry:?} {json}");
        }
        let undefined = Statement::read("p", &Entry::ALL, vec![Ok(RegoValue::Undefined); 5]);
        assert_eq!(undefined, Statement::default());
    }
}
