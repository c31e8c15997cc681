//! Media types: what a client sends, and what it takes.

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, Response, StatusCode};

use super::Body;
use super::respond::plain;

/// Checks the media types of a POST; says whether its answer may be a stream.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<bool, Box<Response<Body>>> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let kind = kinds.next();
    // Two of them are one too many: which of them whatever stands in front has read, nobody knows.
    let kind = if kinds.next().is_some() { None } else { kind };
    // What nearly every client sends needs no taking apart.
    let is = |name: HeaderName, usual: &str| headers.get(name).is_some_and(|value| value == usual);
    if kind.is_some_and(|kind| kind == "application/json")
        && is(ACCEPT, "application/json, text/event-stream")
        && !headers.contains_key(CONTENT_ENCODING)
    {
        return Ok(true);
    }
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Box::new(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        )));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Box::new(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "compressed bodies are not accepted",
        )));
    }
    if !accepts(headers, "application", "json") {
        return Err(Box::new(plain(
            StatusCode::NOT_ACCEPTABLE,
            "Accept must list application/json and text/event-stream",
        )));
    }
    Ok(accepts(headers, "text", "event-stream"))
}

pub(super) fn accepts(headers: &HeaderMap, kind: &str, subtype: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').next().unwrap_or_default().trim().split('/');
        let (Some(main), Some(sub)) = (parts.next(), parts.next()) else { return false };
        (main == "*" || main.eq_ignore_ascii_case(kind)) && (sub == "*" || sub.eq_ignore_ascii_case(subtype))
    })
}
