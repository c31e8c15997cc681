//! Sealing: AES-256-GCM-SIV (RFC 8452), which forgives a nonce that is used twice.
//!
//! ```text
//! version 1 (1 byte) ‖ which key (4) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! The first five bytes and the context are authenticated with the text. Which key it
//! was, is told by the beginning of the key's SHA-256, so that another key is not taken
//! for an alteration.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use doorward_model::{Seal, SealError};

/// Bytes of a key.
pub(crate) const KEY_LENGTH: usize = 32;
const VERSION: u8 = 1;
const WHICH: usize = 4;
const HEAD: usize = 1 + WHICH;

/// Seals and opens with one key.
pub struct Sealer {
    key: LessSafeKey,
    which: [u8; WHICH],
    fingerprint: [u8; 32],
}

/// What is hashed before the key, so that the hash is of use for nothing else.
const FINGERPRINT: &[u8] = b"doorward seal key\n";

impl Sealer {
    pub(crate) fn new(key: &[u8; KEY_LENGTH]) -> Self {
        let mut which = [0; WHICH];
        which.copy_from_slice(&digest(&SHA256, key).as_ref()[..WHICH]);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, &[FINGERPRINT, key].concat()).as_ref());
        let key = UnboundKey::new(&AES_256_GCM_SIV, key).expect("the key has the cipher's length");
        Self { key: LessSafeKey::new(key), which, fingerprint }
    }

    fn head(&self) -> [u8; HEAD] {
        let mut head = [VERSION; HEAD];
        head[1..].copy_from_slice(&self.which);
        head
    }
}

/// What is authenticated beside the text.
fn beside(head: [u8; HEAD], context: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([&head[..], context].concat())
}

impl Seal for Sealer {
    fn seal(&self, context: &[u8], clear: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Failed)?;
        let head = self.head();
        let mut text = clear.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), beside(head, context), &mut text)
            .map_err(|_| SealError::Failed)?;
        Ok([&head[..], &nonce, &text].concat())
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (head, rest) = sealed.split_first_chunk::<HEAD>().ok_or(SealError::Unknown)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Unknown)?;
        if head[0] != VERSION {
            return Err(SealError::Unknown);
        }
        if *head != self.head() {
            return Err(SealError::OtherKey);
        }
        let mut text = text.to_vec();
        let clear = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), beside(*head, context), &mut text)
            .map_err(|_| SealError::Altered)?
            .len();
        text.truncate(clear);
        Ok(text)
    }

    fn fingerprint(&self) -> Option<[u8; 32]> {
        Some(self.fingerprint)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_one_key() {
        let of = |byte| Sealer::new(&[byte; KEY_LENGTH]).fingerprint();
        assert!(of(1) == of(1) && of(1) != of(2) && of(1).is_some());
    }

    proptest! {
        #[test]
        fn only_the_same_key_and_context_open_what_was_sealed(
            clear in prop::collection::vec(any::<u8>(), 0..200),
            context in prop::collection::vec(any::<u8>(), 0..20),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let sealer = Sealer::new(&[7; KEY_LENGTH]);
            let sealed = sealer.seal(&context, &clear).expect("sealed");
            prop_assert_eq!(sealer.open(&context, &sealed), Ok(clear.clone()));
            prop_assert_eq!(sealer.open(b"another context, longer than any", &sealed), Err(SealError::Altered));
            prop_assert_eq!(Sealer::new(&[8; KEY_LENGTH]).open(&context, &sealed), Err(SealError::OtherKey));
            let mut altered = sealed.clone();
            altered[at.index(sealed.len())] ^= 1 << bit;
            prop_assert!(sealer.open(&context, &altered).is_err());
            prop_assert!(sealer.open(&context, &sealed[..sealed.len() - 1]).is_err());
            prop_assert_ne!(sealer.seal(&context, &clear).expect("sealed"), sealed, "no two alike");
            if clear.len() > 8 {
                prop_assert!(!altered.windows(clear.len()).any(|part| part == clear));
            }
        }
    }
}
