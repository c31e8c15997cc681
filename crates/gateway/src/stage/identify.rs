//! Stage 1 of 8: who is calling?
//!
//! Asked as soon as the headers are read, before a byte of the body: a stranger
//! cannot make the gateway parse anything.

use std::sync::Arc;

use doorward_identity::{Authenticator, Presented, Refused};
use doorward_model::Caller;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use crate::receive::only;

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

/// The credentials in these headers: a bearer token, or a key in `X-Api-Key`.
///
/// Two different ones are one too many, and so is a header that is there twice: which of
/// them whatever stands in front looked at, nobody knows. Then it is as if there were none.
pub(crate) fn presented(headers: &HeaderMap) -> Presented<'_> {
    let (Ok(authorization), Ok(key)) = (only(headers, &AUTHORIZATION), only(headers, &KEY)) else {
        return Presented { bearer: None };
    };
    let bearer = match (authorization.and_then(bearer), key) {
        (Some(token), Some(key)) if token != key => None,
        (token, key) => token.or(key),
    };
    Presented { bearer }
}

const KEY: HeaderName = HeaderName::from_static("x-api-key");

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

    #[test]
    fn two_credentials_are_none() {
        type Said = &'static [(&'static str, &'static str)];
        let cases: [(Said, Option<&str>); 8] = [
            (&[("authorization", "Bearer a")], Some("a")),
            (&[("x-api-key", "a")], Some("a")),
            (&[("authorization", "Bearer a"), ("x-api-key", "a")], Some("a")),
            (&[("authorization", "Basic dTpw"), ("x-api-key", "a")], Some("a")),
            (&[("authorization", "Bearer a"), ("x-api-key", "b")], None),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], None),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b"), ("x-api-key", "a")], None),
            (&[("x-api-key", "a"), ("x-api-key", "a")], None),
        ];
        for (said, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in said {
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                    value.parse().expect("a value"),
                );
            }
            assert_eq!(presented(&headers).bearer, expected, "{said:?}");
        }
    }
}
