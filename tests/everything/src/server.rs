//! What a server is beside its connections.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::change::{Change, Changes};
use crate::revision::Eras;
use crate::seal::Seal;
use crate::task::Tasks;

/// A server; connections share it.
pub struct Everything {
    pub(crate) eras: Eras,
    pub(crate) changes: Changes,
    pub(crate) seal: Seal,
    pub(crate) tasks: Tasks,
    /// Rung when all questions are taken back.
    pub(crate) taking_back: Notify,
    tool_shown: AtomicBool,
    prompt_shown: AtomicBool,
    touches: AtomicU64,
}

impl Everything {
    /// A server that speaks these eras.
    pub fn new(eras: Eras) -> Self {
        Self {
            eras,
            changes: Changes::new(),
            seal: Seal::new(),
            tasks: Tasks::default(),
            taking_back: Notify::new(),
            tool_shown: AtomicBool::new(false),
            prompt_shown: AtomicBool::new(false),
            touches: AtomicU64::new(0),
        }
    }

    /// Takes back what clients of the legacy era were asked and have not answered.
    pub fn take_back(&self) {
        self.taking_back.notify_waiters();
    }

    /// Makes a change and tells everybody who listens.
    pub(crate) fn change(&self, change: Change) {
        match change {
            Change::Tools => drop(self.tool_shown.fetch_not(Ordering::SeqCst)),
            Change::Prompts => drop(self.prompt_shown.fetch_not(Ordering::SeqCst)),
            Change::Resource(_) => drop(self.touches.fetch_add(1, Ordering::SeqCst)),
            Change::Task(_) => {}
        }
        self.changes.announce(change);
    }

    /// Whether the tool that comes and goes is there.
    pub(crate) fn tool_shown(&self) -> bool {
        self.tool_shown.load(Ordering::SeqCst)
    }

    /// Whether the prompt that comes and goes is there.
    pub(crate) fn prompt_shown(&self) -> bool {
        self.prompt_shown.load(Ordering::SeqCst)
    }

    /// How often the watched resource changed.
    pub(crate) fn touches(&self) -> u64 {
        self.touches.load(Ordering::SeqCst)
    }
}

/// `Implementation`, as the newest revision has it.
pub fn implementation() -> Value {
    json!({
        "name": "everything", "title": "Everything", "version": env!("CARGO_PKG_VERSION"),
        "description": "Everything MCP has, for tests",
    })
}

pub const INSTRUCTIONS: &str = "Call tools by the names the conformance suite knows.";
