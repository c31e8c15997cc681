//! What one stream has yet to say.
//!
//! News are not queued but noted: that a list changed, that a resource was updated.
//! However often it happens and however slowly the client reads, each is said once
//! and a stream takes no more room than what it was asked for. A message is written
//! when it is about to be sent. A session has a log of what it was told, so that its
//! mailbox passes on at once what it is given.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use doorward_model::CapabilityKind;
use doorward_model::json::quoted;
use doorward_wire::reply;

use crate::session::Session;
use crate::session::news::Queue;

/// The kinds of lists that are announced, in this order. Resources and their
/// templates are one list to whoever is told.
pub(crate) const LISTS: [CapabilityKind; 3] =
    [CapabilityKind::Tool, CapabilityKind::Prompt, CapabilityKind::Resource];

const UPDATED: &str = "notifications/resources/updated";

/// What one stream has yet to say.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// The id of the listen request as written, which tags every notification.
    tag: Option<Box<str>>,
    /// The last change of the world before it was there.
    since: AtomicU64,
    /// The session whose log takes what is to be said, where there is one.
    session: Option<(Queue, Weak<Session>)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Nothing is said before the acknowledgement, where there is one.
    awaits_first: bool,
    first: Option<Bytes>,
    /// The changed lists, a bit each, as placed in [`LISTS`].
    lists: u8,
    /// The updated resources, in the client's words.
    updated: VecDeque<Arc<str>>,
    last: Option<Bytes>,
    is_over: bool,
    /// The number of the reader in force; an earlier one has reached its end.
    reader: u64,
    waker: Option<Waker>,
}

impl Mailbox {
    /// The mailbox of a `subscriptions/listen` with this id.
    pub(crate) fn tagged(id: &str, since: u64) -> Self {
        let state = State { awaits_first: true, ..State::default() };
        let since = AtomicU64::new(since);
        Self { tag: Some(id.into()), since, session: None, state: Mutex::new(state) }
    }

    /// The mailbox of a session.
    pub(crate) fn of_session(queue: Queue, session: Weak<Session>) -> Self {
        Self { session: Some((queue, session)), ..Self::default() }
    }

    /// The last change of the world before it was there.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Says this first, and from then on the news.
    pub(crate) fn acknowledge(&self, message: Bytes) {
        self.note(|state| {
            state.awaits_first = false;
            state.first = Some(message);
        });
    }

    /// Lists changed.
    pub(crate) fn changed(&self, kinds: impl IntoIterator<Item = CapabilityKind>) {
        self.note_news(|state| kinds.into_iter().for_each(|kind| state.lists |= bit(kind)));
    }

    /// A resource was updated.
    pub(crate) fn updated(&self, uri: &Arc<str>) {
        if let Some((queue, session)) = &self.session {
            if let Some(session) = session.upgrade() {
                session.tell(queue, self.write_updated(uri), None);
            }
            return;
        }
        self.note_news(|state| {
            if !state.updated.contains(uri) {
                state.updated.push_back(Arc::clone(uri));
            }
        });
    }

    /// Nobody asks after this resource any more.
    pub(crate) fn forget(&self, uri: &str) {
        if let Some((_, session)) = &self.session {
            if let Some(session) = session.upgrade() {
                session.unkept.forget(&self.write_updated(uri));
            }
            return;
        }
        self.state().updated.retain(|updated| **updated != *uri);
    }

    /// Ends the stream, with a last word if there is one.
    pub(crate) fn close(&self, last: Option<Bytes>) {
        self.note(|state| {
            state.awaits_first = false;
            state.last = last;
            state.is_over = true;
        });
    }

    /// Takes over: each message goes to exactly one stream, and an earlier one ends.
    pub(crate) fn read(self: &Arc<Self>) -> Reader {
        let mut number = 0;
        self.note(|state| {
            state.reader += 1;
            number = state.reader;
        });
        Reader { mailbox: Arc::clone(self), number }
    }

    fn poll_next(&self, number: u64, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state();
        if state.reader != number {
            return Poll::Ready(None);
        }
        if let Some(first) = state.first.take() {
            return Poll::Ready(Some(first));
        }
        if !state.awaits_first {
            if let Some(kind) = LISTS.into_iter().find(|kind| state.lists & bit(*kind) != 0) {
                state.lists &= !bit(kind);
                return Poll::Ready(Some(self.write(changed_method(kind), "")));
            }
            if let Some(uri) = state.updated.pop_front() {
                return Poll::Ready(Some(self.write_updated(&uri)));
            }
            if state.is_over {
                return Poll::Ready(state.last.take());
            }
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn write_updated(&self, uri: &str) -> Bytes {
        self.write(UPDATED, &format!("\"uri\":{}", quoted(uri)))
    }

    fn write(&self, method: &str, members: &str) -> Bytes {
        let comma = if members.is_empty() { "" } else { "," };
        let params = match &self.tag {
            Some(tag) => {
                format!(r#"{{{members}{comma}"_meta":{{"io.modelcontextprotocol/subscriptionId":{tag}}}}}"#)
            }
            None if members.is_empty() => return reply::notification(method, None),
            None => format!("{{{members}}}"),
        };
        reply::notification(method, Some(&params))
    }

    /// Nothing is news once it is over: whoever reads slowly would never come to the end.
    fn note_news(&self, change: impl FnOnce(&mut State)) {
        self.note(|state| {
            if !state.is_over {
                change(state);
            }
        });
    }

    fn note(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a mailbox, until another one does or it is closed.
pub(crate) struct Reader {
    mailbox: Arc<Mailbox>,
    number: u64,
}

impl Reader {
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.mailbox.poll_next(self.number, cx)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.mailbox.state();
        if state.reader == self.number {
            state.waker = None;
        }
    }
}

fn bit(kind: CapabilityKind) -> u8 {
    match kind {
        CapabilityKind::Tool => 1,
        CapabilityKind::Prompt => 2,
        CapabilityKind::Resource | CapabilityKind::ResourceTemplate => 4,
    }
}

/// The notification that a list of this kind changed.
pub(crate) fn changed_method(kind: CapabilityKind) -> &'static str {
    match kind {
        CapabilityKind::Tool => "notifications/tools/list_changed",
        CapabilityKind::Prompt => "notifications/prompts/list_changed",
        CapabilityKind::Resource | CapabilityKind::ResourceTemplate => "notifications/resources/list_changed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All there is to read, a word a message.
    fn said(reader: &mut Reader) -> String {
        let mut cx = Context::from_waker(Waker::noop());
        let mut said = Vec::new();
        loop {
            match reader.poll_next(&mut cx) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    said.push("end".to_owned());
                    break;
                }
                Poll::Ready(Some(message)) => {
                    let text = String::from_utf8_lossy(&message).into_owned();
                    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                    let method =
                        json["method"].as_str().map_or(text, |method| method.replace("notifications/", ""));
                    let uri = json["params"]["uri"].as_str().unwrap_or_default();
                    let tag = &json["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
                    let tag = if tag.is_null() { String::new() } else { tag.to_string() };
                    said.push(format!("{method}{uri}{tag}"));
                }
            }
        }
        said.join(" ")
    }

    #[test]
    fn news_are_said_once_after_the_acknowledgement_and_tagged() {
        let mailbox = Arc::new(Mailbox::tagged("\"L\"", 0));
        let mut reader = mailbox.read();
        for _ in 0..3 {
            mailbox.updated(&"a:b".into());
            mailbox.changed([CapabilityKind::ResourceTemplate, CapabilityKind::Tool]);
        }
        assert_eq!(said(&mut reader), "");
        mailbox.acknowledge(Bytes::from_static(b"ack"));
        assert_eq!(
            said(&mut reader),
            r#"ack tools/list_changed"L" resources/list_changed"L" resources/updateda:b"L""#
        );
        mailbox.updated(&"a:b".into());
        mailbox.forget("a:b");
        mailbox.updated(&"a:c".into());
        mailbox.close(Some(Bytes::from_static(b"bye")));
        assert_eq!(said(&mut reader), r#"resources/updateda:c"L" bye end"#);
    }

    #[test]
    fn what_happens_while_nobody_reads_is_told_on_the_next_stream_and_on_one_only() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.changed([CapabilityKind::Tool]);
        mailbox.changed([CapabilityKind::Tool]);
        mailbox.updated(&"a:b".into());
        let mut first = mailbox.read();
        assert_eq!(said(&mut first), "tools/list_changed resources/updateda:b");
        let mut second = mailbox.read();
        mailbox.changed([CapabilityKind::Prompt]);
        assert_eq!(said(&mut first), "end");
        drop(first);
        assert_eq!(said(&mut second), "prompts/list_changed");
        drop(second);
        mailbox.changed([CapabilityKind::Tool]);
        mailbox.close(None);
        assert_eq!(said(&mut mailbox.read()), "tools/list_changed end");
    }

    #[test]
    fn whoever_reads_slowly_comes_to_the_end_although_news_keep_coming() {
        let mailbox = Arc::new(Mailbox::default());
        let mut reader = mailbox.read();
        mailbox.updated(&"a:b".into());
        mailbox.close(Some(Bytes::from_static(b"bye")));
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = 0;
        while let Poll::Ready(Some(_)) = reader.poll_next(&mut cx) {
            read += 1;
            assert!(read <= 2, "what was there, and the last word");
            mailbox.updated(&"a:b".into());
            mailbox.changed([CapabilityKind::Tool]);
        }
        assert_eq!(read, 2);
    }
}
