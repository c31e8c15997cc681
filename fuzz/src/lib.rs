//! What the targets have in common: values in a form in which those of all parsers can be
//! compared, and the parsers that nobody here wrote.

use std::collections::BTreeMap;

use doorward_model::json::{Kind, Value};

/// A JSON value without its spelling.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Plain>),
    Object(BTreeMap<String, Plain>),
}

impl Plain {
    /// As the product reads it.
    pub fn of(value: Value<'_>) -> Self {
        match value.kind() {
            Kind::Null => Self::Null,
            Kind::Bool => Self::Bool(value.as_bool().expect("a boolean")),
            Kind::Number => Self::Number(value.as_f64().expect("a number")),
            Kind::String => Self::Text(value.as_str().expect("a string").into_owned()),
            Kind::Array => Self::List(value.items().map(Self::of).collect()),
            Kind::Object => {
                let members: Vec<_> = value.members().collect();
                let count = members.len();
                let object: BTreeMap<_, _> =
                    members.into_iter().map(|(key, value)| (key.into_owned(), Self::of(value))).collect();
                assert_eq!(object.len(), count, "a key was let past twice");
                Self::Object(object)
            }
        }
    }
}

/// A parser that nobody here wrote.
pub type Reader = fn(&[u8]) -> Option<Plain>;

/// All of them. Of keys that stand twice, some keep the first and some the last.
pub const READERS: [(&str, Reader); 4] =
    [("serde_json", serde), ("jiter", jiter), ("simd-json", simd), ("json", json)];

fn serde(bytes: &[u8]) -> Option<Plain> {
    fn plain(value: serde_json::Value) -> Plain {
        match value {
            serde_json::Value::Null => Plain::Null,
            serde_json::Value::Bool(value) => Plain::Bool(value),
            serde_json::Value::Number(number) => Plain::Number(number.as_f64().expect("finite")),
            serde_json::Value::String(text) => Plain::Text(text),
            serde_json::Value::Array(items) => Plain::List(items.into_iter().map(plain).collect()),
            serde_json::Value::Object(members) => {
                Plain::Object(members.into_iter().map(|(key, value)| (key, plain(value))).collect())
            }
        }
    }
    serde_json::from_slice(bytes).ok().map(plain)
}

fn jiter(bytes: &[u8]) -> Option<Plain> {
    use jiter::JsonValue;
    fn plain(value: &JsonValue<'_>) -> Plain {
        match value {
            JsonValue::Null => Plain::Null,
            JsonValue::Bool(value) => Plain::Bool(*value),
            #[expect(clippy::cast_precision_loss, reason = "only integers that a double holds get this far")]
            JsonValue::Int(number) => Plain::Number(*number as f64),
            JsonValue::BigInt(number) => Plain::Number(number.to_string().parse().expect("a number")),
            JsonValue::Float(number) => Plain::Number(*number),
            JsonValue::Str(text) => Plain::Text(text.to_string()),
            JsonValue::Array(items) => Plain::List(items.iter().map(plain).collect()),
            JsonValue::Object(members) => {
                Plain::Object(members.iter().map(|(key, value)| (key.to_string(), plain(value))).collect())
            }
        }
    }
    JsonValue::parse(bytes, false).ok().as_ref().map(plain)
}

fn simd(bytes: &[u8]) -> Option<Plain> {
    use simd_json::{OwnedValue, StaticNode};
    fn plain(value: &OwnedValue) -> Plain {
        match value {
            OwnedValue::Static(StaticNode::Null) => Plain::Null,
            OwnedValue::Static(StaticNode::Bool(value)) => Plain::Bool(*value),
            #[expect(clippy::cast_precision_loss, reason = "only integers that a double holds get this far")]
            OwnedValue::Static(StaticNode::I64(number)) => Plain::Number(*number as f64),
            #[expect(clippy::cast_precision_loss, reason = "only integers that a double holds get this far")]
            OwnedValue::Static(StaticNode::U64(number)) => Plain::Number(*number as f64),
            OwnedValue::Static(StaticNode::F64(number)) => Plain::Number(*number),
            OwnedValue::String(text) => Plain::Text(text.clone()),
            OwnedValue::Array(items) => Plain::List(items.iter().map(plain).collect()),
            OwnedValue::Object(members) => {
                Plain::Object(members.iter().map(|(key, value)| (key.clone(), plain(value))).collect())
            }
        }
    }
    simd_json::to_owned_value(&mut bytes.to_vec()).ok().as_ref().map(plain)
}

fn json(bytes: &[u8]) -> Option<Plain> {
    use json::JsonValue;
    fn plain(value: &JsonValue) -> Plain {
        match value {
            JsonValue::Null => Plain::Null,
            JsonValue::Boolean(value) => Plain::Bool(*value),
            JsonValue::Number(number) => Plain::Number(f64::from(*number)),
            JsonValue::Short(text) => Plain::Text(text.to_string()),
            JsonValue::String(text) => Plain::Text(text.clone()),
            JsonValue::Array(items) => Plain::List(items.iter().map(plain).collect()),
            JsonValue::Object(members) => {
                Plain::Object(members.iter().map(|(key, value)| (key.to_owned(), plain(value))).collect())
            }
        }
    }
    json::parse(std::str::from_utf8(bytes).ok()?).ok().as_ref().map(plain)
}

/// Policies for input documents to be judged by.
pub mod policy {
    use doorward_policy::{Condition, Mode, Options, PolicySet, RegoSource, RolePolicy, Rule};

    /// Rules with every operator, and a module that looks at most of the input.
    pub fn set() -> PolicySet {
        let condition = |operator: &str, value: &str| Condition {
            param: "amount".to_owned(),
            operator: operator.to_owned(),
            value: serde_json::from_str(value).expect("a value"),
        };
        let operators = [
            ("eq", r#""1""#),
            ("neq", r#""2""#),
            ("in", r#"["1","a"]"#),
            ("not_in", r#"["${user.id}"]"#),
            ("contains", r#""x""#),
            ("regex", r#""^a+$""#),
            ("gt", r#""3""#),
            ("lte", r#""4.5""#),
            ("exists", "null"),
        ];
        let rule = |(operator, value): &(&str, &str)| Rule {
            tool: Some(format!("{operator}*")),
            action: "allow".to_owned(),
            conditions: vec![condition(operator, value)],
            ..Rule::default()
        };
        let mut rules: Vec<_> = operators.iter().map(rule).collect();
        rules.push(Rule { server: Some("g?t*".to_owned()), action: "allow".to_owned(), ..Rule::default() });
        let roles =
            RolePolicy { id: "all".to_owned(), name: String::new(), roles: vec!["*".to_owned()], rules };
        let rego = RegoSource {
            name: "amounts".to_owned(),
            source: AMOUNTS.to_owned(),
            file: None,
            data: Some(r#"{"limits":{"a":10}}"#.to_owned()),
            mode: Mode::default(),
        };
        let compiled = PolicySet::compile(vec![roles], vec![rego], &Options::default(), &|_| Ok(()));
        compiled.unwrap_or_else(|errors| panic!("{errors:?}")).0
    }

    const AMOUNTS: &str = r#"
package amounts

deny contains msg if {
    input.arguments.amount > data.limits[input.tool]
    msg := sprintf("%v is too much", [input.arguments.amount])
}

deny contains "not from there" if {
    startswith(input.context.ip, "10.")
}

hide contains "nobody" if {
    some role in input.identity.grant.roles
    role == "nobody"
}
"#;
}
