//! What all links have in common.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use doorward_model::Shared;

/// The variables a child inherits from the gateway; all others stay here.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// Bounds and habits of all links.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the gateway says of itself: a JSON object with `name` and `version`.
    pub client_info: String,
    /// The environment children start from; see [`inherited`].
    pub environment: Vec<(OsString, OsString)>,
    /// How connections are made.
    pub egress: doorward_egress::Settings,
    /// Longest answer or event of a server, in bytes.
    pub max_answer: usize,
    /// Most requests in flight to one server.
    pub max_in_flight: usize,
    /// Most sessions with one server.
    pub max_sessions: usize,
    /// A session is ended after so long without a call.
    pub session_idle: Duration,
    /// Where replicas share the sessions they have with servers; `None` for a process that
    /// is alone.
    pub shared: Option<Arc<dyn Shared>>,
    /// How long a child may keep silent about `server/discover` before it is
    /// also asked to `initialize`.
    pub probe_timeout: Duration,
    /// How long each step of stopping a child may take.
    pub stop_grace: Duration,
    /// How often links are looked after.
    pub sweep_every: Duration,
    /// How often a remote server that is otherwise silent is asked whether it
    /// still is there; `None` never.
    pub health_every: Option<Duration>,
    /// Bounds on listing what a server offers.
    pub listing: Listing,
}

/// Bounds on listing what a server offers.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// Pages of one kind.
    pub pages: usize,
    /// Definitions of all kinds.
    pub definitions: usize,
    /// Bytes of all pages.
    pub bytes: usize,
    /// Time for each list.
    pub time: Duration,
    /// What was read within this time is offered, and the rest when it is there.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            client_info: format!(r#"{{"name":"doorward","version":"{}"}}"#, env!("CARGO_PKG_VERSION")),
            environment: Vec::new(),
            egress: doorward_egress::Settings::default(),
            max_answer: 64 << 20,
            max_in_flight: 1024,
            max_sessions: 1024,
            session_idle: Duration::from_secs(600),
            shared: None,
            probe_timeout: Duration::from_secs(5),
            stop_grace: Duration::from_secs(2),
            sweep_every: Duration::from_secs(1),
            health_every: Some(Duration::from_secs(4)),
            listing: Listing {
                pages: 200,
                definitions: 20_000,
                bytes: 64 << 20,
                time: Duration::from_secs(60),
                patience: Duration::from_millis(1500),
            },
        }
    }
}

/// Of the gateway's own environment, what a child may see.
pub fn inherited(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    all.filter(|(name, _)| INHERITED.iter().any(|known| name == known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_sees_little_of_the_environment() {
        let all = [("PATH", "/bin"), ("AWS_SECRET_ACCESS_KEY", "x"), ("HOME", "/h"), ("path", "y")];
        let kept = inherited(all.iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(kept, [("PATH".into(), "/bin".into()), ("HOME".into(), "/h".into())]);
    }
}
