//! Do both evaluators agree about a module?
//!
//! The register machine differs from the interpreter in corners of the language
//! (conflicting rules, some comprehensions, `with`). So before it may decide, both
//! are run on inputs made from the module's own words: each place it looks at gets
//! the texts and numbers it compares with, their neighbours, wrong types, and
//! nothing. One difference, and the interpreter keeps the module.

use std::collections::BTreeSet;

use regorus::Value as RegoValue;
use serde_json::{Value, json};

use super::machine::{Evaluated, Machine};
use super::shape::InputPath;

/// How many inputs are tried.
const INPUTS: usize = 160;

/// Most texts taken from the module's data.
const DATA_TEXTS: usize = 64;

/// The first generated input on which two machines differ, and at which entry.
pub(super) fn difference(
    one: &Machine,
    other: &Machine,
    paths: &BTreeSet<InputPath>,
    literals: &BTreeSet<RegoValue>,
    data: &Value,
) -> Option<usize> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let candidates = candidates(literals, data);
    for _ in 0..INPUTS {
        let input = RegoValue::from(input(paths, &candidates, &mut chance));
        let (ours, theirs) = (one.run(&input), other.run(&input));
        if let Some(at) = ours.iter().zip(&theirs).position(|(ours, theirs)| !same(ours, theirs)) {
            return Some(at);
        }
    }
    None
}

/// Errors are equal whatever their words: all deny.
fn same(one: &Evaluated, other: &Evaluated) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// Values worth trying: what the module and its data mention, and their neighbours.
fn candidates(literals: &BTreeSet<RegoValue>, data: &Value) -> Vec<Value> {
    let mut found = vec![
        json!(""), json!("a"), json!(0), json!(1), json!(-1), json!(0.5), json!(true), json!(false), json!(null),
        json!([]), json!({}), json!(["a"]), json!([1, 2]), json!({"a": "b"}),
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
    found.extend([json!(text), json!([text]), json!([text, "a"]), json!(format!("{text}a")), json!(shorter), json!(filled)]);
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

/// An input document with chosen values where the module looks.
fn input(paths: &BTreeSet<InputPath>, candidates: &[Value], chance: &mut Chance) -> Value {
    let mut input = json!({
        "agent": "", "approval": null, "arguments": {}, "backend": "a",
        "context": {"client": {"name": "", "version": ""}, "ip": "127.0.0.1", "origin": "mcp",
                    "time": "2026-11-21T10:00:00.000000Z"},
        "definition": {"annotations": {}, "fingerprint": "", "reviewed_by": "", "risk": ""},
        "identity": {"agent": {"id": ""}, "grant": {"expires_at": null, "id": "g", "roles": []},
                     "user": {"domain": "", "email": "", "groups": [], "id": "", "roles": []}},
        "limits": {}, "operation": "tools/call", "prompt": "", "resource": {"uri": ""}, "scopes": [],
        "server": {"id": "a", "tags": [], "transport": "http"},
        "session": {"calls": [], "id": "", "labels": []}, "tool": "a", "user": ""
    });
    for path in paths.iter().filter(|path| !path.is_empty()) {
        // Left as it is now and then: our own members always exist, theirs may not.
        if chance.below(5) > 0 {
            let value = candidates[chance.below(candidates.len())].clone();
            place(&mut input, path, value);
        }
    }
    input
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
