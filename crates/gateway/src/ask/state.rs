//! `requestState`: what a client carries from one round of a call to the next.
//!
//! It passes through hands that nobody here controls, and servers behind one gateway may
//! share one credential. So it is sealed, and bound to who made the call and what the call
//! was: another principal's, another call's, an altered or an old one does not open.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_model::json::{Value, canonical};
use doorward_wire::RpcError;
use doorward_wire::error::INVALID_PARAMS;

use crate::pipeline::Asked;
use crate::session::principal;
use crate::stage::resolve::Resolved;

/// The longest state of a server that is sealed, in bytes.
const LONGEST: usize = 64 << 10;

/// Where a call that is made again goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// At its server, which may have issued a state of its own.
    Server(Option<String>),
    /// Here, where the server's call is suspended under this name.
    Suspended(String),
}

/// What a call that is made again brings along.
pub(crate) struct Round<'a> {
    /// `inputResponses`.
    pub responses: Option<Value<'a>>,
    /// `requestState`, opened. A client may answer what it was never asked: then the
    /// server asks for what it needs.
    pub resume: Option<Resume>,
}

/// Whether this round belongs to a suspended call.
pub(crate) fn is_suspended(round: Option<&Round<'_>>) -> bool {
    round.is_some_and(|round| matches!(round.resume, Some(Resume::Suspended(_))))
}

/// What binds a state to its call: nothing of it can be exchanged.
pub(crate) fn binding(
    asked: &Asked<'_>,
    method: &str,
    server: &str,
    target: &str,
    arguments: Option<Value<'_>>,
) -> Vec<u8> {
    let arguments = arguments.map(canonical).unwrap_or_default();
    let who = principal(asked.caller);
    let mut out = b"requestState".to_vec();
    for part in
        [who.as_bytes(), method.as_bytes(), server.as_bytes(), target.as_bytes(), arguments.as_bytes()]
    {
        // Fixed lengths, so that no part can pose as the beginning of the next.
        out.extend_from_slice(digest(&SHA256, part).as_ref());
    }
    out
}

/// Seals where a call goes on; `None` when a server's state is beyond all measure.
pub(crate) fn seal(resolved: &Resolved<'_>, resume: &Resume) -> Option<String> {
    let asked = resolved.asked();
    let patience = u64::try_from(asked.gateway.settings.asks.patience.as_micros()).unwrap_or(u64::MAX);
    let expires = asked.incoming.received.as_micros().saturating_add(patience);
    let mut clear = expires.to_be_bytes().to_vec();
    match resume {
        Resume::Server(None) => clear.push(0),
        Resume::Server(Some(state)) => {
            clear.push(1);
            clear.extend_from_slice(state.as_bytes());
        }
        Resume::Suspended(name) => {
            clear.push(2);
            clear.extend_from_slice(name.as_bytes());
        }
    }
    if clear.len() > LONGEST {
        return None;
    }
    let method = resolved.operation().as_str();
    let server = resolved.server().id.as_str();
    let binding = binding(asked, method, server, resolved.target(), resolved.arguments());
    let sealed = asked.gateway.seal.seal(&binding, &clear).ok()?;
    Some(URL_SAFE_NO_PAD.encode(sealed))
}

/// Opens what [`seal`] made.
///
/// # Errors
/// One and the same for every state that is not exactly that.
pub(crate) fn open(asked: &Asked<'_>, binding: &[u8], state: &str) -> Result<Resume, RpcError> {
    let invalid = || RpcError::answer(INVALID_PARAMS, "Invalid requestState: make the call again without it");
    let read = || {
        let sealed = URL_SAFE_NO_PAD.decode(state).ok()?;
        let clear = asked.gateway.seal.open(binding, &sealed).ok()?;
        let (expires, rest) = clear.split_first_chunk::<8>()?;
        if u64::from_be_bytes(*expires) < asked.incoming.received.as_micros() {
            return None;
        }
        let (kind, rest) = rest.split_first()?;
        let text = String::from_utf8(rest.to_vec()).ok()?;
        match kind {
            0 => Some(Resume::Server(None)),
            1 => Some(Resume::Server(Some(text))),
            2 => Some(Resume::Suspended(text)),
            _ => None,
        }
    };
    read().ok_or_else(invalid)
}
