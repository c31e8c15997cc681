//! What clients and servers say of themselves may narrow a verdict and never widens one.
//!
//! Example: `allow if input.context.client.name == "trusted"` allows nothing, because any
//! client can call itself that. `deny if input.context.client.name == "old"` still denies.
//!
//! A policy that reads such a place is asked about every mixture of said and unsaid, and the
//! strictest answer counts. So whoever says more can only be allowed less. A place is unsaid in
//! two ways: it is absent, and it holds what the document has where nobody said anything.

use std::collections::BTreeSet;
use std::fmt;

use regorus::Value as RegoValue;

use super::shape::InputPath;
use crate::value::object;

/// What a client says of itself.
const CLIENT: [&str; 2] = ["context", "client"];
/// What a server says of its tools, until somebody has reviewed it.
const ANNOTATIONS: [&str; 2] = ["definition", "annotations"];

/// With more places than this, a client or a server is taken as a whole: the mixtures of `n`
/// places are up to 3ⁿ.
const MOST_PLACES: usize = 4;

/// The places of the input that a module reads and that nobody vouches for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hearsay(Vec<InputPath>);

impl fmt::Display for Hearsay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|place| format!("`input.{}`", place.join("."))).collect();
        f.write_str(&names.join(" and "))
    }
}

/// One way to read an input: some of what was said counts as unsaid.
pub(crate) struct Version {
    /// The input, read this way.
    pub(crate) input: RegoValue,
    /// What counts as unsaid, such as `input.context.client.name`.
    pub(crate) unsaid: Vec<String>,
}

impl Hearsay {
    /// The places among `paths`, the parts of the input that a module can see.
    pub(crate) fn of(paths: &BTreeSet<InputPath>) -> Self {
        let mut places = Self::default();
        for root in [CLIENT, ANNOTATIONS] {
            let meets = |path: &&InputPath| path.iter().zip(root).all(|(a, b)| a == b);
            for path in paths.iter().filter(meets) {
                // A look at what holds the root is a look at all of it.
                places.add(if path.len() < root.len() { whole(root) } else { path.clone() });
            }
        }
        places.bounded()
    }

    /// The places of both.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for place in &other.0 {
            self.add(place.clone());
        }
        self.bounded()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to read instead, for messages.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.0.iter().any(|place| place.iter().zip(CLIENT).all(|(a, b)| a == b)) {
            true => "; to allow by client, use `input.agent` or `input.identity.grant`",
            false => "; to allow by annotation, have the definition reviewed",
        }
    }

    /// Keeps no place that lies inside another.
    fn add(&mut self, place: InputPath) {
        if self.0.iter().any(|known| place.starts_with(known)) {
            return;
        }
        self.0.retain(|known| !known.starts_with(&place));
        self.0.push(place);
        self.0.sort();
    }

    fn bounded(mut self) -> Self {
        if self.0.len() > MOST_PLACES {
            let roots = [CLIENT, ANNOTATIONS].map(whole);
            self.0 = roots.into_iter().filter(|root| self.0.iter().any(|p| p.starts_with(root))).collect();
        }
        self
    }

    /// All other ways to read this input, in one order everywhere.
    pub(crate) fn versions(&self, input: &RegoValue) -> Vec<Version> {
        let mut versions = vec![Version { input: input.clone(), unsaid: Vec::new() }];
        for place in &self.0 {
            let otherwise = otherwise(place, input);
            let before = versions.len();
            for at in 0..before {
                for value in &otherwise {
                    let mut unsaid = versions[at].unsaid.clone();
                    unsaid.push(format!("input.{}", place.join(".")));
                    versions
                        .push(Version { input: with(&versions[at].input, place, value.as_ref()), unsaid });
                }
            }
        }
        versions.split_off(1)
    }
}

fn whole(root: [&str; 2]) -> InputPath {
    root.map(str::to_owned).to_vec()
}

/// What a place holds where nothing was said there; `None` is that it is absent. Nothing where
/// that is what it holds, or where somebody vouches for what it holds.
fn otherwise(place: &InputPath, input: &RegoValue) -> Vec<Option<RegoValue>> {
    let said = at(input, place);
    if said == &RegoValue::Undefined {
        return Vec::new();
    }
    let nothing = || RegoValue::from("");
    let is_client = place.iter().zip(CLIENT).all(|(a, b)| a == b);
    if !is_client {
        let reviewer = at(input, &["definition".to_owned(), "reviewed_by".to_owned()]);
        let is_reviewed = matches!(reviewer, RegoValue::String(name) if !name.is_empty());
        if is_reviewed {
            return Vec::new();
        }
    }
    let silent = match (is_client, place.len() == CLIENT.len()) {
        (true, true) => Some(object([("name", nothing()), ("version", nothing())])),
        (true, false) => Some(nothing()),
        (false, true) => Some(RegoValue::new_object()),
        // A server that does not say it has no such member.
        (false, false) => None,
    };
    let silent = silent.filter(|silent| silent != said).map(Some);
    silent.into_iter().chain([None]).collect()
}

fn at<'v>(value: &'v RegoValue, path: &[String]) -> &'v RegoValue {
    path.iter().fold(value, |value, step| match value {
        RegoValue::Object(members) => {
            members.get(&RegoValue::from(step.as_str())).unwrap_or(&RegoValue::Undefined)
        }
        _ => &RegoValue::Undefined,
    })
}

/// A copy with another value at `path`, or with none there.
fn with(value: &RegoValue, path: &[String], new: Option<&RegoValue>) -> RegoValue {
    let (Some((step, rest)), Ok(members)) = (path.split_first(), value.as_object()) else {
        return value.clone();
    };
    let key = RegoValue::from(step.as_str());
    let mut members = members.clone();
    if rest.is_empty() {
        match new {
            Some(new) => drop(members.insert(key, new.clone())),
            None => drop(members.remove(&key)),
        }
    } else if let Some(member) = members.get(&key) {
        let changed = with(member, rest, new);
        members.insert(key, changed);
    }
    RegoValue::from(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hearsay(paths: &[&str]) -> Hearsay {
        let path = |path: &&str| path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        Hearsay::of(&paths.iter().map(path).collect())
    }

    fn names(hearsay: &Hearsay) -> String {
        hearsay.0.iter().map(|place| place.join(".")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_place_is_as_small_as_what_is_read_of_it() {
        let cases: [(&[&str], &str); 7] = [
            (&["tool", "arguments.a", "context.ip", "definition.risk"], ""),
            (&["context.client.name"], "context.client.name"),
            (&["context.client.name", "context.client"], "context.client"),
            (&["context"], "context.client"),
            (&[""], "context.client definition.annotations"),
            (&["definition.annotations.a.b", "definition.annotations.a"], "definition.annotations.a"),
            (
                &[
                    "context.client.name",
                    "definition.annotations.a",
                    "definition.annotations.b",
                    "definition.annotations.c",
                    "definition.annotations.d",
                ],
                "context.client definition.annotations",
            ),
        ];
        for (paths, expected) in cases {
            assert_eq!(names(&hearsay(paths)), expected, "{paths:?}");
        }
        let both = hearsay(&["context.client.name"]).and(&hearsay(&["definition.annotations.a"]));
        assert_eq!(names(&both), "context.client.name definition.annotations.a");
    }

    #[test]
    fn each_mixture_of_said_and_unsaid_is_there_once() {
        let input = |reviewer: &str, name: &str| {
            let text = format!(
                r#"{{"context":{{"client":{{"name":"{name}","version":"1"}}}},"definition":{{"annotations":{{"a":true}},"reviewed_by":"{reviewer}"}}}}"#
            );
            RegoValue::from_json_str(&text).expect("JSON")
        };
        let both = hearsay(&["context.client.name", "definition.annotations.a"]);
        let cases = [("", "x", 5), ("", "", 3), ("ana", "x", 2), ("ana", "", 1)];
        for (reviewer, name, expected) in cases {
            let versions = both.versions(&input(reviewer, name));
            let distinct: BTreeSet<_> = versions.iter().map(|version| version.input.clone()).collect();
            assert_eq!((versions.len(), distinct.len()), (expected, expected), "{reviewer:?} {name:?}");
            assert!(!distinct.contains(&input(reviewer, name)), "the input itself is not among them");
        }
        let versions = both.versions(&input("", "x"));
        let last = versions.last().expect("some");
        assert_eq!(last.unsaid, ["input.context.client.name", "input.definition.annotations.a"]);
        assert_eq!(
            last.input.to_json_str().expect("JSON").split_whitespace().collect::<String>(),
            r#"{"context":{"client":{"version":"1"}},"definition":{"annotations":{},"reviewed_by":""}}"#
        );
    }
}
