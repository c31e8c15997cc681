//! An interactive tool or prompt, written once for both eras.
//!
//! A play is a pure function of its arguments and of the answers there are so
//! far. It is played again after every answer, so it holds nothing in memory:
//! what it needs to know, it asks for, or is told.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::log_level::LogLevel;
use crate::rpc::Fault;

/// What a play decides by.
pub struct Scene<'a> {
    pub arguments: &'a Value,
    pub answers: &'a Answers,
    /// What the client declared.
    pub capabilities: &'a Value,
    /// Whether the work that an earlier [`Step::Work`] asked for is done.
    pub worked: bool,
}

impl Scene<'_> {
    /// The answer to one question.
    pub fn answer(&self, key: &str) -> Option<&Value> {
        self.answers.get(key)
    }

    /// An argument that is a text; empty when it is absent.
    pub fn text(&self, argument: &str) -> &str {
        self.arguments[argument].as_str().unwrap_or_default()
    }
}

/// Answers by the key of their question.
pub type Answers = Map<String, Value>;

/// Plays a scene.
pub type Play = fn(&Scene<'_>) -> Step;

/// What a play wants next.
pub enum Step {
    /// Answers to these, then play again.
    Ask(Ask),
    /// Time, then play again. This is where a call becomes a task if it may.
    Work(Duration),
    Done(Performance),
    Fail(Fault),
}

impl Step {
    /// A text, at once.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Done(Performance { beats: Vec::new(), result: content(vec![text_block(text)]) })
    }

    /// A result, at once.
    pub fn done(result: Value) -> Self {
        Self::Done(Performance { beats: Vec::new(), result })
    }

    /// One question, and no state.
    pub fn ask(key: &'static str, question: Question) -> Self {
        Self::Ask(Ask { questions: vec![(key, question)], sealed: false, streamed: false })
    }
}

/// Questions that may be answered in any order.
pub struct Ask {
    pub questions: Vec<(&'static str, Question)>,
    /// Whether the answers so far travel with the client as sealed state.
    pub sealed: bool,
    /// Whether to answer with a stream even though nothing comes before.
    pub streamed: bool,
}

impl Ask {
    pub fn sealed(questions: Vec<(&'static str, Question)>) -> Self {
        Self { questions, sealed: true, streamed: false }
    }
}

/// A request to the client, in the words of the newest revision.
#[derive(Clone, Debug)]
pub struct Question {
    pub method: &'static str,
    pub params: Value,
}

impl Question {
    /// A form with these fields, all of them required.
    pub fn form(message: &str, properties: Value) -> Self {
        let required: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).collect();
        let schema = json!({"type": "object", "properties": properties, "required": required});
        let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
        Self { method: "elicitation/create", params }
    }

    /// A form whose fields may be left out.
    pub fn optional_form(message: &str, properties: &Value) -> Self {
        let schema = json!({"type": "object", "properties": properties, "required": []});
        let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
        Self { method: "elicitation/create", params }
    }

    /// A page for the user to open.
    pub fn page(message: &str, url: &str) -> Self {
        let params = json!({"mode": "url", "message": message, "url": url});
        Self { method: "elicitation/create", params }
    }

    pub fn sampling(prompt: &str, max_tokens: u32) -> Self {
        let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
        Self {
            method: "sampling/createMessage",
            params: json!({"messages": [message], "maxTokens": max_tokens}),
        }
    }

    pub fn roots() -> Self {
        Self { method: "roots/list", params: json!({}) }
    }
}

/// What happens before a result, and the result.
pub struct Performance {
    pub beats: Vec<Beat>,
    pub result: Value,
}

/// One thing a tool does while it runs.
pub enum Beat {
    Progress {
        done: u32,
        of: u32,
    },
    Log(LogLevel, &'static str),
    Pause(Duration),
    /// The server closes the stream of this call; the client resumes it.
    HangUp,
    /// Something about the server changes, and all who listen learn of it.
    Change(Change),
}

pub fn content(blocks: Vec<Value>) -> Value {
    json!({ "content": blocks })
}

pub fn text_block(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}

/// The result of a tool that failed.
pub fn failure(text: &str) -> Value {
    json!({"content": [text_block(text)], "isError": true})
}
