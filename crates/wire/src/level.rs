//! What a newer revision says, in words that an older one has.
//!
//! Nothing is ever added that was not said: what an older client cannot understand is
//! said more plainly or left out.

mod absent;
mod definition;
mod question;
mod result;

pub use absent::without_nulls;
pub use definition::definition;
pub use question::question;
pub use result::{differs, result};

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, push_string};

/// Reads a whole text that may have been indexed less deeply before.
fn read(text: &str) -> Option<Document> {
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    Document::parse(Bytes::copy_from_slice(text.as_bytes()), &limits).ok()
}

fn is(value: Value<'_>, key: &str, text: &str) -> bool {
    value.get(key).and_then(Value::as_str).as_deref() == Some(text)
}

/// A block of text.
fn text_block(text: &str) -> String {
    let mut out = String::from(r#"{"type":"text","text":"#);
    push_string(&mut out, text);
    out.push('}');
    out
}
