//! Why somebody was not let in: one text for them, the reason for the log.

/// Why credentials were not accepted.
///
/// `Display` is what the caller reads and the same for every variant, so that
/// nobody can find out which keys exist; [`reason`](Self::reason) is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Authentication failed")]
pub enum Refused {
    /// No credentials were presented.
    Missing,
    /// No key and no token: nobody knows it.
    Unknown,
    /// The key exists and is switched off.
    Disabled,
    /// The key or token has ended.
    Expired,
    /// The token begins later than now.
    NotYetValid,
    /// The token is malformed, or its algorithm is not the one its key is for.
    Malformed,
    /// The token's signature is wrong.
    Signature,
    /// The token comes from another issuer.
    Issuer,
    /// The token was made for another audience.
    Audience,
    /// The token carries no verified e-mail address of a domain that is let in.
    Domain,
    /// A claim that is needed is missing or of the wrong kind.
    Claims,
    /// The token names a signing key that the issuer has not published.
    SigningKey,
    /// The issuer's key set could not be fetched for so long that it counts no more.
    StaleKeys,
}

impl Refused {
    /// The reason, as a stable word for logs and metrics. Never shown to the caller.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing_credentials",
            Self::Unknown => "unknown_key",
            Self::Disabled => "key_disabled",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Malformed => "malformed_token",
            Self::Signature => "bad_signature",
            Self::Issuer => "wrong_issuer",
            Self::Audience => "wrong_audience",
            Self::Domain => "foreign_domain",
            Self::Claims => "bad_claims",
            Self::SigningKey => "unknown_signing_key",
            Self::StaleKeys => "stale_signing_keys",
        }
    }
}
