//! Conditions of role rules: what an argument must be like.

use std::borrow::Cow;

use doorward_model::Caller;
use doorward_model::json::{Kind, Value, canonical};

use super::regex::Regex;
use super::text::{js_string, js_string_of_config};
use crate::config;
use crate::problem::{PolicyError, Warning, hint};

/// Deepest place that a path may name.
const MAX_PATH: usize = 32;

/// Operators that PetrefiedThunder/mcp-gateway knows.
const THEIRS: [&str; 4] = ["eq", "neq", "in", "regex"];
/// Operators that stand beside them.
const OURS: [&str; 7] = ["not_in", "lt", "lte", "gt", "gte", "contains", "exists"];

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    Yes,
    No,
    /// It cannot be told: wrong type, a match given up, a caller without the value
    /// that a template names. An allow rule then does not apply; a deny rule does.
    Unclear,
}

/// A compiled condition.
#[derive(Debug)]
pub(crate) struct Condition {
    /// The argument's name; `None` where a JSON pointer says that a path is meant.
    name: Option<String>,
    /// Where else to look. Empty where a name is all there is.
    path: Vec<String>,
    test: Test,
}

/// What the arguments hold where a condition looks.
enum Found<'a> {
    Nothing,
    One(Value<'a>),
    /// An argument of that name and something else at that path. Which of them the server
    /// reads, nobody knows; who adds the one must not speak for the other.
    Both,
}

#[derive(Debug)]
enum Test {
    Equals { expected: Text, negated: bool },
    OneOf(Vec<Text>),
    NoneOf(Vec<Text>),
    Matches(Regex),
    Compare(Order, f64),
    Contains(Text),
    Exists(bool),
    Never,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Condition {
    /// Compiles a condition written at `place`.
    pub(crate) fn compile(
        written: &config::Condition,
        place: &str,
        compat: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, PolicyError> {
        let test = match test(written, place, compat, warnings) {
            Ok(test) => test,
            // They treat what they do not understand as a condition that never holds.
            Err(error) if compat => {
                warnings.push(Warning::new(error.place, format!("{}; it never holds", error.message)));
                Test::Never
            }
            Err(error) => return Err(error),
        };
        let is_pointer = written.param.starts_with('/') && !compat;
        let path = if compat { Vec::new() } else { path(&written.param) };
        if path.len() > MAX_PATH {
            return Err(PolicyError::new(format!("{place}.param"), format!("goes deeper than {MAX_PATH}")));
        }
        Ok(Self { name: (!is_pointer).then(|| written.param.clone()), path, test })
    }

    /// Asks it about a call. An argument that is not there meets no condition but `exists`.
    pub(crate) fn holds(&self, arguments: Option<Value<'_>>, caller: &Caller) -> Met {
        let actual = match arguments.map_or(Found::Nothing, |arguments| self.find(arguments)) {
            Found::Both => {
                return match self.test {
                    Test::Exists(expected) => met(expected),
                    Test::Never => Met::No,
                    _ => Met::Unclear,
                };
            }
            Found::One(value) => Some(value),
            Found::Nothing => None,
        };
        match (&self.test, actual) {
            (Test::Exists(expected), actual) => met(actual.is_some() == *expected),
            (_, None) | (Test::Never, _) => Met::No,
            (Test::Equals { expected, negated }, Some(actual)) => match expected.resolve(caller) {
                Some(expected) => met((js_string(actual) == expected) != *negated),
                None => Met::Unclear,
            },
            (Test::OneOf(list), Some(actual)) => one_of(list, &js_string(actual), caller),
            (Test::NoneOf(list), Some(actual)) => match actual.kind() {
                Kind::Array | Kind::Object => Met::Unclear,
                _ => match one_of(list, &js_string(actual), caller) {
                    Met::Yes => Met::No,
                    Met::No => Met::Yes,
                    Met::Unclear => Met::Unclear,
                },
            },
            (Test::Matches(regex), Some(actual)) => {
                regex.is_match(&js_string(actual)).map_or(Met::Unclear, met)
            }
            (Test::Compare(order, bound), Some(actual)) => compare(*order, actual, *bound),
            (Test::Contains(expected), Some(actual)) => match expected.resolve(caller) {
                Some(expected) => contains(actual, &expected),
                None => Met::Unclear,
            },
        }
    }

    fn find<'a>(&self, arguments: Value<'a>) -> Found<'a> {
        let named = self.name.as_ref().and_then(|name| arguments.get(name));
        // A name without a dot is its own path.
        let is_path = self.name.is_none() || self.path.len() > 1;
        match (named, is_path.then(|| self.follow(arguments)).flatten()) {
            (Some(named), Some(followed)) if canonical(named) != canonical(followed) => Found::Both,
            (Some(value), _) | (None, Some(value)) => Found::One(value),
            (None, None) => Found::Nothing,
        }
    }

    fn follow<'a>(&self, arguments: Value<'a>) -> Option<Value<'a>> {
        let mut steps = self.path.iter();
        let first = arguments.get(steps.next()?)?;
        steps.try_fold(first, |at, step| match at.kind() {
            Kind::Array => at.items().nth(step.parse().ok()?),
            _ => at.get(step),
        })
    }
}

fn met(truth: bool) -> Met {
    if truth { Met::Yes } else { Met::No }
}

fn one_of(list: &[Text], actual: &str, caller: &Caller) -> Met {
    let mut result = Met::No;
    for expected in list {
        match expected.resolve(caller) {
            Some(expected) if expected == actual => return Met::Yes,
            Some(_) => {}
            None => result = Met::Unclear,
        }
    }
    result
}

fn compare(order: Order, actual: Value<'_>, bound: f64) -> Met {
    // Beyond 2^53 a double no longer tells neighbours apart, so nothing is claimed.
    let Some(actual) = actual.as_f64().filter(|number| number.abs() <= 9_007_199_254_740_991.0) else {
        return Met::Unclear;
    };
    met(match order {
        Order::Below => actual < bound,
        Order::AtMost => actual <= bound,
        Order::Above => actual > bound,
        Order::AtLeast => actual >= bound,
    })
}

/// A text contains a part of it; a list contains an element.
fn contains(actual: Value<'_>, expected: &str) -> Met {
    match actual.kind() {
        Kind::String => met(actual.as_str().unwrap_or_default().contains(expected)),
        Kind::Array => met(actual
            .items()
            .any(|item| !matches!(item.kind(), Kind::Array | Kind::Object) && js_string(item) == expected)),
        _ => Met::Unclear,
    }
}

fn path(param: &str) -> Vec<String> {
    match param.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect(),
        None => param.split('.').map(str::to_owned).collect(),
    }
}

fn test(
    written: &config::Condition,
    place: &str,
    compat: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Test, PolicyError> {
    let operator = written.operator.as_str();
    let at_value = || format!("{place}.value");
    if !(THEIRS.contains(&operator) || OURS.contains(&operator) && !compat) {
        let known = THEIRS.into_iter().chain(OURS);
        let message = format!("`{operator}` is no operator{}", hint(operator, known));
        return Err(PolicyError::new(format!("{place}.operator"), message));
    }
    if written.value.is_null() && operator != "exists" && !compat {
        return Err(PolicyError::new(place, format!("`{operator}` needs a value")));
    }
    let single = || {
        Text::parse(&js_string_of_config(&written.value), compat).map_err(|e| PolicyError::new(at_value(), e))
    };
    Ok(match operator {
        "eq" | "neq" => Test::Equals { expected: single()?, negated: operator == "neq" },
        "in" => match texts(&written.value, compat) {
            Some(list) => {
                if list.len() < written.value.as_array().map_or(0, Vec::len) {
                    warnings
                        .push(Warning::new(at_value(), "only texts can match; put quotes around the others"));
                }
                Test::OneOf(
                    list.into_iter()
                        .collect::<Result<_, _>>()
                        .map_err(|e| PolicyError::new(at_value(), e))?,
                )
            }
            None => {
                warnings.push(Warning::new(at_value(), "`in` needs a list; as it stands it never holds"));
                Test::Never
            }
        },
        "not_in" => {
            let items =
                written.value.as_array().filter(|items| !items.iter().any(|i| i.is_array() || i.is_object()));
            let items =
                items.ok_or_else(|| PolicyError::new(at_value(), "`not_in` needs a list of texts"))?;
            let list = items
                .iter()
                .map(|item| Text::parse(&js_string_of_config(item), compat))
                .collect::<Result<_, _>>();
            Test::NoneOf(list.map_err(|e| PolicyError::new(at_value(), e))?)
        }
        "regex" => {
            let pattern = js_string_of_config(&written.value);
            Test::Matches(
                Regex::new(&pattern).map_err(|e| PolicyError::new(at_value(), format!("`{pattern}` {e}")))?,
            )
        }
        "contains" if written.value.is_array() || written.value.is_object() => {
            return Err(PolicyError::new(
                at_value(),
                "`contains` needs one text; use several conditions for several",
            ));
        }
        "contains" => Test::Contains(single()?),
        "exists" => match js_string_of_config(&written.value).as_str() {
            "true" | "undefined" => Test::Exists(true),
            "false" => Test::Exists(false),
            _ => return Err(PolicyError::new(at_value(), "`exists` needs true or false")),
        },
        "lt" => Test::Compare(Order::Below, bound(&written.value, &at_value())?),
        "lte" => Test::Compare(Order::AtMost, bound(&written.value, &at_value())?),
        "gt" => Test::Compare(Order::Above, bound(&written.value, &at_value())?),
        _ => Test::Compare(Order::AtLeast, bound(&written.value, &at_value())?),
    })
}

/// The texts of a list, other elements left out; `None` when it is no list.
fn texts(value: &serde_json::Value, compat: bool) -> Option<Vec<Result<Text, String>>> {
    Some(
        value
            .as_array()?
            .iter()
            .filter_map(|item| item.as_str())
            .map(|text| Text::parse(text, compat))
            .collect(),
    )
}

fn bound(value: &serde_json::Value, place: &str) -> Result<f64, PolicyError> {
    let number =
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite());
    number.ok_or_else(|| PolicyError::new(place, "needs a number"))
}

/// A text of the configuration, with what it takes from the caller.
#[derive(Debug)]
enum Text {
    Fixed(String),
    Template(Vec<Part>),
}

#[derive(Debug)]
enum Part {
    Fixed(String),
    Consumer,
    UserId,
    UserEmail,
    AgentId,
    Claim(String),
}

/// What a template may name.
const NAMES: [&str; 5] = ["consumer.id", "user.id", "user.email", "agent.id", "claims.NAME"];

/// The claim that `claims.NAME` names.
fn claim(name: &str) -> Option<&str> {
    name.strip_prefix("claims.").filter(|claim| !claim.is_empty())
}

/// The claims that conditions name, as callers have to carry them.
pub(crate) fn claims_of(written: &config::Condition) -> Vec<String> {
    let values = match &written.value {
        serde_json::Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let texts = values.iter().filter_map(|value| value.as_str());
    let parsed = texts.filter_map(|text| Text::parse(text, false).ok());
    let parts = parsed.flat_map(|text| match text {
        Text::Fixed(_) => Vec::new(),
        Text::Template(parts) => parts,
    });
    parts.filter_map(|part| if let Part::Claim(name) = part { Some(name) } else { None }).collect()
}

impl Text {
    /// Finds the `${…}` in a text. In compat mode there are none, as with them.
    fn parse(text: &str, compat: bool) -> Result<Self, String> {
        if compat || !text.contains("${") {
            return Ok(Self::Fixed(text.to_owned()));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            parts.push(Part::Fixed(before.to_owned()));
            let (name, after) = after.split_once('}').ok_or("has a `${` without `}`")?;
            parts.push(match name {
                "consumer.id" => Part::Consumer,
                "user.id" => Part::UserId,
                "user.email" => Part::UserEmail,
                "agent.id" => Part::AgentId,
                name if claim(name).is_some() => Part::Claim(claim(name).unwrap_or_default().to_owned()),
                _ => return Err(format!("`${{{name}}}` names nothing of a caller{}", hint(name, NAMES))),
            });
            rest = after;
        }
        parts.push(Part::Fixed(rest.to_owned()));
        Ok(Self::Template(parts))
    }

    /// The text for this caller; `None` when the caller lacks what it names.
    fn resolve<'t>(&'t self, caller: &Caller) -> Option<Cow<'t, str>> {
        let parts = match self {
            Self::Fixed(text) => return Some(Cow::Borrowed(text)),
            Self::Template(parts) => parts,
        };
        let user_id = || caller.person.as_ref().map(|person| person.id.as_str()).filter(|id| !id.is_empty());
        let agent_id = || caller.agent.as_ref().map(|agent| agent.id.as_str()).filter(|id| !id.is_empty());
        let mut out = String::new();
        for part in parts {
            out.push_str(match part {
                Part::Fixed(text) => text,
                Part::Consumer => agent_id().or_else(user_id)?,
                Part::UserId => user_id()?,
                Part::UserEmail => {
                    caller.person.as_ref()?.email.as_deref().filter(|email| !email.is_empty())?
                }
                Part::AgentId => agent_id()?,
                Part::Claim(name) => caller.grant.claims.get(name).filter(|text| !text.is_empty())?,
            });
        }
        Some(Cow::Owned(out))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits};
    use doorward_model::{Agent, Grant, GrantKind, Person};
    use serde_json::json;

    use super::*;

    fn caller() -> Caller {
        Caller {
            grant: Grant {
                id: "g".into(),
                kind: GrantKind::Key,
                issuer: None,
                roles: vec![],
                servers: None,
                scopes: vec![],
                claims: [("customer".to_owned(), "c-1".to_owned())].into(),
                expires_at: None,
                rate_limit: None,
            },
            person: Some(Person { id: "ana".into(), ..Person::default() }),
            agent: Some(Agent { id: "agent-a".into() }),
        }
    }

    fn ask(operator: &str, value: serde_json::Value, param: &str, arguments: &str) -> Met {
        let written = config::Condition { param: param.into(), operator: operator.into(), value };
        let condition = Condition::compile(&written, "c", false, &mut Vec::new()).expect(operator);
        let document = Document::parse(Bytes::copy_from_slice(arguments.as_bytes()), &Limits::default())
            .expect(arguments);
        condition.holds(Some(document.root()), &caller())
    }

    #[test]
    fn our_operators_compare_values_and_never_guess_types() {
        use Met::{No, Unclear, Yes};
        let cases = [
            ("gt", json!(100), r#"{"p":101}"#, Yes),
            ("gt", json!("100"), r#"{"p":100}"#, No),
            ("gte", json!(100), r#"{"p":100.0}"#, Yes),
            ("lt", json!(0.5), r#"{"p":-1}"#, Yes),
            ("lte", json!(5), r#"{"p":6}"#, No),
            ("gt", json!(100), r#"{"p":"101"}"#, Unclear),
            ("gt", json!(100), r#"{"p":null}"#, Unclear),
            ("gt", json!(100), r#"{}"#, No),
            ("not_in", json!(["a", 5]), r#"{"p":"b"}"#, Yes),
            ("not_in", json!(["a", 5]), r#"{"p":5}"#, No),
            ("not_in", json!(["a"]), r#"{"p":["a"]}"#, Unclear),
            ("contains", json!("b"), r#"{"p":"abc"}"#, Yes),
            ("contains", json!("b"), r#"{"p":["a","b"]}"#, Yes),
            ("contains", json!("b"), r#"{"p":["abc"]}"#, No),
            ("contains", json!("b"), r#"{"p":7}"#, Unclear),
            ("exists", json!(true), r#"{"p":null}"#, Yes),
            ("exists", json!(null), r#"{}"#, No),
            ("exists", json!("false"), r#"{}"#, Yes),
            ("eq", json!("${agent.id}"), r#"{"p":"agent-a"}"#, Yes),
            ("eq", json!("${consumer.id}!"), r#"{"p":"agent-a!"}"#, Yes),
            ("in", json!(["${user.id}"]), r#"{"p":"ana"}"#, Yes),
            ("eq", json!("${user.email}"), r#"{"p":""}"#, Unclear),
            ("eq", json!("${claims.customer}"), r#"{"p":"c-1"}"#, Yes),
            ("eq", json!("${claims.customer}"), r#"{"p":"c-2"}"#, No),
            ("neq", json!("${claims.customer}"), r#"{"p":"c-2"}"#, Yes),
            ("eq", json!("${claims.absent}"), r#"{"p":""}"#, Unclear),
        ];
        for (operator, value, arguments, expected) in cases {
            assert_eq!(
                ask(operator, value.clone(), "p", arguments),
                expected,
                "{operator} {value} {arguments}"
            );
        }
    }

    #[test]
    fn the_claims_that_policies_name_are_known() {
        let rule = |value| config::Rule {
            conditions: vec![config::Condition { param: "p".into(), operator: "in".into(), value }],
            ..config::Rule::default()
        };
        let rules = vec![
            rule(json!(["${claims.b}", "x", 1, "${claims.a}-${claims.b}"])),
            rule(json!("${user.id}")),
            rule(json!("${claims.")),
        ];
        let policy = config::RolePolicy { rules, ..config::RolePolicy::default() };
        assert_eq!(super::super::claims_named(&[policy]), ["a", "b"]);
    }

    #[test]
    fn a_path_is_followed_as_far_as_it_goes() {
        let arguments = r#"{"a":{"b":"deep","c":[{"d":"item"}]},"x/y":{"~":1},"e.f":"named"}"#;
        let cases = [
            ("a.b", "deep", Met::Yes),
            ("/a/b", "deep", Met::Yes),
            ("a.c.0.d", "item", Met::Yes),
            ("/x~1y/~0", "1", Met::Yes),
            ("e.f", "named", Met::Yes),
            ("a.c.1.d", "item", Met::No),
            ("a.missing", "x", Met::No),
        ];
        for (param, value, expected) in cases {
            assert_eq!(ask("eq", json!(value), param, arguments), expected, "{param}");
        }
    }

    #[test]
    fn an_argument_with_the_name_of_a_path_does_not_speak_for_what_is_there() {
        let decoy = r#"{"a.b":"me","/a/b":"me","a":{"b":"victim"}}"#;
        let same = r#"{"a.b":"me","a":{"b":"me"}}"#;
        let me = json!("me");
        for (operator, value) in
            [("eq", me.clone()), ("neq", me), ("in", json!(["me"])), ("regex", json!("m"))]
        {
            assert_eq!(ask(operator, value, "a.b", decoy), Met::Unclear, "{operator}");
        }
        assert_eq!(ask("eq", json!("me"), "a.b", same), Met::Yes);
        assert_eq!(ask("exists", json!(false), "a.b", decoy), Met::No);
        // A pointer is no name.
        assert_eq!(ask("eq", json!("me"), "/a/b", decoy), Met::No);
        assert_eq!(ask("eq", json!("victim"), "/a/b", decoy), Met::Yes);
        assert_eq!(ask("eq", json!("me"), "/a/b", r#"{"/a/b":"me"}"#), Met::No);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_hint() {
        let cases = [
            ("equals", json!("x"), "c.operator: `equals` is no operator"),
            ("not-in", json!([]), "did you mean `not_in`?"),
            ("gt", json!("many"), "c.value: needs a number"),
            ("regex", json!("("), "c.value: `(` has a `(` that is not closed"),
            ("eq", json!(null), "c: `eq` needs a value"),
            ("eq", json!("${user.mail}"), "did you mean `user.email`?"),
            ("eq", json!("${claims.}"), "names nothing of a caller"),
            ("exists", json!("maybe"), "c.value: `exists` needs true or false"),
        ];
        for (operator, value, expected) in cases {
            let written = config::Condition { param: "p".into(), operator: operator.into(), value };
            let error =
                Condition::compile(&written, "c", false, &mut Vec::new()).expect_err(operator).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
