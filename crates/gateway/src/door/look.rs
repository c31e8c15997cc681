//! One server as the gateway's own user may look at it, over the socket: how it is doing, what it
//! offers, what is wrong with that, and the last that its child printed. It is asked what it
//! offers unless that is known, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use doorward_model::{CapabilityKind, ServerId};
use doorward_registry::{Listing, Problem};
use serde_json::{Value, json};

use super::order::NoServer;
use super::preface::VERSION;
use crate::catalogs;
use crate::condition::{Condition, condition};
use crate::gateway::Gateway;

/// How long a server that has not been asked yet may take.
const WITHIN: Duration = Duration::from_secs(8);

/// How much of what a child printed is shown, in characters.
const LAST_WORDS: usize = 4_000;

const KINDS: [CapabilityKind; 4] = [
    CapabilityKind::Tool,
    CapabilityKind::Resource,
    CapabilityKind::ResourceTemplate,
    CapabilityKind::Prompt,
];

/// The line that the question about one server is answered with: definitions as clients of
/// `/mcp/{server}` are shown them.
pub(super) async fn look(gateway: &Arc<Gateway>, id: &ServerId) -> Result<String, NoServer> {
    let server = gateway.snapshot().registry.server(id.as_str()).cloned().ok_or(NoServer)?;
    if server.enabled {
        // What it has not said by then is missing, and its state says why.
        let _ = tokio::time::timeout(WITHIN, catalogs::ensure(gateway, id, "")).await;
    }
    let snapshot = gateway.snapshot();
    let Condition { state, reason, status } = condition(gateway, &server);
    let status = status.as_ref();
    let problems = snapshot.registry.problems().iter().filter(|problem| problem.server == *id);
    let stderr = gateway.upstreams.stderr(id).unwrap_or_default();
    let about = json!({
        "id": id.as_str(),
        "state": state.as_str(),
        "reason": reason,
        "lastError": status.and_then(|status| status.last_error.as_deref()),
        "lastOkAt": status.and_then(|status| status.last_ok_at).map(|at| at.to_string()),
        "uptimeMs": status.and_then(|status| status.uptime).map(|uptime| uptime.as_millis() as u64),
        "restarts": status.map(|status| status.restarts),
        "protocolVersion": status.and_then(|status| status.protocol_version.as_deref()),
        "problems": problems.map(Problem::what).collect::<Vec<_>>(),
        "stderr": last(&stderr),
    });
    let registry = &snapshot.registry;
    let listing = registry.listing(id, "").or_else(|| registry.listings(id).first());
    let mut out = format!("{{\"doorward\":{VERSION},\"server\":{about}");
    for kind in KINDS {
        let definitions: Vec<_> = listing.map(|listing| raw(listing, kind)).unwrap_or_default();
        out.push_str(&format!(",\"{}\":[{}]", kind.list_member(), definitions.join(",")));
    }
    out.push_str("}\n");
    Ok(out)
}

/// The definitions of one kind, each as JSON text.
fn raw(listing: &Listing, kind: CapabilityKind) -> Vec<String> {
    let offered = listing.offered.iter().filter(|capability| capability.kind == kind);
    // White space in a definition may hold line ends, and this is to be one line.
    let one_line = |raw: &[u8]| String::from_utf8_lossy(raw).replace(['\n', '\r'], " ");
    offered.map(|capability| one_line(&capability.raw)).collect()
}

/// The end of a text, from the beginning of a line.
fn last(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    let start = text.char_indices().rev().nth(LAST_WORDS).map_or(0, |(at, _)| at);
    let end = text.get(start..).unwrap_or_default();
    let whole = if start == 0 { end } else { end.split_once('\n').map_or(end, |(_, lines)| lines) };
    Value::from(whole)
}
