//! Stage 1 of 8: who is calling?
//!
//! Asked as soon as the headers are read, before a byte of the body: a stranger
//! cannot make the gateway parse anything.

use std::sync::Arc;

use doorward_identity::{Authenticator, Presented, Refused};
use doorward_model::Caller;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Finds out who presents these credentials.
///
/// # Errors
/// [`Refused`]; to be answered with 401 and a challenge, the same for every reason.
pub(crate) async fn identify(
    authenticator: &Authenticator,
    presented: Presented<'_>,
) -> Result<Arc<Caller>, Refused> {
    authenticator.identify(presented).await
}

/// The credentials in these headers.
pub(crate) fn presented(headers: &HeaderMap) -> Presented<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let bearer = values.next().and_then(|value| value.to_str().ok()).and_then(bearer);
    // Two credentials are one too many: which of them a proxy in front looked at,
    // nobody knows.
    let bearer = if values.next().is_some() { None } else { bearer };
    let bearer = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()));
    Presented { bearer }
}

/// The token of an `Authorization` header; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_a_token() {
        let cases = [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("abc", None),
        ];
        for (header, expected) in cases {
            assert_eq!(bearer(header), expected, "{header:?}");
        }
    }
}
