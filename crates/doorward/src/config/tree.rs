//! A document as a tree that knows where everything stands.
//!
//! YAML and JSON are both read into it. Kinds of plain scalars are decided when a
//! value is asked for, so `${PORT}` may become a number and an id of digits stays a text.

use std::collections::HashMap;

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// From 0, in bytes.
    pub offset: usize,
}

/// One value and where it starts.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it starts.
    pub mark: Mark,
    /// Where it ends, in bytes: behind a scalar; at the closing bracket of a list or
    /// map that has one.
    pub end: usize,
    /// What it is.
    pub value: Value,
}

/// What stands at a node.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text, number, boolean or null.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in file order, no key twice.
    Map(Vec<(Key, Node)>),
}

/// A scalar as written.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// Its text, unescaped.
    pub text: String,
    /// How it was written.
    pub style: Style,
}

/// How a scalar was written, which decides what it may be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: a number, boolean or null if it looks like one.
    Plain,
    /// In quotes: a text.
    Quoted,
    /// Filled from the environment: a text, or a number where one is needed.
    Filled,
}

/// A key and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it starts.
    pub mark: Mark,
}

/// Why a text is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where reading stopped.
    pub mark: Mark,
    /// What is wrong there.
    pub problem: String,
}

impl Node {
    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The elements of a list; none for other kinds.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Whether this is null, written out or left empty.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }
}

/// Two nodes are equal when they say the same, wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar(one), Value::Scalar(two)) => one.style == two.style && one.text == two.text,
            (Value::List(one), Value::List(two)) => one == two,
            (Value::Map(one), Value::Map(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(a, b)| a.0.text == b.0.text && a.1 == b.1)
            }
            _ => false,
        }
    }
}

impl Scalar {
    /// Whether this is null (YAML 1.2, section 10.3.2).
    pub fn is_null(&self) -> bool {
        self.style == Style::Plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match (self.style, self.text.as_str()) {
            (Style::Quoted, _) => None,
            (_, "true" | "True" | "TRUE") => Some(true),
            (_, "false" | "False" | "FALSE") => Some(false),
            _ => None,
        }
    }

    /// The whole number, if it is one that fits.
    pub fn as_integer(&self) -> Option<i64> {
        if self.style == Style::Quoted {
            return None;
        }
        let digits = |prefix: &str, base| {
            let digits = self.text.strip_prefix(prefix)?;
            // `from_str_radix` accepts a sign here, and YAML does not.
            digits
                .bytes()
                .all(|c| c.is_ascii_alphanumeric())
                .then(|| i64::from_str_radix(digits, base).ok())?
        };
        self.text.parse().ok().or_else(|| digits("0x", 16)).or_else(|| digits("0o", 8))
    }

    /// The number, if it is one.
    pub fn as_float(&self) -> Option<f64> {
        let body = self.text.trim_start_matches(['-', '+']);
        // Rust reads `inf` and `nan`, which are texts in YAML.
        let numeric = body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && body.contains(|c: char| c.is_ascii_digit());
        if self.style == Style::Quoted || !numeric { None } else { self.text.parse().ok() }
    }
}

/// Where each path of a document stands.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    marks: HashMap<String, Mark>,
}

impl Positions {
    /// Notes the place of every node. A value of a map stands where its key does.
    pub fn of(root: &Node) -> Self {
        let mut positions = Self::default();
        positions.note(String::new(), root, root.mark);
        positions
    }

    /// The place of `path`, or of the innermost thing around it that exists.
    pub fn nearest(&self, path: &str) -> Option<Mark> {
        let mut path = path;
        loop {
            if let Some(mark) = self.marks.get(path) {
                return Some(*mark);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn note(&mut self, path: String, node: &Node, mark: Mark) {
        match &node.value {
            Value::Scalar(_) => {}
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.note(format!("{path}[{index}]"), item, item.mark);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    self.note(join(&path, &key.text), value, key.mark);
                }
            }
        }
        if !path.is_empty() {
            self.marks.insert(path, mark);
        }
    }
}

/// `path.key`, or `key` at the top.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
