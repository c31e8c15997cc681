//! A message and its canonical form: what the product lets past, everybody reads alike.

#![no_main]

use bytes::Bytes;
use doorward_fuzz::{Plain, READERS};
use doorward_model::json::{Document, Kind, Limits, Numbers, Value, canonical};
use doorward_wire::message::Message;
use doorward_wire::meta::Meta;
use libfuzzer_sys::fuzz_target;

/// Below what the least patient of the other parsers takes.
const LIMITS: Limits = Limits { depth: 100, values: 100_000, index_depth: 100, numbers: Numbers::Safe };
const EXACT: Limits = Limits { numbers: Numbers::Exact, ..LIMITS };

/// What the members of a message may be called.
const KNOWN: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    spelling(&bytes);
    let Ok(document) = Document::parse(bytes.clone(), &LIMITS) else { return };
    let ours = Plain::of(document.root());
    let canonical = canonical(document.root());
    for (name, read) in READERS {
        for text in [&bytes[..], canonical.as_bytes()] {
            let Some(theirs) = read(text) else {
                // Some give up on uncommon numbers, which harms nobody.
                assert!(has_uncommon_number(document.root()), "{name} refuses it");
                continue;
            };
            assert!(agree(&ours, &theirs), "{name} reads {theirs:?}, the product {ours:?}");
        }
    }
    if let Ok(message) = Message::read(&document) {
        for (key, _) in document.root().members() {
            let other_case = KNOWN.iter().any(|known| *known != key && known.eq_ignore_ascii_case(&key));
            assert!(!other_case, "a key in another case was let past: {key}");
        }
        if let Message::Request(request) = message {
            let _ = Meta::read(request.params);
        }
    }
});

/// Whether there is a number with many digits, or an exponent.
fn has_uncommon_number(value: Value<'_>) -> bool {
    let is_uncommon =
        value.kind() == Kind::Number && (value.raw().len() > 15 || value.raw().contains(['e', 'E']));
    let mut inner = value.members().map(|(_, value)| value).chain(value.items());
    is_uncommon || inner.any(has_uncommon_number)
}

/// The canonical form is JSON, means the same and is its own canonical form, whatever the
/// numbers.
fn spelling(bytes: &Bytes) {
    let Ok(document) = Document::parse(bytes.clone(), &EXACT) else { return };
    let once = canonical(document.root());
    let again = Document::parse(Bytes::from(once.clone()), &EXACT).expect("canonical JSON is JSON");
    assert_eq!(canonical(again.root()), once);
    assert!(agree(&Plain::of(document.root()), &Plain::of(again.root())));
}

/// Whether two values are the same. Parsers round the last digit as they like of what is no
/// integer that all of them hold.
fn agree(one: &Plain, other: &Plain) -> bool {
    match (one, other) {
        (Plain::Number(one), Plain::Number(other)) => {
            let is_rounded = one.fract() != 0.0 || other.fract() != 0.0 || one.abs() > 1e15;
            one == other || (is_rounded && ((one - other) / one).abs() < 1e-12) || one.abs() < 1e-300
        }
        (Plain::List(one), Plain::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| agree(one, other))
        }
        (Plain::Object(one), Plain::Object(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|((key, one), (same, other))| key == same && agree(one, other))
        }
        (one, other) => one == other,
    }
}
