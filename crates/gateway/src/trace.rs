//! Trace context (W3C Trace Context, level 1): taken from the caller, handed on.

use doorward_model::CallId;
use doorward_model::json::push_hex;

/// The trace that a call belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 lower-case hexadecimal digits.
    pub id: String,
    /// 16 digits: the span of the caller, when it named one.
    pub parent: Option<String>,
    /// Whether the trace is recorded, as far as anybody has said.
    pub sampled: bool,
    /// `tracestate` as received.
    pub state: Option<String>,
}

impl Trace {
    /// The trace named by a `traceparent`, or a new one that takes its id from the
    /// call: a UUIDv7 is as unique as a trace id has to be.
    pub fn of(call: CallId, traceparent: Option<&str>, tracestate: Option<&str>) -> Self {
        if let Some((id, parent, sampled)) = traceparent.and_then(read) {
            let state = tracestate.filter(|state| state.len() <= 512).map(str::to_owned);
            return Self { id: id.to_owned(), parent: Some(parent.to_owned()), sampled, state };
        }
        Self { id: hex(call.as_bytes()), parent: None, sampled: true, state: None }
    }

    /// The `traceparent` for the server: its spans hang below [`relay_span`].
    pub fn child(&self, call: CallId) -> String {
        let span = hex(&relay_span(call));
        ["00-", &self.id, "-", &span, if self.sampled { "-01" } else { "-00" }].concat()
    }

    /// The id as bytes.
    pub fn id_bytes(&self) -> [u8; 16] {
        u128::from_str_radix(&self.id, 16).unwrap_or_default().to_be_bytes()
    }

    /// The span of the caller as bytes.
    pub fn parent_bytes(&self) -> Option<[u8; 8]> {
        let parent = u64::from_str_radix(self.parent.as_deref()?, 16).ok()?;
        Some(parent.to_be_bytes())
    }
}

/// The span id of the time that a call spends at its server: the random half of
/// its id, whose first bit is always set, so that it is never zero.
pub fn relay_span(call: CallId) -> [u8; 8] {
    let [.., a, b, c, d, e, f, g, h] = *call.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The span id of the call itself: the same but for its last bit.
pub fn own_span(call: CallId) -> [u8; 8] {
    let mut span = relay_span(call);
    span[7] ^= 1;
    span
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

fn read(text: &str) -> Option<(&str, &str, bool)> {
    let mut parts = text.split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    let zero = |text: &str| text.bytes().all(|c| c == b'0');
    let valid = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && is_hex(id, 32)
        && !zero(id)
        && is_hex(parent, 16)
        && !zero(parent)
        && is_hex(flags, 2);
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    valid.then_some((id, parent, sampled))
}

#[cfg(test)]
mod tests {
    use doorward_model::Timestamp;
    use doorward_model::clock::Fixed;

    use super::*;

    #[test]
    fn a_wellformed_parent_is_continued_and_anything_else_starts_anew() {
        let call = CallId::new(Timestamp::from_micros(1_700_000_000_000_000), &Fixed::new(1));
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::of(call, Some(parent), Some("a=b"));
        assert_eq!(trace.id, "4bf92f3577b34da6a3ce929d0e0e4736");
        let random_half = &call.to_string().replace('-', "")[16..];
        assert_eq!(trace.child(call), format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{random_half}-01"));
        assert_eq!(trace.id_bytes()[..3], [0x4b, 0xf9, 0x2f]);
        assert_eq!(trace.parent_bytes(), Some([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
        assert_ne!(own_span(call), relay_span(call));
        let malformed = [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ];
        for text in malformed {
            let trace = Trace::of(call, Some(text), Some("a=b"));
            assert_eq!((trace.parent, trace.state), (None, None), "{text}");
            assert_eq!(trace.id, call.to_string().replace('-', ""), "{text}");
        }
    }
}
