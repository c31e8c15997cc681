//! Says in the log which names in rules and limits match nothing, as soon as that is known: when
//! the configuration or a server's lists have changed, and never while a call is decided.

use std::sync::{Arc, Weak};

use doorward_gateway::Gateway;
use doorward_gateway::door::offers;
use tokio::sync::watch;

use crate::config::Lint;
use crate::config::offered::Patterns;
use crate::config::tree::Positions;

/// Follows configuration and lists until either is gone. What was said stays said until it has
/// changed, or the configuration has.
pub(super) async fn follow(
    gateway: Weak<Gateway>,
    mut replaced: watch::Receiver<()>,
    mut patterns: watch::Receiver<Arc<Patterns>>,
) {
    let mut last: Arc<Patterns> = Arc::default();
    let mut said: Vec<Lint> = Vec::new();
    loop {
        let now = Arc::clone(&patterns.borrow_and_update());
        if !Arc::ptr_eq(&now, &last) {
            said.clear();
            last = now;
        }
        let Some(snapshot) = gateway.upgrade().map(|gateway| gateway.snapshot()) else { return };
        let found = last.unmatched(&offers(&snapshot)).located(&Positions::default());
        for lint in found.iter().filter(|lint| !said.contains(lint)) {
            tracing::warn!(target: "doorward::config", "{lint}");
        }
        said = found;
        let changed = tokio::select! {
            changed = replaced.changed() => changed,
            changed = patterns.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
