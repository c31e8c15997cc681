//! Ids that carry their invariant: checked once, on the way in.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Random;
use crate::time::Timestamp;

/// A registered server, spelled as in configuration and in policy.
///
/// Invariant: `[A-Za-z0-9][A-Za-z0-9_-]{0,62}`, so `_gateway` can never be one. A
/// [plain](Self::is_plain) id is what should be written. The others are what
/// PetrefiedThunder/mcp-gateway takes as well; in names that the gateway makes, such as
/// `server__tool`, [another spelling](Self::in_names) stands for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerId(Arc<str>);

/// A text that cannot name a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be a server id: use 1 to 63 of a-z, 0-9 and `-`, starting with a letter or digit")]
pub struct InvalidServerId(pub String);

impl ServerId {
    /// Longest accepted id, in bytes.
    pub const MAX_LEN: usize = 63;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it consists of a-z, 0-9 and `-` alone. Then it never holds `_`, and
    /// `server__tool` splits in exactly one place.
    pub fn is_plain(&self) -> bool {
        self.0.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    }

    /// The plain id that stands for it in names of the gateway's making: itself if it is plain;
    /// else lower case, with one dash for whatever lies between letters and digits.
    pub fn in_names(&self) -> Cow<'_, str> {
        if self.is_plain() {
            return Cow::Borrowed(&self.0);
        }
        let lower = self.0.to_ascii_lowercase();
        let parts: Vec<_> = lower.split(['_', '-']).filter(|part| !part.is_empty()).collect();
        Cow::Owned(parts.join("-"))
    }
}

impl TryFrom<&str> for ServerId {
    type Error = InvalidServerId;

    fn try_from(text: &str) -> Result<Self, InvalidServerId> {
        let fits = match text.as_bytes() {
            [first, rest @ ..] => {
                first.is_ascii_alphanumeric()
                    && rest.len() < Self::MAX_LEN
                    && rest.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
            }
            [] => false,
        };
        if fits { Ok(Self(text.into())) } else { Err(InvalidServerId(text.to_owned())) }
    }
}

impl TryFrom<String> for ServerId {
    type Error = InvalidServerId;

    fn try_from(text: String) -> Result<Self, InvalidServerId> {
        Self::try_from(text.as_str())
    }
}

impl From<ServerId> for String {
    fn from(id: ServerId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ServerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// One call, from its decision to its outcome: a UUIDv7 (RFC 9562, section 5.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId([u8; 16]);

impl CallId {
    /// Makes the id of a call received at `now`.
    pub fn new(now: Timestamp, random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes[6..]);
        let millis = now.as_micros() / 1_000;
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// The 16 bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the 36-character form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let mut digits = text.bytes().enumerate().filter_map(|(at, c)| match (at, c) {
            (8 | 13 | 18 | 23, b'-') => None,
            _ => Some(char::from(c).to_digit(16)),
        });
        if text.len() != 36 {
            return None;
        }
        for byte in &mut bytes {
            let (high, low) = (digits.next()??, digits.next()??);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        digits.next().is_none().then_some(Self(bytes))
    }

    /// The 36 ASCII characters of the usual form.
    pub fn to_ascii(&self) -> [u8; 36] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ascii = self.to_ascii();
        f.write_str(std::str::from_utf8(&ascii).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Fixed;

    #[test]
    fn a_server_id_has_a_plain_spelling_for_names() {
        let longest = "a".repeat(63);
        let too_long = "a".repeat(64);
        let cases = [
            // text              in names                because
            ("git-hub-2", Some("git-hub-2"), "digits and a dash"),
            ("0", Some("0"), "one digit"),
            (longest.as_str(), Some(longest.as_str()), "63 bytes"),
            (too_long.as_str(), None, "64 bytes"),
            ("", None, "empty"),
            ("-a", None, "starts with a dash"),
            ("a--b-", Some("a--b-"), "dashes are plain"),
            ("_gateway", None, "reserved for the gateway itself"),
            ("git__hub", Some("git-hub"), "holds the separator"),
            ("mcp_fred", Some("mcp-fred"), "an underscore"),
            ("My_-Server_", Some("my-server"), "one dash in between, none at the end"),
            ("GitHub", Some("github"), "upper case"),
            ("a b", None, "a blank"),
            ("a.b", None, "a dot"),
            ("gît", None, "not ASCII"),
        ];
        for (text, expected, because) in cases {
            let id = ServerId::try_from(text).ok();
            let name = id.as_ref().map(ServerId::in_names);
            assert_eq!(name.as_deref(), expected, "{because}: {text:?}");
            let is_its_own = id.is_some_and(|id| id.is_plain());
            assert_eq!(is_its_own, expected == Some(text), "{because}: {text:?}");
        }
    }

    #[test]
    fn a_call_id_carries_its_time_and_reads_back() {
        let id = CallId::new(Timestamp::from_micros(1_700_000_000_123_456), &Fixed::new(7));
        let text = id.to_string();
        assert!(text.starts_with("018bcfe5-687b-7"), "{text}");
        assert_eq!(CallId::parse(&text), Some(id));
        assert_eq!(CallId::parse("018bcfe5-687b-7"), None);
        assert_eq!(CallId::parse(&text.replace('-', "0")), None);
    }
}
