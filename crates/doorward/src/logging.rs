//! Log lines of the running program, on standard error.
//!
//! How much is written is settled at the start; about single servers it can be changed while
//! the program runs. Where nobody has, a line that is not written costs what it always has:
//! one look at a number.

mod patient;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use doorward_gateway::door::{Level, Levels as Shown};
use doorward_model::ServerId;
use patient::Patient;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::printable::{printable_json, without_odd};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The field of a line that names the server it is about.
const SERVER: &str = "server";

/// How much is logged about single servers, where that is not what is usual. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Levels(Arc<RwLock<BTreeMap<String, Level>>>);

impl Levels {
    /// Logs so much about a server from now on.
    pub fn set(&self, server: &ServerId, level: Level) {
        let mut levels = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match level {
            Level::Usual => levels.remove(server.as_str()),
            level => levels.insert(server.as_str().to_owned(), level),
        };
        drop(levels);
        // Lines that were found to be of no interest once are not asked about again.
        tracing::callsite::rebuild_interest_cache();
    }

    /// What is not as usual.
    pub fn shown(&self) -> Shown {
        let levels = self.0.read().unwrap_or_else(PoisonError::into_inner);
        levels.iter().map(|(server, level)| (server.clone(), level.as_str())).collect()
    }

    fn of(&self, server: &str) -> Option<LevelFilter> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(server).map(|level| filter(*level))
    }

    /// The most that is logged about any of them.
    fn most(&self) -> Option<LevelFilter> {
        let levels = self.0.read().unwrap_or_else(PoisonError::into_inner);
        levels.values().map(|level| filter(*level)).max()
    }
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info | Level::Usual => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// Starts logging. `filter` is a level or a list of `target=level`.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn start(format: Format, filter: Option<&str>) -> anyhow::Result<Levels> {
    let usual = EnvFilter::try_new(filter.unwrap_or("info")).context("DOORWARD_LOG cannot be read")?;
    let levels = Levels::default();
    let filter = ByServer { usual, levels: levels.clone() };
    // What is odd is escaped by the writer, which sees all of a line.
    let lines = tracing_subscriber::fmt::layer().with_writer(Lines(format)).with_ansi_sanitization(false);
    let registry = tracing_subscriber::registry();
    let started = match format {
        Format::Text => registry.with(lines.with_ansi(false).with_filter(filter)).try_init(),
        Format::Json => registry.with(lines.json().with_filter(filter)).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(levels)
}

/// Where lines go: standard error. Names, messages and errors in them come from outside, so each
/// stays one line, and every character of it can be seen, whoever wrote it and whatever it says.
#[derive(Clone, Copy)]
struct Lines(Format);

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Lines {
    /// Takes a line at a time, which is how they are written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let shown = match self.0 {
            Format::Text => without_odd(text),
            Format::Json => printable_json(text),
        };
        Patient(self.0).write_all(format!("{shown}\n").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Patient(self.0).flush()
    }
}

/// Lets pass what is usual, and what is wanted of the server that a line names.
struct ByServer {
    usual: EnvFilter,
    levels: Levels,
}

impl ByServer {
    fn names_server(meta: &Metadata<'_>) -> bool {
        meta.is_event() && meta.fields().field(SERVER).is_some()
    }
}

impl<S: Subscriber> Filter<S> for ByServer {
    fn enabled(&self, meta: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        Filter::enabled(&self.usual, meta, context)
            || (Self::names_server(meta) && self.levels.most().is_some_and(|most| *meta.level() <= most))
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        let usual = Filter::<S>::callsite_enabled(&self.usual, meta);
        match self.levels.most() {
            // Which server it is about is known when it is written.
            Some(_) if Self::names_server(meta) => Interest::sometimes(),
            _ => usual,
        }
    }

    fn event_enabled(&self, event: &Event<'_>, context: &Context<'_, S>) -> bool {
        let meta = event.metadata();
        if !Self::names_server(meta) {
            return true;
        }
        let mut named = Named::default();
        event.record(&mut named);
        match self.levels.of(&named.0) {
            Some(level) => *meta.level() <= level,
            None => Filter::enabled(&self.usual, meta, context),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let usual = Filter::<S>::max_level_hint(&self.usual)?;
        Some(self.levels.most().map_or(usual, |most| most.max(usual)))
    }
}

/// The server that a line names.
#[derive(Default)]
struct Named(String);

impl Visit for Named {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == SERVER {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == SERVER {
            self.0 = format!("{value:?}");
        }
    }
}
