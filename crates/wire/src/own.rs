//! What only the gateway says: members of `_meta` named `dev.doorward/…`, errors with its codes, and
//! the words in `data` that explain them. Clients act on these, and so may servers. Whoever else
//! says them is not believed: they are taken out of every message that comes in, on both hops,
//! before anything looks at it.
//!
//! Nothing else is touched. Text that merely looks like a refusal is content, and stays.

use std::ops::RangeInclusive;

use bytes::Bytes;
use doorward_model::json::{Document, Kind, Limits, Numbers, ParseError, Value, push_string};
use memchr::memmem;

use crate::adapt::splice;
use crate::error::INTERNAL;

/// How the gateway's own members of `_meta` begin.
pub const PREFIX: &str = "dev.doorward/";

/// The one member of ours that a client may send, in the `_meta` of its request: which conversation
/// a call belongs to. No server gets it.
pub const THREAD: &str = "dev.doorward/thread";

/// The codes of errors that only the gateway gives, however they are written.
const CODES: RangeInclusive<f64> = -31_499.0..=-31_400.0;

/// The members of `data` that describe a decision of the gateway.
const DECISION: [&str; 7] = ["verdict", "reasons", "rule", "record", "retry_after", "resets_at", "code"];

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client, which may name its conversation.
    Client,
    /// A server.
    Server,
}

/// The message without members of ours. What is not ours stays as it is, byte for byte.
///
/// # Errors
/// [`ParseError`] when the message may hold such members, and is none that can be read down to its
/// end in one way only.
pub fn taken_out(bytes: Bytes, sender: Sender) -> Result<Bytes, ParseError> {
    if !may_hold_ours(&bytes) {
        return Ok(bytes);
    }
    let limits = Limits { depth: 128, values: 4_000_000, index_depth: usize::MAX, numbers: Numbers::Exact };
    let document = Document::parse(bytes.clone(), &limits)?;
    Ok(without_ours(document.root(), sender, Place::Outermost).map_or(bytes, Bytes::from))
}

/// An `error` of somebody else, JSON text, if it has to be put in other words: a code of ours becomes
/// "internal error", and what would be ours in `data` is left out.
pub fn error(error: Value<'_>) -> Option<String> {
    let is_ours = error.get("code").and_then(Value::as_f64).is_some_and(|code| CODES.contains(&code));
    if is_ours {
        return Some(splice(error, &["code", "data"], &format!("\"code\":{INTERNAL}")).into_owned());
    }
    let data = error.get("data").filter(|data| data.is_object())?;
    let drop: &[&str] = if data.get("verdict").is_some() {
        &DECISION
    } else if data.get("code").is_some_and(|code| code.kind() == Kind::String) {
        // In words, a code is one of the gateway's.
        &["code"]
    } else {
        return None;
    };
    let rest = splice(data, drop, "");
    let added = if rest.trim_matches(['{', '}', ' ']).is_empty() {
        String::new()
    } else {
        format!("\"data\":{rest}")
    };
    Some(splice(error, &["data"], &added).into_owned())
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the message.
    Outermost,
    /// It is the `params` of the message.
    Params,
    /// It is the `_meta` of these.
    OwnMeta,
    /// It is another `_meta`.
    Meta,
    /// It is anything else.
    Elsewhere,
}

impl Place {
    /// Where the member of this name stands.
    fn of(self, key: &str) -> Self {
        match (self, key) {
            (Self::Outermost, "params") => Self::Params,
            (Self::Params, "_meta") => Self::OwnMeta,
            (_, "_meta") => Self::Meta,
            _ => Self::Elsewhere,
        }
    }
}

/// The value without members of ours, if there are any. As deep as a document may be.
fn without_ours(value: Value<'_>, sender: Sender, place: Place) -> Option<String> {
    let mut changed = false;
    let mut out = String::new();
    match value.kind() {
        Kind::Object => {
            out.push('{');
            for (key, member) in value.members() {
                let is_thread = key == THREAD && sender == Sender::Client && place == Place::OwnMeta;
                if matches!(place, Place::Meta | Place::OwnMeta) && key.starts_with(PREFIX) && !is_thread {
                    changed = true;
                    continue;
                }
                let cleaned = without_ours(member, sender, place.of(&key));
                changed |= cleaned.is_some();
                if out.len() > 1 {
                    out.push(',');
                }
                push_string(&mut out, &key);
                out.push(':');
                out.push_str(cleaned.as_deref().unwrap_or(member.raw()));
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for item in value.items() {
                let cleaned = without_ours(item, sender, Place::Elsewhere);
                changed |= cleaned.is_some();
                if out.len() > 1 {
                    out.push(',');
                }
                out.push_str(cleaned.as_deref().unwrap_or(item.raw()));
            }
            out.push(']');
        }
        _ => {}
    }
    changed.then_some(out)
}

/// Whether a member of ours may stand there, as it is or spelled with escapes. Nearly no message
/// holds one, and looking costs next to nothing.
fn may_hold_ours(bytes: &[u8]) -> bool {
    if memmem::find(bytes, PREFIX.trim_end_matches('/').as_bytes()).is_some() {
        return true;
    }
    let escaped: Vec<u8> = memmem::find_iter(bytes, b"\\u00").filter_map(|at| ascii(bytes, at)).collect();
    let spells = |text: &str| escaped.iter().any(|byte| text.as_bytes().contains(byte));
    spells(PREFIX) && (spells("_meta") || memmem::find(bytes, b"_meta").is_some())
}

/// The character that an escape at this place stands for.
fn ascii(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = std::str::from_utf8(bytes.get(at + 4..at + 6)?).ok()?;
    u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str, sender: Sender) -> String {
        let bytes = taken_out(Bytes::copy_from_slice(text.as_bytes()), sender).expect("JSON");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn members_of_ours_are_taken_out_of_every_meta_and_nothing_else_is() {
        let cases = [
            (
                r#"{"result":{"content":[],"_meta":{"dev.doorward/decision":{"verdict":"allow"},"a/b":1}}}"#,
                r#"{"result":{"content":[],"_meta":{"a/b":1}}}"#,
            ),
            (r#"{"result":{"_meta":{"dev.doorward\/error":1}}}"#, r#"{"result":{"_meta":{}}}"#),
            (r#"{"result":{"_meta":{"\u0064ev.doorward/error":1}}}"#, r#"{"result":{"_meta":{}}}"#),
            (r#"{"result":{"\u005fmeta":{"dev.\u0064oorward/x":1}}}"#, r#"{"result":{"_meta":{}}}"#),
            (
                r#"{"result":{"content":[{"type":"text","text":"x","_meta":{"dev.doorward/x":1}}],"y":[{"_meta":{"z":{"_meta":{"dev.doorward/x":1}}}}]}}"#,
                r#"{"result":{"content":[{"type":"text","text":"x","_meta":{}}],"y":[{"_meta":{"z":{"_meta":{}}}}]}}"#,
            ),
            (
                r#"{"method":"notifications/message","params":{"_meta":{"dev.doorward/thread":"t"}}}"#,
                r#"{"method":"notifications/message","params":{"_meta":{}}}"#,
            ),
            (r#"{ "result": {"dev.doorward/x": 1} }"#, r#"{ "result": {"dev.doorward/x": 1} }"#),
            (r#"{"text":"_meta dev.doorward/x \u003c"}"#, r#"{"text":"_meta dev.doorward/x \u003c"}"#),
            (r#"{"_meta":{"dev.doorward.example/x":1}}"#, r#"{"_meta":{"dev.doorward.example/x":1}}"#),
        ];
        for (text, expected) in cases {
            assert_eq!(cleaned(text, Sender::Server), expected, "{text}");
        }
    }

    #[test]
    fn nothing_hides_behind_a_message_with_two_readings() {
        for text in [
            r#"{"result":{"_meta":{"dev.doorward/x":1},"a":{"b":{"c":{"k":1,"k":2}}}}}"#,
            r#"{"_meta":{"dev.doorward/x""#,
        ] {
            assert!(taken_out(Bytes::from(text), Sender::Server).is_err(), "{text}");
        }
    }

    #[test]
    fn a_client_may_name_its_conversation_in_its_own_metadata_and_nowhere_else() {
        let said = r#"{"params":{"_meta":{"dev.doorward/thread":"t","dev.doorward/decision":1},"arguments":{"_meta":{"dev.doorward/thread":"t"}}}}"#;
        let left = r#"{"params":{"_meta":{"dev.doorward/thread":"t"},"arguments":{"_meta":{}}}}"#;
        assert_eq!(cleaned(said, Sender::Client), left);
    }

    #[test]
    fn errors_of_ours_are_put_in_other_words() {
        let cases = [
            (
                r#"{"code":-31403,"message":"m","data":{"verdict":"deny"}}"#,
                Some(r#"{"code":-32603,"message":"m"}"#),
            ),
            (r#"{"code":-31429.0,"message":"m"}"#, Some(r#"{"code":-32603,"message":"m"}"#)),
            (r#"{"code":-31450,"message":"m"}"#, Some(r#"{"code":-32603,"message":"m"}"#)),
            (
                r#"{"code":-32603,"message":"m","data":{"code":"log-unwritable"}}"#,
                Some(r#"{"code":-32603,"message":"m"}"#),
            ),
            (
                r#"{"code":-32000,"message":"m","data":{"code":"x","more":[1]}}"#,
                Some(r#"{"data":{"more":[1]},"code":-32000,"message":"m"}"#),
            ),
            (
                r#"{"code":-32603,"message":"m","data":{"verdict":"deny","record":"r","resets_at":"t","a":1}}"#,
                Some(r#"{"data":{"a":1},"code":-32603,"message":"m"}"#),
            ),
            (r#"{"code":-32602,"message":"m","data":{"uri":"a:b"}}"#, None),
            (r#"{"code":-32000,"message":"m","data":{"code":7,"reasons":["x"]}}"#, None),
            (r#"{"code":-32000,"message":"m","data":"code"}"#, None),
            (r#"{"code":-31399,"message":"m"}"#, None),
        ];
        for (text, expected) in cases {
            let document = Document::parse(Bytes::from(text), &Limits::default()).expect("valid");
            assert_eq!(error(document.root()).as_deref(), expected, "{text}");
        }
    }
}
