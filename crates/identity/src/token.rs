//! Signed tokens: is this one signed by whom it must be?
//!
//! The algorithm follows from the kind of key, never from the token. So a public
//! RSA key cannot be misused as an HMAC secret, and `none` is no algorithm at all.

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};

use crate::claims::Claims;
use crate::refused::Refused;
use crate::settings::SettingsError;

/// Bytes of an uncompressed point of P-256: a tag and two coordinates.
const P256_POINT: usize = 65;

/// A key and the one algorithm it is for.
pub(crate) struct VerifyingKey {
    pub(crate) id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl VerifyingKey {
    pub(crate) fn new(id: Option<String>, algorithm: Algorithm, key: DecodingKey) -> Self {
        Self { id, algorithm, key }
    }

    /// A shared secret, for HS256.
    pub(crate) fn secret(secret: &str) -> Self {
        Self::new(None, Algorithm::HS256, DecodingKey::from_secret(secret.as_bytes()))
    }

    /// A public key in PEM form: RSA for RS256, P-256 for ES256.
    pub(crate) fn pem(pem: &str) -> Result<Self, SettingsError> {
        if let Ok(key) = DecodingKey::from_rsa_pem(pem.as_bytes()) {
            return Ok(Self::new(None, Algorithm::RS256, key));
        }
        let key = DecodingKey::from_ec_pem(pem.as_bytes()).map_err(|_| SettingsError::PublicKey)?;
        match key.try_get_as_bytes() {
            Ok(point) if point.len() == P256_POINT => Ok(Self::new(None, Algorithm::ES256, key)),
            _ => Err(SettingsError::PublicKey),
        }
    }

    fn fits(&self, header: &Header) -> bool {
        self.algorithm == header.alg && (self.id.is_none() || header.kid.is_none() || self.id == header.kid)
    }
}

/// Verifies the signature with whichever of `keys` fits the token's header.
///
/// # Errors
/// [`Refused::SigningKey`] if none of them fits, which is when fetching the
/// issuer's keys again may help.
pub(crate) fn verify(token: &str, keys: &[VerifyingKey]) -> Result<Claims, Refused> {
    let header = decode_header(token).map_err(|_| Refused::Malformed)?;
    if !is_plain(&header) {
        return Err(Refused::Malformed);
    }
    let mut outcome = Err(Refused::SigningKey);
    for key in keys.iter().filter(|key| key.fits(&header)) {
        match decode::<Claims>(token, &key.key, &signature_only(key.algorithm)) {
            Ok(decoded) => return Ok(decoded.claims),
            Err(error) => outcome = Err(refusal(error.kind())),
        }
    }
    outcome
}

/// Whether the header asks for nothing that is not understood here: no critical
/// extension, and no token of a kind made for something else, such as a logout.
fn is_plain(header: &Header) -> bool {
    let kind = header.typ.as_deref().map(str::to_ascii_lowercase);
    header.crit.is_none() && matches!(kind.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt"))
}

/// Checks of the signature alone. The library would compare times with the system's
/// clock; `claims::judge` compares them with ours.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn refusal(kind: &jsonwebtoken::errors::ErrorKind) -> Refused {
    match kind {
        jsonwebtoken::errors::ErrorKind::InvalidSignature => Refused::Signature,
        _ => Refused::Malformed,
    }
}
