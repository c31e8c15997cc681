//! Names in rules and limits that match nothing, where a gateway runs that knows what its servers
//! offer. Where none runs, nothing is found.

use doorward_gateway::door::{Order, read_offers};

use super::socket;
use crate::config::Config;
use crate::config::lint::Findings;
use crate::config::offered::Patterns;
use crate::runtime;

/// What a running gateway lets us know.
pub(super) fn unmatched(config: &Config) -> Findings {
    let asked = socket::ask(runtime::socket_folder(config), &Order::Names).ok();
    let offers = asked.and_then(|answer| read_offers(&answer).ok()).unwrap_or_default();
    Patterns::of(config).unmatched(&offers)
}
