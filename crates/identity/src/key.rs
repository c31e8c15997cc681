//! Keys: how they are made, stored and recognised.
//!
//! A key is 256 random bits, so its plain SHA-256 is as hard to reverse as the key
//! is to guess; a slow password hash would only make every call slow.

use aws_lc_rs::digest::{SHA256, digest};
use doorward_model::{Random, Secret};

/// What is kept of a key: the SHA-256 of the text that callers present.
///
/// Two are equal when the same text opens them, however they were written.
#[derive(Clone, Copy)]
pub struct StoredKey {
    digest: [u8; 32],
    hashed: bool,
}

impl StoredKey {
    /// Reads a configured key: `sha256:<64 hex>`, 64 bare hex digits, or the key itself.
    ///
    /// A text of 64 hex digits is always taken for a hash. That is what keeps a
    /// leaked configuration file from being a list of working keys.
    ///
    /// # Errors
    /// [`Damaged`] when it says that it is a hash and is none: taken for a key, it would open the
    /// gateway to whoever has read it.
    pub fn parse(text: &str) -> Result<Self, Damaged> {
        let is_hash = |scheme: &str| scheme.eq_ignore_ascii_case("sha256:");
        match text.trim_start().split_at_checked(7).filter(|(scheme, _)| is_hash(scheme)) {
            Some((_, hex)) => from_hex(hex).map(|digest| Self { digest, hashed: true }).ok_or(Damaged),
            None => Ok(match from_hex(text) {
                Some(digest) => Self { digest, hashed: true },
                None => Self { digest: sha256(text.as_bytes()), hashed: false },
            }),
        }
    }

    /// Whether only the hash was stored, as it should be.
    pub fn is_hashed(&self) -> bool {
        self.hashed
    }

    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// `sha256:` and the hash, as it is kept.
impl std::fmt::Display for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", to_hex(&self.digest))
    }
}

/// What begins with `sha256:` and is not the hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`sha256:` is followed by 64 hexadecimal digits, and here it is not")]
pub struct Damaged;

impl PartialEq for StoredKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for StoredKey {}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

/// Makes a key: `gw_` and 64 hex digits.
///
/// Returns the key, to be shown once, and what to store: the 64 hex digits of its SHA-256.
pub fn new_key(random: &dyn Random) -> (Secret, String) {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    let key = format!("gw_{}", to_hex(&bytes));
    let hash = to_hex(&sha256(key.as_bytes()));
    (Secret::new(key), hash)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).expect("four bits");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let bytes: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut out = [0; 32];
    for (pair, byte) in bytes.chunks_exact(2).zip(&mut out) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use doorward_model::clock::Fixed;

    use super::*;

    #[test]
    fn a_new_key_is_recognised_by_its_hash_and_by_nothing_else() {
        let (key, hash) = new_key(&Fixed::new(1));
        assert_eq!(key.expose().len(), 67);
        assert!(key.expose().starts_with("gw_"));
        assert_eq!(hash.len(), 64);
        let raw = StoredKey::parse(key.expose()).expect("a key");
        assert!(!raw.is_hashed());
        for stored in [hash.clone(), format!("sha256:{hash}"), hash.to_uppercase(), format!("SHA256:{hash}")]
        {
            let parsed = StoredKey::parse(&stored).expect("a hash");
            assert!(parsed.is_hashed(), "{stored}");
            assert_eq!(parsed.digest(), raw.digest(), "{stored}");
        }
        assert_ne!(sha256(hash.as_bytes()), *raw.digest(), "a hash is not a key");
    }

    #[test]
    fn what_is_almost_a_hash_is_a_key_and_never_if_it_says_that_it_is_a_hash() {
        for text in ["abc", &"g".repeat(64), &"a".repeat(63), "é", "sha512:abc", "sha256"] {
            assert!(StoredKey::parse(text).is_ok_and(|key| !key.is_hashed()), "{text}");
        }
        let (short, long, odd) = ("a".repeat(63), "a".repeat(65), "g".repeat(64));
        for rest in ["abc", "", &short, &long, &odd, &format!(" {}", "a".repeat(64))] {
            for scheme in ["sha256:", "SHA256:", " sha256:"] {
                assert_eq!(StoredKey::parse(&format!("{scheme}{rest}")), Err(Damaged), "{scheme}{rest}");
            }
        }
    }

    #[test]
    fn a_known_hash_is_computed() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = |text: &str| *StoredKey::parse(text).expect("a key").digest();
        assert_eq!(digest("abc"), digest(abc));
    }
}
