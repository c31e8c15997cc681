//! `requestState`: what a client carries from one round of a call to the next.
//!
//! It passes through hands that nobody here controls, and servers behind one gateway may
//! share one credential. So it is sealed, and bound to who made the call and what the call
//! was, and to the server it was made at: another principal's, another call's, another server's, an
//! altered or an old one does not open.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_model::json::{Value, canonical, push_string};
use doorward_registry::Server;
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
    /// At its server.
    Server {
        /// The state that the server issued, if it did.
        state: Option<String>,
        /// What it asked, by key: nothing else can be answered.
        asked: Vec<String>,
    },
    /// Here, where the server's call is suspended under this name.
    Suspended(String),
    /// Nowhere: nothing has been asked yet. What is answered ahead waits for its question.
    Unasked,
}

/// What a call that is made again brings along.
pub(crate) struct Round<'a> {
    /// `inputResponses`.
    pub responses: Option<Value<'a>>,
    /// `requestState`, opened.
    pub resume: Resume,
}

impl Round<'_> {
    /// Of the answers, those to what the server asked: JSON text, empty for none.
    pub(crate) fn asked_for(&self) -> String {
        match &self.resume {
            Resume::Server { asked, .. } => self.to(asked),
            Resume::Suspended(_) | Resume::Unasked => String::new(),
        }
    }

    /// Of the answers, those under these keys: JSON text, empty for none.
    pub(crate) fn to(&self, asked: &[String]) -> String {
        let Some(responses) = self.responses else { return String::new() };
        let mut out = String::new();
        let is_answer = |key: &str| asked.iter().any(|asked| asked == key);
        for (key, answer) in responses.members().filter(|(key, _)| is_answer(key)) {
            out.push(if out.is_empty() { '{' } else { ',' });
            push_string(&mut out, &key);
            out.push(':');
            out.push_str(answer.raw());
        }
        if !out.is_empty() {
            out.push('}');
        }
        out
    }
}

/// Whether this round belongs to a suspended call.
pub(crate) fn is_suspended(round: Option<&Round<'_>>) -> bool {
    round.is_some_and(|round| matches!(round.resume, Resume::Suspended(_)))
}

/// What binds a state to its call: nothing of it can be exchanged.
pub(crate) fn binding(
    asked: &Asked<'_>,
    method: &str,
    server: &Server,
    target: &str,
    arguments: Option<Value<'_>>,
) -> Vec<u8> {
    let arguments = arguments.map(canonical).unwrap_or_default();
    let who = principal(asked.caller);
    let mut out = b"requestState".to_vec();
    // With its address: an id may be another server's by now.
    for part in [&who, method, server.id.as_str(), &server.address, target, &arguments] {
        // Fixed lengths, so that no part can pose as the beginning of the next.
        out.extend_from_slice(digest(&SHA256, part.as_bytes()).as_ref());
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
        Resume::Server { state, asked } => {
            clear.push(if state.is_some() { 1 } else { 0 });
            for key in asked {
                let length = u32::try_from(key.len()).ok()?;
                clear.extend_from_slice(&length.to_be_bytes());
                clear.extend_from_slice(key.as_bytes());
            }
            // No key is as long as that.
            clear.extend_from_slice(&u32::MAX.to_be_bytes());
            clear.extend_from_slice(state.as_deref().unwrap_or_default().as_bytes());
        }
        Resume::Suspended(name) => {
            clear.push(2);
            clear.extend_from_slice(name.as_bytes());
        }
        Resume::Unasked => return None,
    }
    if clear.len() > LONGEST {
        return None;
    }
    let method = resolved.operation().as_str();
    let binding = binding(asked, method, resolved.server(), resolved.target(), resolved.arguments());
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
        match kind {
            0 | 1 => {
                let (asked, state) = keys(rest)?;
                let state = String::from_utf8(state.to_vec()).ok()?;
                Some(Resume::Server { state: (*kind == 1).then_some(state), asked })
            }
            2 => Some(Resume::Suspended(String::from_utf8(rest.to_vec()).ok()?)),
            _ => None,
        }
    };
    read().ok_or_else(invalid)
}

/// The keys that stand first, and what stands behind them.
fn keys(mut rest: &[u8]) -> Option<(Vec<String>, &[u8])> {
    let mut keys = Vec::new();
    loop {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length);
        if length == u32::MAX {
            return Some((keys, behind));
        }
        let (key, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
        keys.push(String::from_utf8(key.to_vec()).ok()?);
        rest = behind;
    }
}
