//! Who issued a token, as one name.
//!
//! A subject means something only to its issuer: `ana` of one issuer and `ana` of another may be
//! two people. Sessions, handles and limits are therefore named after both. Where the
//! configuration names the issuer, its name is enough, because no other token is accepted.
//! Elsewhere a token may claim any issuer, so the name begins with what verified the token.

use aws_lc_rs::digest::{SHA256, digest};

use crate::settings::{JwtKey, JwtSettings};

/// Bytes of a key's fingerprint that go into a name.
const FINGERPRINT: usize = 8;

/// How the tokens of one configuration name their issuer.
pub(crate) enum Issuer {
    /// The only one that is accepted.
    Configured(String),
    /// Whoever the token names, as far as this key or key set vouches for it.
    VouchedFor(String),
}

impl Issuer {
    pub(crate) fn of(settings: &JwtSettings) -> Self {
        match (&settings.issuer, &settings.key) {
            (Some(issuer), _) => Self::Configured(issuer.clone()),
            (None, JwtKey::Issuer(at) | JwtKey::KeySet(at)) => Self::VouchedFor(at.clone()),
            (None, JwtKey::PublicKey(pem)) => Self::VouchedFor(fingerprint(pem.trim().as_bytes())),
            (None, JwtKey::Secret(secret)) => Self::VouchedFor(fingerprint(secret.expose().as_bytes())),
        }
    }

    /// The name, for a token that says `claimed`.
    pub(crate) fn name(&self, claimed: Option<&str>) -> String {
        match (self, claimed) {
            (Self::Configured(issuer), _) => issuer.clone(),
            // Neither an address nor a fingerprint has a blank, so no claim can pose as both.
            (Self::VouchedFor(voucher), Some(claimed)) => format!("{voucher} {claimed}"),
            (Self::VouchedFor(voucher), None) => voucher.clone(),
        }
    }
}

/// Enough of a digest to tell keys apart. The prefix keeps it apart from other digests of the key.
fn fingerprint(key: &[u8]) -> String {
    let hash = digest(&SHA256, &[b"doorward issuer\0", key].concat());
    let hex = hash.as_ref()[..FINGERPRINT].iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("key:".to_owned()).chain(hex).collect()
}
