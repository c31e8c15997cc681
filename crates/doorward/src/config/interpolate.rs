//! `${VAR}`, `${VAR:-default}` and `$${` in the texts of a document.
//!
//! Only values are filled, never keys, notes (`x-…`), or the text of rules and policies:
//! what they say must not depend on who starts the gateway. A variable that is not
//! set stops the one server that needs it, and so does an empty one in its credential;
//! anywhere else an unset variable is an error.

use std::collections::BTreeMap;

use doorward_model::Secret;

use super::Variables;
use super::absent::FREE;
use super::lint::Findings;
use super::tree::{Node, Style, Value, join};

/// Variables that servers need and nobody set, by the server's position.
pub(crate) type Missing = BTreeMap<usize, Vec<String>>;

/// What was filled in from the environment, by the path of the text that it became part of.
pub(crate) type Parts = BTreeMap<String, Vec<Part>>;

/// A value of the environment.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The variable that it comes from.
    pub(crate) name: String,
    pub(crate) value: Secret,
}

/// Fills every text of the document in place.
pub(crate) fn interpolate(
    root: &mut Node,
    variables: &Variables<'_>,
    findings: &mut Findings,
) -> (Missing, Parts) {
    let mut walk = Walk { variables, findings, missing: Missing::new(), parts: Parts::new() };
    walk.node(root, String::new(), None);
    (walk.missing, walk.parts)
}

struct Walk<'a> {
    variables: &'a Variables<'a>,
    findings: &'a mut Findings,
    missing: Missing,
    parts: Parts,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node, path: String, server: Option<usize>) {
        match &mut node.value {
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let server = if path == "servers" { Some(index) } else { server };
                    self.node(item, format!("{path}[{index}]"), server);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    let is_rule = path.is_empty() && key.text == "policies";
                    let is_source = path.starts_with("regoPolicies[") && key.text == "source";
                    if !is_rule && !is_source && !is_note(&path, &key.text) {
                        self.node(value, join(&path, &key.text), server);
                    }
                }
            }
            Value::Scalar(scalar) if scalar.text.contains("${") => {
                scalar.text = self.fill(&scalar.text, &path, server);
                scalar.style = Style::Filled;
            }
            Value::Scalar(_) => {}
        }
    }

    fn fill(&mut self, text: &str, path: &str, server: Option<usize>) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let Some((inside, after)) = rest[at + 2..].split_once('}') else {
                self.malformed(path);
                return out;
            };
            rest = after;
            let (name, default) =
                inside.split_once(":-").map_or((inside, None), |(name, it)| (name, Some(it)));
            if !is_name(name) {
                self.malformed(path);
                continue;
            }
            // As in a shell, `:-` also stands in for a variable that is set to nothing.
            let may_be_empty = default.is_none() && !is_credential(path);
            match (self.variables)(name).filter(|value| may_be_empty || !value.is_empty()) {
                Some(value) => {
                    out.push_str(&value);
                    let part = Part { name: name.to_owned(), value: Secret::new(value) };
                    self.parts.entry(path.to_owned()).or_default().push(part);
                }
                None => match default {
                    Some(default) => out.push_str(default),
                    None => self.unset(name, path, server),
                },
            }
        }
        out.push_str(rest);
        out
    }

    fn malformed(&mut self, path: &str) {
        self.findings
            .error("interpolation", path, "`${` must be followed by a name and `}`")
            .remedy("write `$${` for the characters themselves");
    }

    fn unset(&mut self, name: &str, path: &str, server: Option<usize>) {
        match server {
            Some(server) => {
                let missing = self.missing.entry(server).or_default();
                if !missing.iter().any(|known| known == name) {
                    missing.push(name.to_owned());
                }
            }
            None => {
                self.findings
                    .error("unset-variable", path, format!("the environment variable {name} is not set"))
                    .remedy(format!("set it, or give a default: `${{{name}:-default}}`"));
            }
        }
    }
}

/// Whether this is a server's credential, which nobody means to be empty.
fn is_credential(path: &str) -> bool {
    path.starts_with("servers[") && path.contains("].credential.")
}

/// Whether nothing reads what stands under this key. In `env` and `headers` every key is a name.
fn is_note(path: &str, key: &str) -> bool {
    let holds_names = path.rsplit('.').next().is_some_and(|last| matches!(last, "env" | "headers"));
    key.starts_with(FREE) && !holds_names
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn fill(text: &str) -> (String, Vec<String>, Missing) {
        let mut root = yaml::parse(&format!("x: '{text}'")).expect("valid");
        let mut findings = Findings::default();
        let variables = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "B_2" => Some("${A}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let (missing, _) = interpolate(&mut root, &variables, &mut findings);
        let codes = findings.located(&Default::default()).iter().map(|lint| lint.code.to_owned()).collect();
        (root.get("x").and_then(Node::text).unwrap_or_default().to_owned(), codes, missing)
    }

    #[test]
    fn variables_are_filled_once() {
        let cases = [
            // text             filled          finding
            ("plain", "plain", None),
            ("${A}", "one", None),
            ("a ${A} b ${A}", "a one b one", None),
            ("${B_2}", "${A}", None),
            ("$${A}", "${A}", None),
            ("$$${A}", "$${A}", None),
            ("$A $ {A}", "$A $ {A}", None),
            ("${NONE:-two}", "two", None),
            ("${NONE:-}", "", None),
            ("${EMPTY:-two}", "two", None),
            ("${EMPTY}", "", None),
            ("${A:-two}", "one", None),
            ("${NONE}", "", Some("unset-variable")),
            ("${", "", Some("interpolation")),
            ("${}", "", Some("interpolation")),
            ("${a.b}", "", Some("interpolation")),
            ("${1A}", "", Some("interpolation")),
        ];
        for (text, expected, code) in cases {
            let (filled, codes, _) = fill(text);
            assert_eq!(filled, expected, "{text}");
            assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn what_comes_from_the_environment_is_told_from_what_the_file_says() {
        let text = "servers: [{env: {A: 'pre ${ONE} ${TWO:-two} $${ONE}', B: '${THREE:-three}', C: plain}}]";
        let mut root = yaml::parse(text).expect("valid");
        let variables = |name: &str| matches!(name, "ONE" | "TWO").then(|| format!("value of {name}"));
        let (_, parts) = interpolate(&mut root, &variables, &mut Findings::default());
        let said = |part: &Part| format!("{}={}", part.name, part.value.expose());
        let parts: Vec<_> = parts
            .iter()
            .map(|(path, parts)| (path.as_str(), parts.iter().map(said).collect::<Vec<_>>()))
            .collect();
        let expected = ["ONE=value of ONE".to_owned(), "TWO=value of TWO".to_owned()];
        assert_eq!(parts, [("servers[0].env.A", expected.to_vec())]);
    }

    #[test]
    fn an_empty_variable_is_as_good_as_none_in_a_credential() {
        let text =
            "servers: [{credential: {token: '${EMPTY}'}, env: {A: '${EMPTY}'}}, {env: {A: '${EMPTY}'}}]";
        let mut root = yaml::parse(text).expect("valid");
        let (missing, _) = interpolate(&mut root, &|_| Some(String::new()), &mut Findings::default());
        assert_eq!(missing, Missing::from([(0, vec!["EMPTY".to_owned()])]));
    }

    #[test]
    fn an_unset_variable_stops_only_its_server_and_rules_are_left_alone() {
        let text = "servers: [{env: {K: '${KEY} ${KEY}'}}, {env: {}, x-note: '${Z}'}, {url: '${HOST}'}]\n\
                    x-note: {a: '${Z}'}\n\
                    policies: [{name: '${X}'}]\nregoPolicies: [{source: '${Y}', name: '${Z:-n}'}]";
        let mut root = yaml::parse(text).expect("valid");
        let mut findings = Findings::default();
        let (missing, _) = interpolate(&mut root, &|_| None, &mut findings);
        assert!(!findings.has_errors());
        assert_eq!(missing, Missing::from([(0, vec!["KEY".to_owned()]), (2, vec!["HOST".to_owned()])]));
        assert_eq!(
            root.get("policies").expect("kept").items()[0].get("name").and_then(Node::text),
            Some("${X}")
        );
        let rego = &root.get("regoPolicies").expect("kept").items()[0];
        assert_eq!(rego.get("source").and_then(Node::text), Some("${Y}"));
        assert_eq!(rego.get("name").and_then(Node::text), Some("n"));
    }
}
