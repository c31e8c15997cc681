//! Whether one caller or several have made calls over a link that all calls share.
//!
//! A log message of a child names no call. It may belong to one that was answered long ago, to
//! work that goes on behind it, or to none. Where only one caller has ever used the child, it is
//! that caller's whichever it is; where several have, nobody knows, and nobody hears it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use doorward_model::Caller;

/// Those who have made calls over one link.
#[derive(Default)]
pub(crate) struct Makers {
    first: OnceLock<Arc<Caller>>,
    are_several: AtomicBool,
}

impl Makers {
    /// Notes who makes a call, before the server hears of it.
    pub(crate) fn note(&self, caller: &Arc<Caller>) {
        let first = self.first.get_or_init(|| Arc::clone(caller));
        if !Arc::ptr_eq(first, caller) && !first.is_same_principal(caller) {
            self.are_several.store(true, Ordering::Release);
        }
    }

    /// Whether more than one principal has made calls.
    pub(crate) fn are_several(&self) -> bool {
        self.are_several.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use doorward_model::{Grant, GrantKind};

    use super::*;

    fn caller(id: &str) -> Arc<Caller> {
        let grant = Grant {
            id: id.to_owned(),
            kind: GrantKind::Key,
            issuer: None,
            claims: Default::default(),
            roles: Vec::new(),
            servers: None,
            scopes: Vec::new(),
            expires_at: None,
            rate_limit: None,
        };
        Arc::new(Caller { grant, person: None, agent: None })
    }

    #[test]
    fn the_same_principal_is_one_however_often_it_comes_in() {
        let makers = Makers::default();
        assert!(!makers.are_several());
        makers.note(&caller("one"));
        makers.note(&caller("one"));
        assert!(!makers.are_several());
        makers.note(&caller("other"));
        assert!(makers.are_several());
        makers.note(&caller("one"));
        assert!(makers.are_several(), "it stays so for as long as the link");
    }
}
