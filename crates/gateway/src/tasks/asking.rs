//! An open question of a task, apart from the way back to its server: as it is shown, and as
//! one replica writes it down for the others.

use bytes::Bytes;
use doorward_model::json::{Document, push_string};
use doorward_upstream::Question;
use doorward_wire::Abilities;

use crate::ask::{for_modern, reread};

/// An open question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    /// Which question of its task it is. Unlike its key, it is no other's later.
    pub number: u64,
    /// What the client knows it by.
    pub key: String,
    pub method: String,
    /// `params` for the client, JSON text; empty where there are none.
    params: String,
}

impl Asking {
    pub(super) fn new(number: u64, key: &str, question: &Question) -> Self {
        let text = std::str::from_utf8(&question.params).unwrap_or_default();
        let params = if text.is_empty() { String::new() } else { for_modern(text) };
        Self { number, key: key.to_owned(), method: question.method.clone(), params }
    }

    /// Whether a client with these abilities can answer it.
    pub(super) fn is_for(&self, abilities: &Abilities) -> bool {
        let params = reread(if self.params.is_empty() { "{}" } else { &self.params });
        abilities.allow(&self.method, params.as_ref().map(Document::root))
    }

    /// Adds it to the members of `inputRequests`.
    pub(super) fn show(&self, out: &mut String) {
        if !out.is_empty() {
            out.push(',');
        }
        push_string(out, &self.key);
        out.push_str(r#":{"method":"#);
        push_string(out, &self.method);
        if !self.params.is_empty() {
            out.push_str(r#","params":"#);
            out.push_str(&self.params);
        }
        out.push('}');
    }
}

/// Open questions as they travel.
pub(super) fn write(open: &[Asking]) -> Bytes {
    let all: Vec<_> = open.iter().map(|it| (it.number, &it.key, &it.method, &it.params)).collect();
    serde_json::to_vec(&all).unwrap_or_default().into()
}

/// Reads them.
pub(super) fn read(text: &Bytes) -> Option<Vec<Asking>> {
    let all: Vec<(u64, String, String, String)> = serde_json::from_slice(text).ok()?;
    let asking = |(number, key, method, params)| Asking { number, key, method, params };
    Some(all.into_iter().map(asking).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(number: u64, method: &str, params: &str) -> Asking {
        Asking { number, key: format!("k\"{number}"), method: method.to_owned(), params: params.to_owned() }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let all = vec![asking(3, "elicitation/create", r#"{"message":"A\n?"}"#), asking(4, "roots/list", "")];
        assert_eq!(read(&write(&all)), Some(all));
        assert_eq!(read(&write(&[])), Some(Vec::new()));
        for nonsense in ["", "{}", "[[1]]", r#"[["1","k","m",""]]"#] {
            assert_eq!(read(&Bytes::from(nonsense)), None, "{nonsense:?}");
        }
    }

    #[test]
    fn it_is_shown_to_those_who_can_answer() {
        let form = Abilities::read(reread(r#"{"elicitation":{}}"#).expect("JSON").root());
        let cases = [
            ("elicitation/create", r#"{"message":"?"}"#, true),
            ("elicitation/create", r#"{"mode":"url","url":"https://a.example"}"#, false),
            ("roots/list", "", false),
        ];
        for (method, params, expected) in cases {
            assert_eq!(asking(0, method, params).is_for(&form), expected, "{method} {params}");
        }
        let mut shown = String::new();
        for one in [asking(1, "elicitation/create", r#"{"a":1}"#), asking(2, "roots/list", "")] {
            one.show(&mut shown);
        }
        let expected =
            r#""k\"1":{"method":"elicitation/create","params":{"a":1}},"k\"2":{"method":"roots/list"}"#;
        assert_eq!(shown, expected);
    }
}
