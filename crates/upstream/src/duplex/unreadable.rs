//! What a server sends that is no message: whose answer it may have been, and what the log
//! is told.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::{Duplex, Waiting};
use crate::error::{Cause, UpstreamError};
use crate::meant::{self, Meant};

impl Duplex {
    /// Takes note of what cannot be read as an answer: whoever it was meant for, as far as that
    /// can be told, hears so at once, and is not left waiting.
    pub(super) fn not_an_answer(&self, bytes: &[u8], detail: &'static str, cause: Option<Cause>) {
        meant::look(bytes, |meant| {
            let error =
                UpstreamError::Protocol { server: self.hub.server.clone(), detail, cause: cause.clone() };
            match meant {
                Meant::For(id) => self.fail(|all| all.remove(&id).map(|waiting| (id, waiting)), error),
                Meant::ForSomebody => self.fail(only, error),
                Meant::ForNobody => {}
            }
        });
    }

    pub(super) fn fail(
        &self,
        find: impl FnOnce(&mut HashMap<u64, Waiting>) -> Option<(u64, Waiting)>,
        error: UpstreamError,
    ) {
        let found = self.lock().as_mut().and_then(find);
        if let Some((id, waiting)) = found {
            self.askers.ended(id);
            let _ = waiting.answer.send(Err(error));
        }
    }

    /// Takes note of a message too long to be read. Whose answer it was is known
    /// only if a single request waits.
    pub(crate) fn receive_unread(&self, error: UpstreamError) {
        if self.is_logged() {
            tracing::warn!(server = %self.hub.server, %error, "a message was dropped unread");
        }
        self.fail(only, error);
    }

    /// Whether one more message that cannot be read goes into the log: some servers print there
    /// whatever they would log.
    pub(super) fn is_logged(&self) -> bool {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = unreadable.admit(self.hub.clock.elapsed());
        if let Some(left_out @ 1..) = admitted {
            tracing::warn!(server = %self.hub.server, left_out, "messages that cannot be read left out");
        }
        admitted.is_some()
    }
}

/// The request that waits, if it is the only one.
fn only(all: &mut HashMap<u64, Waiting>) -> Option<(u64, Waiting)> {
    if all.len() == 1 { all.drain().next() } else { None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use doorward_model::ServerId;
    use doorward_model::clock::Fixed;
    use tokio::sync::mpsc;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Level, Metadata, Subscriber};

    use super::*;
    use crate::duplex::Outlet;
    use crate::hub::Hub;
    use crate::scrub::Scrubber;
    use crate::stdio::queue::queue;

    /// Counts warnings.
    struct Warnings(Arc<AtomicUsize>);

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN
        }

        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn what_a_server_prints_instead_of_messages_does_not_fill_the_log() {
        let (events, _heard) = mpsc::unbounded_channel();
        let server = ServerId::try_from("a").expect("valid");
        let fixed = Arc::new(Fixed::new(1));
        let scrubber = Arc::new(Scrubber::new([]));
        let hub = Hub::new(server.clone(), Arc::default(), fixed.clone(), fixed, scrubber, events);
        let duplex = Duplex::new(Arc::new(hub), Outlet::Pipe(queue().0));
        let warnings = Arc::new(AtomicUsize::new(0));
        tracing::subscriber::with_default(Warnings(Arc::clone(&warnings)), || {
            for _ in 0..1000 {
                duplex.receive(Bytes::from_static(br#"{"level":"info","message":"I am a log"}"#));
                duplex.receive_unread(UpstreamError::NoRoom { server: server.clone() });
            }
        });
        assert_eq!(warnings.load(Ordering::Relaxed), 10);
    }
}
