//! Decisions whose outcome is not in the log yet.
//!
//! They are remembered for two reasons: what opens the log next must know them without
//! reading all of it, and an outcome that could not be written is written later.

use std::collections::BTreeMap;

use doorward_model::CallId;

use crate::recover::Open;
use crate::writer::Place;

/// The open decisions, by their sequence number.
#[derive(Debug, Default)]
pub(crate) struct OpenCalls(BTreeMap<u64, Waiting>);

#[derive(Debug)]
struct Waiting {
    call: CallId,
    /// The place of its outcome, once that has one.
    outcome: Option<Place>,
    /// Its outcome, when that could not be written.
    unwritten: Option<String>,
}

impl OpenCalls {
    pub(crate) fn new(open: Open) -> Self {
        Self(open.into_iter().map(|(of, call)| (of, Waiting::new(call))).collect())
    }

    pub(crate) fn insert(&mut self, sequence: u64, call: CallId) {
        self.0.insert(sequence, Waiting::new(call));
    }

    /// Forgets a decision. The call is named because the number may already be that
    /// of another, when the decision was never written.
    pub(crate) fn remove(&mut self, sequence: u64, call: CallId) {
        if self.0.get(&sequence).is_some_and(|waiting| waiting.call == call) {
            self.0.remove(&sequence);
        }
    }

    /// The outcome of a decision was given this place.
    pub(crate) fn settling(&mut self, of: u64, place: &Place) {
        if let Some(waiting) = self.0.get_mut(&of) {
            waiting.outcome = Some(place.clone());
        }
    }

    /// The outcome of a decision could not be written.
    pub(crate) fn not_written(&mut self, of: u64, outcome: String) {
        if let Some(waiting) = self.0.get_mut(&of) {
            waiting.outcome = None;
            waiting.unwritten = Some(outcome);
        }
    }

    /// Takes an outcome that has to be written once more.
    pub(crate) fn take_unwritten(&mut self) -> Option<(u64, CallId, String)> {
        self.0.iter_mut().find_map(|(of, waiting)| Some((*of, waiting.call, waiting.unwritten.take()?)))
    }

    /// All of them.
    pub(crate) fn all(&self) -> Open {
        self.0.iter().map(|(of, waiting)| (*of, waiting.call)).collect()
    }

    /// Those that the first `size` entries leave open.
    pub(crate) fn at(&self, size: u64) -> Open {
        let closed = |outcome: &Place| outcome.sequence < size && outcome.is_written();
        let open = self
            .0
            .iter()
            .filter(|(of, waiting)| **of < size && !waiting.outcome.as_ref().is_some_and(closed));
        open.map(|(of, waiting)| (*of, waiting.call)).collect()
    }
}

impl Waiting {
    fn new(call: CallId) -> Self {
        Self { call, outcome: None, unwritten: None }
    }
}
