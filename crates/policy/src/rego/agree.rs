//! Do both evaluators agree about a module?
//!
//! The register machine differs from the interpreter in corners of the language
//! (conflicting rules, some comprehensions, `with`). So before it may decide, both
//! are run on inputs made from the module's own words: each place it looks at gets
//! the texts and numbers it compares with, their neighbours, wrong types, and
//! nothing. The interpreter is strict: a built-in that gets a wrong type is an error,
//! where the register machine finds it undefined, as other evaluators do. So a module
//! that guards its arguments (`is_string(x)`) is fast, and one that does not denies
//! what it cannot handle. One difference, and the interpreter keeps the module.

use std::collections::BTreeSet;

use regorus::Value as RegoValue;
use serde_json::{Value, json};

use super::allowance::Allowance;
use super::machine::{Evaluated, Machine, TOO_COSTLY};
use super::shape::InputPath;

/// How many inputs are tried.
const INPUTS: usize = 160;

/// Most texts taken from the module's data.
const DATA_TEXTS: usize = 64;

/// How two machines differ.
pub(super) struct Difference {
    /// The position of the entry they differ about.
    pub(super) entry: usize,
    /// The interpreter called it an error, the register machine undefined.
    pub(super) is_error: bool,
}

/// The first difference on generated inputs. Where one of them runs out of
/// steps it denies, which stands.
pub(super) fn difference(
    fast: &Machine,
    tree: &Machine,
    paths: &BTreeSet<InputPath>,
    literals: &BTreeSet<RegoValue>,
    data: &Value,
) -> Option<Difference> {
    let mut inputs = Inputs::new(paths, literals, data);
    for _ in 0..INPUTS {
        let input = RegoValue::from(inputs.next());
        let (mut for_us, mut for_them) = (Allowance::full(&input), Allowance::full(&input));
        let ours = fast.run(&input, &mut for_us);
        if ours.iter().any(is_too_costly) {
            continue;
        }
        let theirs = tree.run(&input, &mut for_them);
        if theirs.iter().any(is_too_costly) {
            continue;
        }
        if let Some(at) = ours.iter().zip(&theirs).position(|(ours, theirs)| !same(ours, theirs)) {
            return Some(Difference { entry: at, is_error: ours[at].is_ok() && theirs[at].is_err() });
        }
    }
    None
}

fn is_too_costly(value: &Evaluated) -> bool {
    matches!(value, Err(error) if error == TOO_COSTLY)
}

/// Errors are equal whatever their words: all deny.
fn same(one: &Evaluated, other: &Evaluated) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// Input documents such as the gateway makes: our members have the types they always
/// have, arguments and annotations have any.
struct Inputs {
    /// Where the module looks into arguments, annotations and limits.
    open_paths: Vec<InputPath>,
    values: Vec<Value>,
    texts: Vec<String>,
    chance: Chance,
}

impl Inputs {
    fn new(paths: &BTreeSet<InputPath>, literals: &BTreeSet<RegoValue>, data: &Value) -> Self {
        let open = |path: &&InputPath| match path.first().map(String::as_str) {
            Some("arguments") => true,
            Some("limits") => path.len() == 2,
            Some("definition") => path.get(1).is_some_and(|member| member == "annotations"),
            _ => false,
        };
        let values = candidates(literals, data);
        let texts = values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
        let open_paths = paths.iter().filter(open).cloned().collect();
        Self { open_paths, values, texts, chance: Chance(0x9e37_79b9_7f4a_7c15) }
    }

    fn next(&mut self) -> Value {
        let operations =
            ["tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"];
        let times =
            ["2026-11-21T10:00:00.000000Z", "2026-11-23T23:59:59.999999Z", "1970-01-01T00:00:00.000000Z"];
        let verdicts = ["allow", "deny", "hide", "approve"];
        let calls: Vec<_> = (0..self.chance.below(4))
            .map(|_| {
                let verdict = verdicts[self.chance.below(verdicts.len())];
                json!({"backend": self.text(), "labels": self.list(), "tool": self.text(), "verdict": verdict})
            })
            .collect();
        let backend = self.text();
        let expires_at = if self.chance.below(2) == 0 { Value::Null } else { json!(times[0]) };
        let mut input = json!({
            "agent": self.text(), "approval": null, "arguments": {}, "backend": backend,
            "context": {"client": {"name": self.text(), "version": self.text()}, "ip": self.text(), "origin": self.text(),
                        "time": times[self.chance.below(times.len())]},
            "definition": {"annotations": {}, "fingerprint": self.text(), "reviewed_by": self.text(), "risk": self.text()},
            "identity": {"agent": {"id": self.text()},
                         "grant": {"expires_at": expires_at, "id": self.text(), "roles": self.list()},
                         "user": {"domain": self.text(), "email": self.text(), "groups": self.list(), "id": self.text(),
                                  "roles": self.list()}},
            "limits": {}, "operation": operations[self.chance.below(operations.len())], "prompt": self.text(),
            "resource": {"uri": self.text()}, "scopes": self.list(),
            "server": {"id": backend, "tags": self.list(), "transport": self.text()},
            "session": {"calls": calls, "id": self.text(), "labels": self.list()},
            "tool": self.text(), "user": self.text()
        });
        for path in &self.open_paths {
            // Now and then nothing is there.
            if self.chance.below(5) == 0 {
                continue;
            }
            let any = &self.values[self.chance.below(self.values.len())];
            let value = match path[0].as_str() {
                "limits" => json!(any.as_f64().map_or(0, |number| number.abs() as u64)),
                // Arguments as a whole are an object.
                _ if path.len() == 1 || path[0] == "definition" && path.len() == 2 => continue,
                _ => any.clone(),
            };
            place(&mut input, path, value);
        }
        input
    }

    /// Mostly something that the module mentions, so that conditions meet.
    fn text(&mut self) -> String {
        self.texts[self.chance.below(self.texts.len())].clone()
    }

    fn list(&mut self) -> Vec<String> {
        (0..self.chance.below(3)).map(|_| self.text()).collect()
    }
}

/// Values worth trying: what the module and its data mention, and their neighbours.
fn candidates(literals: &BTreeSet<RegoValue>, data: &Value) -> Vec<Value> {
    let mut found = vec![
        json!(""),
        json!("a"),
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(true),
        json!(false),
        json!(null),
        json!([]),
        json!({}),
        json!(["a"]),
        json!([1, 2]),
        json!({"a": "b"}),
    ];
    for literal in literals {
        match literal {
            RegoValue::String(text) => push_text(&mut found, text),
            RegoValue::Number(number) => {
                if let Some(number) = number.as_f64() {
                    found.extend([json!(number), json!(number - 1.0), json!(number + 1.0)]);
                    if number.fract() == 0.0 && number.abs() < 1e15 {
                        let integer = number as i64;
                        found.extend([json!(integer), json!(integer - 1), json!(integer + 1)]);
                    }
                }
            }
            _ => {}
        }
    }
    let mut texts = BTreeSet::new();
    data_texts(data, &mut texts);
    for text in texts {
        found.extend([json!(text), json!([text])]);
    }
    found
}

fn push_text(found: &mut Vec<Value>, text: &str) {
    let shorter: String = text.chars().take(text.chars().count().saturating_sub(1)).collect();
    let filled = text.replace('*', "x");
    found.extend([
        json!(text),
        json!([text]),
        json!([text, "a"]),
        json!(format!("{text}a")),
        json!(shorter),
        json!(filled),
    ]);
    found.push(json!({ text: true }));
}

fn data_texts(data: &Value, found: &mut BTreeSet<String>) {
    if found.len() >= DATA_TEXTS {
        return;
    }
    match data {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| data_texts(item, found)),
        Value::Object(members) => {
            for (key, member) in members.iter().take(DATA_TEXTS) {
                found.insert(key.clone());
                data_texts(member, found);
            }
        }
        _ => {}
    }
}

/// Puts `value` at `path`, making objects on the way.
fn place(root: &mut Value, path: &[String], value: Value) {
    let mut at = root;
    for step in path {
        if !at.is_object() {
            *at = json!({});
        }
        let Value::Object(members) = at else { return };
        at = members.entry(step.clone()).or_insert(Value::Null);
    }
    *at = value;
}

/// SplitMix64: the same choices on every machine, so the same evaluator is chosen.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}
