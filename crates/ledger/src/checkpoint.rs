//! Checkpoints: signed tree heads, in the C2SP formats tlog-checkpoint and signed-note.
//!
//! ```text
//! <origin>
//! <number of entries>
//! <base64 root>
//! time <RFC 3339>
//!
//! — <origin> <base64 of key hash (4 bytes) ‖ Ed25519 signature>
//! ```

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_model::Timestamp;

use crate::merkle::Hash;

/// A tree head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log.
    pub origin: String,
    /// How many entries it covers.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// When it was made.
    pub time: String,
}

const ED25519_NOTE: u8 = 0x01;
/// Bytes of the longest name of a log.
const LONGEST_ORIGIN: usize = 200;

fn key_hash(name: &str, public: &[u8]) -> [u8; 4] {
    let mut context = Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(b"\n");
    context.update(&[ED25519_NOTE]);
    context.update(public);
    let mut hash = [0; 4];
    hash.copy_from_slice(&context.finish().as_ref()[..4]);
    hash
}

/// Whether a signed note can carry this name: none is empty, and a plus sign, white space or
/// a line end would end it.
pub fn is_origin(name: &str) -> bool {
    let ends = |character: char| character == '+' || character.is_whitespace() || character.is_control();
    !name.is_empty() && name.len() <= LONGEST_ORIGIN && !name.contains(ends)
}

/// Whether this is a verifier key in its one spelling: `<name>+<hash>+<base64>`, where the
/// hash is that of the name and the key.
pub fn is_verifier_key(text: &str) -> bool {
    public_key(text).is_some()
}

/// The public key as a signed-note verifier key: `<name>+<hash>+<base64>`.
pub(crate) fn verifier_key(name: &str, key: &Ed25519KeyPair) -> String {
    spelled(name, key.public_key().as_ref())
}

fn spelled(name: &str, public: &[u8]) -> String {
    let hash = u32::from_be_bytes(key_hash(name, public));
    let mut typed = vec![ED25519_NOTE];
    typed.extend_from_slice(public);
    format!("{name}+{hash:08x}+{}", STANDARD.encode(typed))
}

/// The name and the key of a verifier key; `None` for any other spelling than ours.
fn public_key(verifier: &str) -> Option<(&str, Vec<u8>)> {
    let (name, rest) = verifier.split_once('+')?;
    let (_, encoded) = rest.split_once('+')?;
    let typed = STANDARD.decode(encoded).ok()?;
    let public = typed.strip_prefix(&[ED25519_NOTE])?.to_vec();
    (is_origin(name) && spelled(name, &public) == verifier).then_some((name, public))
}

impl Checkpoint {
    pub(crate) fn new(origin: &str, size: u64, root: Hash, time: Timestamp) -> Self {
        Self { origin: origin.to_owned(), size, root, time: time.to_string() }
    }

    fn body(&self) -> String {
        format!("{}\n{}\n{}\ntime {}\n", self.origin, self.size, STANDARD.encode(self.root), self.time)
    }

    /// The signed note.
    pub(crate) fn sign(&self, key: &Ed25519KeyPair) -> String {
        let body = self.body();
        let mut signature = key_hash(&self.origin, key.public_key().as_ref()).to_vec();
        signature.extend_from_slice(key.sign(body.as_bytes()).as_ref());
        format!("{body}\n— {} {}\n", self.origin, STANDARD.encode(signature))
    }

    /// Reads a note and checks its signature with a verifier key.
    ///
    /// Returns `None` for anything but a checkpoint signed by that key, in its one spelling:
    /// nothing stands behind the signature.
    pub fn open(note: &str, verifier: &str) -> Option<Self> {
        let (name, public) = public_key(verifier)?;
        let (body, signed) = note.split_once("\n\n")?;
        let body = format!("{body}\n");
        let line = signed.strip_prefix("— ")?.strip_prefix(name)?.strip_prefix(' ')?.strip_suffix('\n')?;
        let signature = STANDARD.decode(line).ok()?;
        let (hash, signature) = signature.split_at_checked(4)?;
        if hash != key_hash(name, &public) {
            return None;
        }
        UnparsedPublicKey::new(&ED25519, &public).verify(body.as_bytes(), signature).ok()?;
        let mut lines = body.lines();
        let checkpoint = Self {
            origin: lines.next()?.to_owned(),
            size: lines.next()?.parse().ok()?,
            root: STANDARD.decode(lines.next()?).ok()?.try_into().ok()?,
            time: lines.next()?.strip_prefix("time ")?.to_owned(),
        };
        (checkpoint.origin == name && checkpoint.body() == body).then_some(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    fn key() -> Ed25519KeyPair {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key")
    }

    #[test]
    fn a_checkpoint_opens_with_its_own_key_and_unaltered_only() {
        let (ours, theirs) = (key(), key());
        let checkpoint = Checkpoint::new("gate.example/log", 42, [7; 32], Timestamp::from_micros(1_000_000));
        let note = checkpoint.sign(&ours);
        let verifier = verifier_key("gate.example/log", &ours);
        assert_eq!(Checkpoint::open(&note, &verifier), Some(checkpoint));
        assert_eq!(Checkpoint::open(&note, &verifier_key("gate.example/log", &theirs)), None);
        assert_eq!(Checkpoint::open(&note, &verifier_key("other.example/log", &ours)), None);
        for at in (0..note.len()).filter(|at| note.is_char_boundary(*at)) {
            let mut altered = note.clone().into_bytes();
            altered[at] ^= 1;
            if let Ok(altered) = String::from_utf8(altered) {
                assert_eq!(Checkpoint::open(&altered, &verifier), None, "byte {at}");
            }
        }
    }

    #[test]
    fn a_note_and_a_verifier_key_have_one_spelling() {
        let key = key();
        let note = Checkpoint::new("log", 42, [7; 32], Timestamp::from_micros(1_000_000)).sign(&key);
        let verifier = verifier_key("log", &key);
        assert!(is_verifier_key(&verifier));
        let signature = note.lines().last().expect("a signature");
        for other in [
            format!("{note}more\n"),
            format!("{note}\n"),
            format!("{note}{signature}\n"),
            note.trim_end().to_owned(),
            note.replace("\n42\n", "\n+42\n"),
            note.replace("\n42\n", "\n042\n"),
            note.replace('—', "–"),
            note.replace("— log", "— \u{6c}og "),
        ] {
            assert_eq!(Checkpoint::open(&other, &verifier), None, "{other:?}");
        }
        let (name, rest) = verifier.split_once('+').expect("a name");
        let (hash, public) = rest.split_once('+').expect("a hash");
        let wrong = if hash == "00000000" { "00000001" } else { "00000000" };
        for other in [
            format!("{name}+{wrong}+{public}"),
            format!("{name}+0{hash}+{public}"),
            format!("{name}++{public}"),
            format!("{name}+{hash}+{public}="),
            format!("{verifier}\n"),
            format!("other+{hash}+{public}"),
        ] {
            assert!(!is_verifier_key(&other), "{other}");
            assert_eq!(Checkpoint::open(&note, &other), None, "{other}");
        }
    }

    #[test]
    fn a_log_has_a_name_that_a_note_can_carry() {
        let cases = [
            // name               fits   because
            ("gate.example/log", true, "usual"),
            ("ümläut", true, "letters"),
            ("", false, "nothing"),
            ("a b", false, "a space ends the name in a signature"),
            ("a\u{a0}b", false, "any white space"),
            ("a+b", false, "a plus sign ends the name in a key"),
            ("a\nb", false, "a line end"),
            ("a\u{7}b", false, "a control character"),
        ];
        for (name, fits, because) in cases {
            assert_eq!(is_origin(name), fits, "{because}: {name:?}");
        }
        assert!(!is_origin(&"x".repeat(LONGEST_ORIGIN + 1)));
    }
}
