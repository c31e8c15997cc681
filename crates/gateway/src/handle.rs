//! Handles: what a client is given to find something again by, sealed and bound to its
//! principal. Whoever else presents one, or alters it, has found nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::pipeline::Asked;
use crate::session::principal;

/// Seals what a handle of this kind stands for.
pub(crate) fn seal(asked: &Asked<'_>, kind: &str, parts: &[&str]) -> Option<String> {
    let clear = serde_json::to_vec(parts).ok()?;
    let sealed = asked.gateway.seal.seal(&binding(asked, kind), &clear).ok()?;
    Some(URL_SAFE_NO_PAD.encode(sealed))
}

/// What a handle of this kind stands for, if it was sealed for this caller.
pub(crate) fn open(asked: &Asked<'_>, kind: &str, handle: &str) -> Option<Vec<String>> {
    let sealed = URL_SAFE_NO_PAD.decode(handle).ok()?;
    let clear = asked.gateway.seal.open(&binding(asked, kind), &sealed).ok()?;
    serde_json::from_slice(&clear).ok()
}

fn binding(asked: &Asked<'_>, kind: &str) -> Vec<u8> {
    format!("handle\0{kind}\0{}", principal(asked.caller)).into_bytes()
}
