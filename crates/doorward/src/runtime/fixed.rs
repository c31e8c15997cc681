//! What is settled when a process starts, and stays as it is until it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::audit::{Audit, Capture};
use crate::config::listen::Tls;

/// The part of a configuration that a reload leaves as it was.
pub(super) struct Fixed {
    place: (String, u16),
    tls: Option<Tls>,
    data_dir: PathBuf,
    shared: Option<String>,
    audit: Audit,
    captures: BTreeMap<String, Capture>,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            place: (config.listen.host.clone(), config.listen.port),
            tls: config.listen.tls.clone(),
            data_dir: config.data_dir.clone(),
            shared: config.shared.as_ref().map(|shared| shared.expose().to_owned()),
            audit: config.audit.clone(),
            captures: captures(config),
        }
    }

    /// What is said otherwise now, by its key.
    pub(super) fn changed(&self, config: &Config) -> Vec<&'static str> {
        let now = Self::of(config);
        let changes = [
            ("host` or `port", self.place != now.place),
            ("tls", self.tls != now.tls),
            ("dataDir", self.data_dir != now.data_dir),
            ("shared", self.shared != now.shared),
            ("audit", self.audit != now.audit),
            ("servers[].capture", self.captures != now.captures),
        ];
        changes.into_iter().filter_map(|(key, is_changed)| is_changed.then_some(key)).collect()
    }
}

/// The servers of which more or less is recorded than of the others.
pub(super) fn captures(config: &Config) -> BTreeMap<String, Capture> {
    let each = config.servers.iter();
    each.filter_map(|server| Some((server.id.as_str().to_owned(), server.capture?))).collect()
}
