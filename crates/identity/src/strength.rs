//! Is this shared secret one that others know or can guess?
//!
//! Whoever has the secret of HS256 makes any token. So one that is too short, that stands in
//! public examples, or that says that it is to be replaced does not authenticate anybody.
//! A secret that passes is not thereby random: that cannot be seen.

/// Shortest secret for HS256 (RFC 7518, section 3.2), in bytes.
const SHORTEST: usize = 32;

/// Letters and digits that must be left of a secret without its words.
const LEAST_LEFT: usize = 10;

/// Fewest different bytes of a secret without a pattern.
const LEAST_DIFFERENT: usize = 8;

/// Secrets of documents and templates that consist of more than words.
const PUBLISHED: [&str; 6] = [
    // RFC 7515, appendix A.1
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    // RFC 7520, section 3.5
    "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
    // Tutorials of Spring
    "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
    "9a4f2c8d3b7a1e6f45c8a0b3f267d8b1d4e6f3c8a9d2b5f8e3a9c8b5f6v8a3d9",
    // The template of a chat client
    "16f8c0ef4a5d391b26034086c628469d3f9f497f08163ab9b40137092f2909ef",
    // A tutorial on FastAPI
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
];

/// What says that somebody is still to put a secret there, in lower case without signs.
const TO_REPLACE: [&str; 11] = [
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "replacewith",
    "placeholder",
    "yoursecret",
    "yourjwtsecret",
    "yoursupersecret",
    "yourownsecret",
];

/// Words that example secrets are made of, the longest first.
const WORDS: [&str; 57] = [
    "authentication",
    "application",
    "development",
    "placeholder",
    "replacement",
    "characters",
    "production",
    "character",
    "defaults",
    "generate",
    "insecure",
    "password",
    "sentence",
    "unsecure",
    "default",
    "example",
    "minimum",
    "private",
    "replace",
    "signing",
    "change",
    "enough",
    "longer",
    "please",
    "random",
    "really",
    "secret",
    "secure",
    "should",
    "string",
    "bytes",
    "hs256",
    "least",
    "super",
    "token",
    "ultra",
    "value",
    "auth",
    "bits",
    "demo",
    "here",
    "long",
    "must",
    "some",
    "test",
    "than",
    "this",
    "very",
    "with",
    "your",
    "and",
    "but",
    "for",
    "jwt",
    "key",
    "not",
    "now",
];

/// Why a secret does not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Shorter than the hash that it keys.
    #[error("it is shorter than 32 bytes and can be guessed")]
    Short,
    /// It stands in a public document or template.
    #[error("it stands in public documentation, so everybody knows it")]
    Published,
    /// It consists of the words of example secrets.
    #[error("it is a placeholder that still has to be replaced")]
    Placeholder,
    /// One character, again and again.
    #[error("it is one character repeated and can be guessed")]
    Repeated,
    /// A short text again and again, a run of the alphabet, or few different characters. It is
    /// not known to anybody, and unlikely to be random.
    #[error("it follows a simple pattern and may be guessed")]
    Pattern,
}

/// What is weak about a shared secret.
pub fn weakness(secret: &str) -> Option<Weakness> {
    let bytes = secret.as_bytes();
    if PUBLISHED.contains(&secret) {
        Some(Weakness::Published)
    } else if is_placeholder(secret) {
        Some(Weakness::Placeholder)
    } else if bytes.len() < SHORTEST {
        Some(Weakness::Short)
    } else if bytes.windows(2).all(|pair| pair[0] == pair[1]) {
        Some(Weakness::Repeated)
    } else {
        has_pattern(bytes).then_some(Weakness::Pattern)
    }
}

fn is_placeholder(secret: &str) -> bool {
    let plain: String =
        secret.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let is_template = secret.starts_with("${") || (secret.starts_with('<') && secret.ends_with('>'));
    if is_template || TO_REPLACE.iter().any(|mark| plain.contains(mark)) {
        return true;
    }
    let left = WORDS.iter().fold(plain.clone(), |left, word| left.replace(word, ""));
    left.len() < plain.len() && left.len() < LEAST_LEFT
}

fn has_pattern(bytes: &[u8]) -> bool {
    let mut different = bytes.to_vec();
    different.sort_unstable();
    different.dedup();
    let repeats = (1..=bytes.len() / 2).any(|period| bytes[period..] == bytes[..bytes.len() - period]);
    let runs = bytes.windows(2).filter(|pair| pair[1].abs_diff(pair[0]) <= 1).count();
    different.len() < LEAST_DIFFERENT || repeats || runs * 4 > bytes.len() * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_others_know_or_can_guess_are_told_from_those_that_look_random() {
        let repeated = "x".repeat(64);
        let short = "q7Rk2mZp9Lw4Tn8Vb3Yc6Hd1Jf5Gs0X";
        assert_eq!(short.len(), 31);
        let cases = [
            ("secret", Some(Weakness::Placeholder)),
            ("changeme", Some(Weakness::Placeholder)),
            ("__REPLACE_ME__", Some(Weakness::Placeholder)),
            ("__REPLACE_ME__q7Rk2mZp9Lw4Tn8Vb3Yc6Hd1Jf5Gs0X", Some(Weakness::Placeholder)),
            ("<paste the output of openssl rand -hex 32>", Some(Weakness::Placeholder)),
            ("your-256-bit-secret", Some(Weakness::Placeholder)),
            ("a-string-secret-at-least-256-bits-long", Some(Weakness::Placeholder)),
            ("super-secret-jwt-token-with-at-least-32-characters-long", Some(Weakness::Placeholder)),
            ("my-test-key-but-now-longer-than-32-bytes", Some(Weakness::Placeholder)),
            ("my-32-character-ultra-secure-and-ultra-long-secret", Some(Weakness::Placeholder)),
            ("SecretSecretSecretSecretSecretSecret", Some(Weakness::Placeholder)),
            (PUBLISHED[0], Some(Weakness::Published)),
            (PUBLISHED[2], Some(Weakness::Published)),
            ("", Some(Weakness::Short)),
            ("hunter2", Some(Weakness::Short)),
            (short, Some(Weakness::Short)),
            (&repeated, Some(Weakness::Repeated)),
            ("0123456789abcdef0123456789abcdef", Some(Weakness::Pattern)),
            ("abcdefghijklmnopqrstuvwxyz012345", Some(Weakness::Pattern)),
            ("abababababababababababababababab", Some(Weakness::Pattern)),
            ("q7Rk2mZp9Lw4Tn8Vb3Yc6Hd1Jf5Gs0Xa", None),
            ("4f9c1de07b3a8852c6e1b09d7fa3425b8c0e6d1793fa2b54", None),
            ("test-secret-4f9c1de07b3a8852c6e1b09d7fa3425b", None),
            ("correct horse battery staple, and then nine purple boats", None),
            ("49152763830417265938205716394820", None),
        ];
        for (secret, expected) in cases {
            assert_eq!(weakness(secret), expected, "{secret}");
        }
    }
}
