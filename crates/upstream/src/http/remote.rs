//! One server at the other end of a door, and the headers every request has.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use doorward_egress::{Client, Door, Outgoing, Replay, Response, Rules, Target};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::error::UpstreamError;
use crate::http::held;
use crate::hub::Hub;
use crate::spec::{Credential, ServerSpec, is_reserved_header};

/// Longest error body that is read, in bytes.
pub(crate) const MAX_ERROR_BODY: usize = 1 << 20;

/// How long a message that nobody waits for may take.
pub(crate) const QUIETLY: Duration = Duration::from_secs(5);

/// A server that is reached over HTTP.
pub(crate) struct Remote {
    pub(crate) hub: Arc<Hub>,
    pub(crate) door: Door,
    /// Tells it from the same server reached in another way.
    pub(crate) way: String,
    ids: AtomicU64,
    /// The path with a slash at its end, or without, once the server has said that it is there.
    slashed: OnceLock<PathAndQuery>,
    /// Whether the first answer has shown which of the two it is.
    is_settled: AtomicBool,
    /// What every POST carries: content types and the credential.
    headers: HeaderMap,
}

impl Remote {
    /// A remote server at `url`; nothing is connected yet.
    ///
    /// # Errors
    /// [`UpstreamError::Configuration`] for a URL or credential that cannot work.
    pub(crate) fn new(
        hub: Arc<Hub>,
        client: &Client,
        spec: &ServerSpec,
        url: &str,
    ) -> Result<Self, UpstreamError> {
        let wrong =
            |detail: String| UpstreamError::Configuration { server: spec.id.clone(), detail: detail.into() };
        let target = Target::parse(url).map_err(|error| wrong(error.to_string()))?;
        let rules = Rules { allow_insecure_http: spec.allow_insecure_http, ..Rules::CONFIGURED };
        let door = client.door(target, rules).map_err(|error| wrong(error.to_string()))?;
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("doorward/", env!("CARGO_PKG_VERSION"))),
        );
        show_credential(&mut headers, &spec.credential).map_err(wrong)?;
        let ids = AtomicU64::new(hub.first_id());
        Ok(Self {
            hub,
            door,
            way: held::way(url, &spec.credential),
            ids,
            slashed: OnceLock::new(),
            is_settled: AtomicBool::new(false),
            headers,
        })
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The headers of a request, to be added to.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    pub(crate) fn path(&self) -> &PathAndQuery {
        self.slashed.get().unwrap_or_else(|| self.door.target().path())
    }

    /// Whether the server says that what was asked for is at the same place with a slash at its
    /// end, or without one. Nobody is followed anywhere else, and never to another host.
    fn is_slash_away(&self, response: &Response) -> bool {
        if !matches!(response.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
            return false;
        }
        let location = response.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let other = location.and_then(|location| with_other_slash(self.door.target().path(), location));
        other.is_some_and(|other| self.slashed.set(other).is_ok())
    }

    /// Posts a message and waits for the head of the answer.
    pub(crate) async fn post(
        &self,
        headers: HeaderMap,
        body: impl Into<Bytes>,
        replay: Replay,
    ) -> Result<Response, UpstreamError> {
        let body = body.into();
        if self.is_settled.load(Ordering::Relaxed) {
            return self.send(Method::POST, self.path().clone(), headers, body, replay).await;
        }
        let first =
            self.send(Method::POST, self.path().clone(), headers.clone(), body.clone(), replay).await?;
        self.is_settled.store(true, Ordering::Relaxed);
        if !self.is_slash_away(&first) {
            return Ok(first);
        }
        first.body.release().await;
        self.send(Method::POST, self.path().clone(), headers, body, replay).await
    }

    /// Opens an event stream.
    pub(crate) async fn get(&self, mut headers: HeaderMap) -> Result<Response, UpstreamError> {
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        self.send(Method::GET, self.path().clone(), headers, Bytes::new(), Replay::Harmless).await
    }

    /// Sends a request whose answer is of no interest, and waits for its head.
    pub(crate) async fn send_quietly(&self, method: Method, headers: HeaderMap, body: Bytes) {
        let exchange = async {
            if let Ok(response) =
                self.send(method, self.path().clone(), headers, body, Replay::Harmless).await
            {
                response.body.release().await;
            }
        };
        let _ = tokio::time::timeout(QUIETLY, exchange).await;
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: PathAndQuery,
        headers: HeaderMap,
        body: Bytes,
        replay: Replay,
    ) -> Result<Response, UpstreamError> {
        let outgoing = Outgoing { method, path, headers, body, replay, answer_within: None };
        self.door.send(outgoing).await.map_err(|cause| UpstreamError::egress(&self.hub.server, cause))
    }
}

/// The path that `location` names, if that is this one but for a slash at the end.
fn with_other_slash(path: &PathAndQuery, location: &str) -> Option<PathAndQuery> {
    let location: Uri = location.parse().ok()?;
    let (own, other) = (path.path(), location.path());
    if own == other || own.trim_end_matches('/') != other.trim_end_matches('/') {
        return None;
    }
    let query = path.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{other}{query}").parse().ok()
}

/// Which of a response's two possible bodies this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    EventStream,
    Other,
}

/// What a response says it holds. Case and parameters do not matter.
pub(crate) fn content(headers: &HeaderMap) -> Content {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Content::Json
    } else if kind.eq_ignore_ascii_case("text/event-stream") {
        Content::EventStream
    } else {
        Content::Other
    }
}

fn show_credential(headers: &mut HeaderMap, credential: &Credential) -> Result<(), String> {
    let mut show = |name: HeaderName, value: String| {
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value of header `{name}` holds characters no header may hold"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    };
    match credential {
        Credential::None => Ok(()),
        Credential::Bearer(token) => show(header::AUTHORIZATION, format!("Bearer {}", token.expose())),
        Credential::Headers(pairs) => pairs.iter().try_for_each(|(name, value)| {
            let parsed: HeaderName = name.parse().map_err(|_| format!("`{name}` is no header's name"))?;
            if is_reserved_header(parsed.as_str()) {
                return Err(format!("header `{name}` is the gateway's to set"));
            }
            show(parsed, value.expose().to_owned())
        }),
    }
}

#[cfg(test)]
mod tests {
    use doorward_model::Secret;

    use super::*;

    #[test]
    fn only_a_slash_at_the_end_is_followed() {
        for (path, location, expected) in [
            ("/mcp", "/mcp/", Some("/mcp/")),
            ("/mcp/", "https://elsewhere.example/mcp", Some("/mcp")),
            ("/mcp?key=1", "/mcp/?key=2", Some("/mcp/?key=1")),
            ("/mcp", "/mcp", None),
            ("/mcp", "/login", None),
            ("/mcp", "/mcp/x", None),
            ("/mcp", "https://elsewhere.example/", None),
            ("/mcp", "", None),
        ] {
            let path: PathAndQuery = path.parse().expect("a path");
            let other = with_other_slash(&path, location).map(|other| other.to_string());
            assert_eq!(other.as_deref(), expected, "{path} {location}");
        }
    }

    #[test]
    fn content_types_are_read_loosely() {
        for (value, expected) in [
            ("application/json", Content::Json),
            ("Application/JSON; charset=utf-8", Content::Json),
            ("text/event-stream;charset=UTF-8", Content::EventStream),
            ("text/html", Content::Other),
            ("", Content::Other),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(content(&headers), expected, "{value}");
        }
    }

    #[test]
    fn a_credential_becomes_headers_or_is_refused() {
        let header = |name: &str, value: &str| Credential::Headers(vec![(name.into(), Secret::new(value))]);
        let cases = [
            (Credential::None, Ok("")),
            (Credential::Bearer(Secret::new("abc")), Ok("authorization: Bearer abc")),
            (header("X-Api-Key", "k"), Ok("x-api-key: k")),
            (header("X-Api-Key", "a\r\nb: c"), Err("holds characters")),
            (header("Host", "evil"), Err("the gateway's to set")),
            (header("Mcp-Session-Id", "x"), Err("the gateway's to set")),
            (header("no name", "x"), Err("no header's name")),
        ];
        for (credential, expected) in cases {
            let mut headers = HeaderMap::new();
            match (show_credential(&mut headers, &credential), expected) {
                (Ok(()), Ok(expected)) => {
                    let shown: Vec<_> = headers
                        .iter()
                        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
                        .collect();
                    assert_eq!(shown.join("\n"), expected);
                }
                (Err(detail), Err(expected)) => assert!(detail.contains(expected), "{detail}"),
                (outcome, expected) => assert_eq!(outcome.is_ok(), expected.is_ok(), "{outcome:?}"),
            }
        }
    }
}
