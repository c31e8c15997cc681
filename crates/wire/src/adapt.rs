//! A result of one era in the shape of the other.
//!
//! Results are edited by splicing members of the outermost object; everything
//! inside stays as the server wrote it.

use std::borrow::Cow;

use doorward_model::json::{Value, push_string};

use crate::era::Era;

/// Members that only results of 2026-07-28 have.
const MODERN_ONLY: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

/// What a result says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// The final answer; what a missing `resultType` means.
    Complete,
    /// The server wants something first: `input_required`.
    InputRequired,
    /// The call goes on, and this is its handle: `task`.
    Task,
    /// Any other `resultType`.
    Other,
}

/// Whether `result` is the final answer.
pub fn completeness(result: Value<'_>) -> Completeness {
    match result.get("resultType") {
        None => Completeness::Complete,
        Some(kind) => match kind.as_str().as_deref() {
            Some("complete") => Completeness::Complete,
            Some("input_required") => Completeness::InputRequired,
            Some("task") => Completeness::Task,
            _ => Completeness::Other,
        },
    }
}

/// `result` as a client of `era` expects it. `cacheable` says that results of this
/// method carry `ttlMs` and `cacheScope` in the modern era.
pub fn result_for<'a>(era: Era, result: Value<'a>, cacheable: bool) -> Cow<'a, str> {
    match era {
        Era::Modern => {
            let mut add = String::new();
            if result.get("resultType").is_none() {
                add.push_str(r#""resultType":"complete""#);
            }
            // A server that promises nothing is taken at its word: stale at once.
            if cacheable && result.get("ttlMs").is_none() {
                if !add.is_empty() {
                    add.push(',');
                }
                add.push_str(r#""ttlMs":0,"cacheScope":"private""#);
                return splice(result, &["cacheScope"], &add);
            }
            splice(result, &[], &add)
        }
        Era::Legacy => splice(result, &MODERN_ONLY, ""),
    }
}

/// `object` without the members `drop` and with the members `add` (JSON text) in
/// front. Borrowed when there is nothing to do.
pub fn splice<'a>(object: Value<'a>, drop: &[&str], add: &str) -> Cow<'a, str> {
    let dropped = !drop.is_empty() && object.members().any(|(key, _)| drop.contains(&key.as_ref()));
    if add.is_empty() && !dropped {
        return Cow::Borrowed(object.raw());
    }
    let mut out = String::with_capacity(object.span().len() + add.len() + 2);
    out.push('{');
    out.push_str(add);
    for (key, value) in object.members().filter(|(key, _)| !drop.contains(&key.as_ref())) {
        if out.len() > 1 {
            out.push(',');
        }
        push_string(&mut out, &key);
        out.push(':');
        out.push_str(value.raw());
    }
    out.push('}');
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits};

    use super::*;

    #[test]
    fn members_are_added_and_taken_away_at_the_top_only() {
        let modern = r#"{"resultType":"complete","content":[{"ttlMs":1}],"ttlMs":5,"cacheScope":"public"}"#;
        let cases = [
            (Era::Legacy, false, modern, r#"{"content":[{"ttlMs":1}]}"#),
            (Era::Legacy, false, r#"{ "content":[] }"#, r#"{ "content":[] }"#),
            (Era::Modern, false, r#"{"content":[]}"#, r#"{"resultType":"complete","content":[]}"#),
            (
                Era::Modern,
                true,
                r#"{"contents":[]}"#,
                r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","contents":[]}"#,
            ),
            (Era::Modern, true, modern, modern),
            (Era::Modern, false, "{}", r#"{"resultType":"complete"}"#),
        ];
        for (era, cacheable, result, expected) in cases {
            let document = Document::parse(Bytes::from(result), &Limits::default()).expect("valid");
            assert_eq!(result_for(era, document.root(), cacheable), expected);
        }
    }

    #[test]
    fn what_a_result_says_of_itself() {
        let cases = [
            (r#"{"content":[]}"#, Completeness::Complete),
            (r#"{"resultType":"complete"}"#, Completeness::Complete),
            (r#"{"resultType":"input_required"}"#, Completeness::InputRequired),
            (r#"{"resultType":"task"}"#, Completeness::Task),
            (r#"{"resultType":"other"}"#, Completeness::Other),
            (r#"{"resultType":7}"#, Completeness::Other),
        ];
        for (text, expected) in cases {
            let document = Document::parse(Bytes::from(text), &Limits::default()).expect("valid");
            assert_eq!(completeness(document.root()), expected, "{text}");
        }
    }
}
