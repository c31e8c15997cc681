//! What a server was heard to offer, for each set of capabilities that it was asked with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorward_model::Catalog;

use crate::error::UpstreamError;
use crate::flight::Flight;
use crate::listing::Reading;

/// For how many sets of capabilities something is remembered.
const MOST: usize = 16;

/// The lists of one link.
#[derive(Default)]
pub(crate) struct Lists {
    /// By the capabilities that were declared; the oldest first.
    all: Mutex<Vec<(Box<str>, Arc<List>)>>,
}

/// What was heard with one set of capabilities.
pub(crate) struct List {
    pub(crate) asking: Flight<Result<Arc<Catalog>, UpstreamError>>,
    /// The last answer, and the number of changes it took into account.
    last: Mutex<Option<(u64, Arc<Catalog>)>>,
    /// What is being read, while it is.
    reading: Mutex<Option<Arc<Reading>>>,
}

impl Lists {
    /// The list for clients that declare this.
    pub(crate) fn of(&self, declared: &str) -> Arc<List> {
        let mut all = self.all();
        if let Some((_, list)) = all.iter().find(|(known, _)| **known == *declared) {
            return Arc::clone(list);
        }
        // What is forgotten is asked for again.
        if all.len() >= MOST {
            all.remove(0);
        }
        let list =
            Arc::new(List { asking: Flight::new(), last: Mutex::default(), reading: Mutex::default() });
        all.push((declared.into(), Arc::clone(&list)));
        list
    }

    /// Whether anything was ever heard.
    pub(crate) fn are_known(&self) -> bool {
        self.all().iter().any(|(_, list)| list.last().is_some())
    }

    fn all(&self) -> MutexGuard<'_, Vec<(Box<str>, Arc<List>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    /// The last answer, if it was whole and nothing has changed since.
    pub(crate) fn after(&self, changes: u64) -> Option<Arc<Catalog>> {
        let last = self.last();
        let last = last.as_ref().filter(|(known, catalog)| *known == changes && !catalog.is_partial());
        last.map(|(_, catalog)| Arc::clone(catalog))
    }

    /// Takes note of what is being read now, or that nothing is any more.
    pub(crate) fn reads(&self, reading: Option<Arc<Reading>>) {
        *self.reading() = reading;
    }

    /// What was read so far of what is being read.
    pub(crate) fn so_far(&self) -> Option<Catalog> {
        let reading = self.reading().clone();
        reading.and_then(|reading| reading.so_far())
    }

    /// Takes note of an answer that took so many changes into account.
    pub(crate) fn learn(&self, changes: u64, catalog: &Arc<Catalog>) {
        *self.last() = Some((changes, Arc::clone(catalog)));
    }

    fn reading(&self) -> MutexGuard<'_, Option<Arc<Reading>>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<(u64, Arc<Catalog>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
