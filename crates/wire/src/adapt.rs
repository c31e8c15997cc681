//! A result of one era in the shape of the other.
//!
//! Results are edited by splicing members of the outermost object; everything
//! inside stays as the server wrote it.

use std::borrow::Cow;

use doorward_model::json::{Kind, Value, push_string};

use crate::era::Era;

/// Members that only results of 2026-07-28 have.
const MODERN_ONLY: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

/// How long a client may keep a result at most, in milliseconds. Until then it does not ask
/// again, and so does not hear that its right to the result has ended.
const LONGEST_KEPT: f64 = 3_600_000.0;

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
    match result.get("resultType").filter(|kind| !kind.is_null()) {
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
            // By itself, `ttlMs` may be what a task says of its own time.
            if !cacheable && result.get("cacheScope").is_none() {
                return splice(result, &[], &add);
            }
            if !add.is_empty() {
                add.push(',');
            }
            add.push_str(&caching(result));
            splice(result, &["ttlMs", "cacheScope"], &add)
        }
        Era::Legacy => splice(result, &MODERN_ONLY, ""),
    }
}

/// How a client may keep `result`, as JSON members. It was decided on for one caller, so no
/// cache may show it to another, whatever its server says. A server that promises nothing, or
/// nothing that can be meant, is taken to promise nothing: the result is stale at once.
pub fn caching(result: Value<'_>) -> String {
    let number = result.get("ttlMs").filter(|told| told.kind() == Kind::Number);
    let promised = number.and_then(|number| number.raw().parse::<f64>().ok());
    let whole = promised.filter(|promised| promised.is_finite() && promised.fract() == 0.0);
    // Within bounds that any integer has room for; without the sign that a zero may have.
    let kept = whole.unwrap_or_default().clamp(0.0, LONGEST_KEPT) as u64;
    format!(r#""ttlMs":{kept},"cacheScope":"private""#)
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
    use doorward_model::json::{Document, Limits, Numbers};

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
            (
                Era::Modern,
                true,
                modern,
                r#"{"ttlMs":5,"cacheScope":"private","resultType":"complete","content":[{"ttlMs":1}]}"#,
            ),
            (
                Era::Modern,
                false,
                r#"{"resultType":"complete","cacheScope":"public"}"#,
                r#"{"ttlMs":0,"cacheScope":"private","resultType":"complete"}"#,
            ),
            (
                Era::Modern,
                false,
                r#"{"resultType":"task","ttlMs":null}"#,
                r#"{"resultType":"task","ttlMs":null}"#,
            ),
            (Era::Modern, false, "{}", r#"{"resultType":"complete"}"#),
        ];
        for (era, cacheable, result, expected) in cases {
            let document = Document::parse(Bytes::from(result), &Limits::default()).expect("valid");
            assert_eq!(result_for(era, document.root(), cacheable), expected);
        }
    }

    #[test]
    fn whatever_a_server_says_a_result_is_kept_for_one_caller_and_an_hour_at_most() {
        let cases = [
            ("60000", 60_000, "within bounds"),
            ("3600001", 3_600_000, "an hour and a bit"),
            ("9000000000000000", 3_600_000, "nearly for ever"),
            ("9e15", 3_600_000, "the same"),
            ("-5", 0, "before it was made"),
            ("-0.0", 0, "as little"),
            ("\"x\"", 0, "a text"),
            ("1.5", 0, "half a millisecond"),
            ("null", 0, "nothing"),
        ];
        for (told, expected, because) in cases {
            let result = format!(r#"{{"resultType":"complete","ttlMs":{told},"cacheScope":"public"}}"#);
            let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
            let document = Document::parse(Bytes::from(result), &limits).expect("valid");
            let expected =
                format!(r#"{{"ttlMs":{expected},"cacheScope":"private","resultType":"complete"}}"#);
            assert_eq!(result_for(Era::Modern, document.root(), true), expected, "{because}: {told}");
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
