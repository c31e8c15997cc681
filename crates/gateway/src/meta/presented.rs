//! The key that comes with a call of a meta tool, as `apiKey`. It stands before what the
//! connection presented, as in the gateway that these tools come from.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use doorward_identity::Presented;
use doorward_ledger::EventRecord;
use doorward_model::json::Value;
use doorward_model::{Caller, GrantKind};

use crate::pipeline::Asked;

/// Who calls a meta tool.
pub(super) enum Who {
    /// Who made the connection.
    Connected,
    /// Whose key came with the call.
    Presented(Arc<Caller>),
    /// Nobody who is let in.
    Nobody,
}

/// Finds out who calls. Wrong keys are rationed by address and noted like those that a request
/// presents; all clients over stdio share one ration.
pub(super) async fn who(asked: &Asked<'_>, arguments: Option<Value<'_>>) -> Who {
    let key = super::text(arguments, "apiKey");
    let Some(key) = key else {
        let is_keyless = asked.caller.grant.kind == GrantKind::Keyless;
        return if is_keyless { Who::Nobody } else { Who::Connected };
    };
    let (gateway, presented) = (asked.gateway, Presented { bearer: Some(&key) });
    let ip = asked.incoming.arrival.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let authenticator = &asked.snapshot.rulebook.authenticator;
    if gateway.strangers.may_present(ip).is_err() {
        // As at the door: who is known by heart still comes in.
        return authenticator.recall(presented).map_or(Who::Nobody, Who::Presented);
    }
    match authenticator.identify(presented).await {
        Ok(caller) => Who::Presented(caller),
        Err(refused) => {
            // What is over the ration is refused before it is looked at, the next time.
            let _ = gateway.strangers.unknown(ip);
            gateway.metrics.refused("unauthenticated");
            if gateway.strangers.has_entry(ip, "unauthenticated") {
                let account = authenticator.account(presented, refused);
                tracing::info!(target: "doorward::identity", reason = account, "an `apiKey` was refused");
                gateway.refused(EventRecord {
                    reason: "unauthenticated",
                    detail: Some(&account),
                    ip: asked.incoming.arrival.ip,
                    ..EventRecord::default()
                });
            } else {
                gateway.metrics.unrecorded();
            }
            Who::Nobody
        }
    }
}
