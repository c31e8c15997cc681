//! Quotas: how many calls in a period of the calendar, counted one by one.
//!
//! The counts are kept by whoever implements [`Counts`] and outlive this process and every
//! configuration: a counter is known by the quota's name, key and period and by whose it is.
//! A call that several quotas speak of is counted by all of them or by none.

use std::pin::Pin;
use std::sync::Arc;

use doorward_model::{Counter, Counts, Departure, Timestamp, Uncounted, glob};

use crate::key::{KeyTemplate, Subject};
use crate::window::Window;

/// One quota.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// Named in refusals and records.
    pub name: String,
    /// Who shares a count.
    pub key: KeyTemplate,
    /// Glob over the servers it speaks of; all when `None`.
    pub server: Option<String>,
    /// Glob over tool names, prompt names and URIs; all when `None`.
    pub tool: Option<String>,
    /// Calls in a period.
    pub max: u32,
    /// The period.
    pub per: Window,
}

/// All quotas of a configuration.
#[derive(Debug, Default)]
pub struct Quotas(Vec<Arc<Quota>>);

/// The quotas that speak of a call. Nothing is counted yet.
#[derive(Debug)]
pub struct Claim {
    quotas: Vec<Arc<Quota>>,
    counters: Vec<Counter>,
    now: Timestamp,
}

/// Why a call was not counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreserved {
    /// A quota is used up.
    #[error("quota `{name}` exceeded: {max} per {per} are used up; it resets at {resets_at}")]
    Exceeded {
        /// The quota that is used up, or the one of them that takes longest to be renewed.
        name: String,
        /// How many there are.
        max: u32,
        /// In what.
        per: Window,
        /// When there are as many again.
        resets_at: Timestamp,
        /// How many of each quota are used.
        used: Vec<(String, u64)>,
    },
    /// Nobody knows how many are left, so there are none.
    #[error("quota `{name}` cannot be counted: {cause}; try again later")]
    Uncounted {
        /// The first quota that speaks of the call.
        name: String,
        /// What is the matter.
        cause: Uncounted,
    },
}

/// A call that is counted.
///
/// Dropping this gives the units back if the call has not [left](Self::departure), which calls
/// it off. If it has, they stay taken whatever becomes of it, unless somebody who knows that
/// nothing was done [gives them back](Self::give_back). So no path can forget to say which.
#[derive(Debug)]
#[must_use = "what is dropped before it leaves was not counted"]
pub struct Reservation {
    counters: Vec<Counter>,
    used: Vec<(String, u64)>,
    counts: Arc<dyn Counts>,
    departure: Arc<Departure>,
    is_over: bool,
}

/// When units have been given back.
pub type GivenBack = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Quotas {
    /// These quotas; what they have counted is not part of them.
    pub fn new(quotas: Vec<Quota>) -> Self {
        Self(quotas.into_iter().map(Arc::new).collect())
    }

    /// The quotas that speak of a call that came at `now`; `None` when none does.
    pub fn claim(&self, subject: &Subject<'_>, now: Timestamp) -> Option<Claim> {
        let quotas: Vec<_> = self.0.iter().filter(|quota| quota.speaks_of(subject)).cloned().collect();
        if quotas.is_empty() {
            return None;
        }
        let counters = quotas.iter().map(|quota| quota.counter(subject, now)).collect();
        Some(Claim { quotas, counters, now })
    }
}

impl Quota {
    fn speaks_of(&self, subject: &Subject<'_>) -> bool {
        let matches = |wanted: &Option<String>, text: &str| {
            wanted.as_deref().is_none_or(|pattern| glob::matches(pattern, text))
        };
        matches(&self.server, subject.server.as_str()) && matches(&self.tool, subject.tool)
    }

    fn counter(&self, subject: &Subject<'_>, now: Timestamp) -> Counter {
        let Self { name, key, per, .. } = self;
        let (begins, ends) = per.around(now);
        let (length, begins, whose) = (name.len(), begins.as_micros(), key.key(subject));
        // The name led by its length: it may hold anything, what follows may not.
        let name = format!("quota/{length}:{name}/{key}/{per}/{begins}/{whose}");
        Counter { name, most: self.max, ends }
    }
}

impl Claim {
    /// The first of the quotas, for messages.
    pub fn name(&self) -> &str {
        self.quotas.first().map_or("", |quota| &quota.name)
    }

    /// Counts the call. Not to be given up half way: what is then counted stays so.
    ///
    /// # Errors
    /// [`Unreserved`] when a quota is used up or cannot be counted; no quota counted the call.
    pub async fn reserve(self, counts: Arc<dyn Counts>) -> Result<Reservation, Unreserved> {
        let first = self.name().to_owned();
        let Self { quotas, counters, now } = self;
        let counted = match counts.take(&counters, now).await {
            Ok(counted) => counted,
            Err(cause) => return Err(Unreserved::Uncounted { name: first, cause }),
        };
        let names = quotas.iter().map(|quota| quota.name.clone());
        let used: Vec<_> = names.zip(counted.used).collect();
        if counted.fits {
            return Ok(Reservation { counters, used, counts, departure: Arc::default(), is_over: false });
        }
        let full = used.iter().zip(&counters).zip(&quotas);
        let full = full.filter(|(((_, used), counter), _)| *used >= u64::from(counter.most));
        let last = full.max_by_key(|((_, counter), _)| counter.ends);
        Err(match last {
            Some(((_, counter), quota)) => Unreserved::Exceeded {
                name: quota.name.clone(),
                max: quota.max,
                per: quota.per,
                resets_at: counter.ends,
                used,
            },
            None => {
                let cause = Uncounted { what: "its count makes no sense", cause: format!("{counters:?}") };
                Unreserved::Uncounted { name: first, cause }
            }
        })
    }
}

impl Reservation {
    /// How many of each quota are used, this call among them.
    pub fn used(&self) -> &[(String, u64)] {
        &self.used
    }

    /// When the call leaves; whatever it does from then on, it may have done.
    pub fn departure(&self) -> &Arc<Departure> {
        &self.departure
    }

    /// The call is known to have done nothing. Begins at once, and goes on even if nobody
    /// waits for the end.
    pub fn give_back(mut self) -> GivenBack {
        self.is_over = true;
        self.counts.give_back(&self.counters)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_over && self.departure.call_off() {
            drop(self.counts.give_back(&self.counters));
        }
    }
}
