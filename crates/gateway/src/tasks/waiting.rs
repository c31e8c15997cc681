//! What one task wants to know: its server's questions, until they are answered.

use std::sync::{Mutex, MutexGuard, PoisonError};

use doorward_model::json::{Document, Value, push_string};
use doorward_upstream::Question;
use doorward_wire::Abilities;
use tokio::sync::Notify;

use crate::ask::{evidence, for_modern, key, reread};

/// How many questions of one task may wait to be answered.
pub(super) const QUESTIONS: usize = 16;

/// What a task wants to know.
#[derive(Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
    /// Rung when there is more, or will be no more.
    news: Notify,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    is_over: bool,
}

struct Open {
    key: String,
    question: Question,
    was_shown: bool,
}

impl Waiting {
    pub(super) fn add(&self, question: Question) {
        let mut state = self.lock();
        // A question too many is dropped, and so answered.
        if state.is_over || state.open.len() >= QUESTIONS {
            return;
        }
        let key = key(&question, state.open.iter().map(|open| open.key.as_str()));
        state.open.push(Open { key, question, was_shown: false });
        drop(state);
        self.news.notify_one();
    }

    /// Nothing can be answered any more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let open = std::mem::take(&mut state.open);
        drop(state);
        drop(open);
        self.news.notify_one();
    }

    /// Waits until there is a question, or will be none.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// The questions that a client with these abilities can answer, as the members of
    /// `inputRequests`, and the methods of those that nobody was shown before.
    pub(super) fn shown(&self, abilities: &Abilities) -> (String, Vec<String>) {
        let (mut out, mut new) = (String::new(), Vec::new());
        for open in &mut self.lock().open {
            let question = &open.question;
            let text = std::str::from_utf8(&question.params).unwrap_or_default();
            let params = reread(if text.is_empty() { "{}" } else { text });
            if !abilities.allow(&question.method, params.as_ref().map(Document::root)) {
                continue;
            }
            if !out.is_empty() {
                out.push(',');
            }
            push_string(&mut out, &open.key);
            out.push_str(r#":{"method":"#);
            push_string(&mut out, &question.method);
            if !text.is_empty() {
                out.push_str(r#","params":"#);
                out.push_str(&for_modern(text));
            }
            out.push('}');
            if !std::mem::replace(&mut open.was_shown, true) {
                new.push(question.method.clone());
            }
        }
        (out, new)
    }

    /// Hands a client's answers to the server; what it left out stays open. Yields what was
    /// answered, and how.
    pub(super) fn answered(&self, responses: Value<'_>) -> Vec<(String, &'static str)> {
        let mut answered = Vec::new();
        let mut state = self.lock();
        for open in std::mem::take(&mut state.open) {
            match responses.get(&open.key).filter(|response| response.is_object()) {
                Some(response) => {
                    answered.push((open.question.method.clone(), evidence::gist(response.raw())));
                    open.question.answer(response.raw());
                }
                None => state.open.push(open),
            }
        }
        answered
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
