//! `logging/setLevel`: what a session of the legacy era was told about log messages.
//!
//! A session says a level once for all its calls, so that it is told the least grave that
//! anybody wanted; each call is then passed on only what it asked for.

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use doorward_wire::log::Logs;

use crate::call::Call;

/// The level that a session was told.
#[derive(Debug)]
pub(crate) struct Told(AtomicU8);

const NOTHING: u8 = u8::MAX;

impl Default for Told {
    fn default() -> Self {
        Self(AtomicU8::new(NOTHING))
    }
}

impl Told {
    /// Whether the session has to be told for such a call; the answer is yes once.
    pub(crate) fn must_be_said(&self, logs: Logs) -> bool {
        match logs {
            Logs::None | Logs::Any => false,
            Logs::From(level) => self.0.fetch_min(level as u8, Ordering::Relaxed) > level as u8,
        }
    }
}

/// The request that tells it.
pub(crate) fn said(logs: Logs) -> Call<'static> {
    let members = match logs {
        Logs::From(level) => Bytes::from(format!("\"level\":\"{}\"", level.as_str())),
        Logs::None | Logs::Any => Bytes::new(),
    };
    Call { method: "logging/setLevel", members, ..Call::default() }
}

#[cfg(test)]
mod tests {
    use doorward_wire::log::Level;

    use super::*;

    #[test]
    fn a_session_is_told_only_what_it_does_not_know() {
        let told = Told::default();
        let calls = [
            (Logs::Any, false),
            (Logs::None, false),
            (Logs::From(Level::Error), true),
            (Logs::From(Level::Error), false),
            (Logs::From(Level::Debug), true),
            (Logs::From(Level::Warning), false),
        ];
        for (logs, expected) in calls {
            assert_eq!(told.must_be_said(logs), expected, "{logs:?}");
        }
        assert_eq!(&said(Logs::From(Level::Info)).members[..], br#""level":"info""#);
    }
}
