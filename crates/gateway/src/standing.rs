//! Whether whoever listens would still be let in.
//!
//! A stream outlives the request that opened it, and with it the one look at its credential. So
//! what was presented is presented again whenever another configuration takes force, and every so
//! often besides, because a key or a token may just have ended. A call under way is not touched:
//! it was let in, and has its record.

use std::sync::Arc;

use doorward_identity::{Authenticator, Presented, Refused, keyless};
use doorward_model::{Caller, GrantKind, Secret};

use crate::gateway::Gateway;
use crate::session::principal;
use crate::standpoint::{Credential, Standpoint};
use crate::surface::Surface;

/// What a credential is worth today.
enum Standing {
    /// What it was worth before, as far as is known here.
    Same,
    /// Something else.
    Other(Arc<Caller>),
    /// Nothing.
    None,
}

impl Gateway {
    /// Whether whoever presents this is let in over stdio.
    pub async fn admits(&self, key: Option<&Secret>, surface: &Surface) -> bool {
        self.at_stdio(key, surface).await.is_ok()
    }

    /// Who presents this over stdio. Whoever presents nothing may still speak to the meta tools,
    /// which want a key with each call then.
    pub(crate) async fn at_stdio(
        &self,
        key: Option<&Secret>,
        surface: &Surface,
    ) -> Result<Arc<Caller>, Refused> {
        let snapshot = self.snapshot();
        let bearer = key.map(Secret::expose);
        match snapshot.rulebook.authenticator.identify(Presented { bearer }).await {
            Err(Refused::Missing) if *surface == Surface::Gateway => Ok(Arc::new(keyless())),
            answer => answer,
        }
    }

    /// Ends the streams of those who would not be let in any more, or would come in as somebody
    /// else; a session goes on as what its owner is today.
    pub(crate) async fn review(self: Arc<Self>) {
        let snapshot = self.snapshot();
        let authenticator = &snapshot.rulebook.authenticator;
        for listener in self.streams.all() {
            if !matches!(standing(authenticator, &listener.standpoint).await, Standing::Same) {
                // Its client asks for another one, and is told then what it may hear of.
                listener.end();
            }
        }
        for session in self.sessions.all() {
            let before = session.standpoint();
            match standing(authenticator, &before).await {
                Standing::Same => {}
                Standing::Other(caller) if principal(&caller) == *session.principal => {
                    self.sees(&session, Standpoint { caller, ..(*before).clone() });
                }
                // Tokens are short-lived: the same session may go on with the next one.
                Standing::None if before.caller.grant.kind == GrantKind::Jwt => session.hang_up(),
                Standing::None | Standing::Other(_) => self.end_session(&session).await,
            }
        }
    }
}

async fn standing(authenticator: &Authenticator, standpoint: &Standpoint) -> Standing {
    let Credential::Presented(credential) = &standpoint.credential else { return Standing::Same };
    // It is worth nothing, and stays that.
    if standpoint.caller.grant.kind == GrantKind::Keyless {
        return Standing::Same;
    }
    // There may be thousands of them, and others have work for this thread.
    tokio::task::consume_budget().await;
    let bearer = credential.as_ref().map(Secret::expose);
    match authenticator.identify(Presented { bearer }).await {
        Ok(caller) if caller == standpoint.caller => Standing::Same,
        Ok(caller) => Standing::Other(caller),
        Err(_) => Standing::None,
    }
}
