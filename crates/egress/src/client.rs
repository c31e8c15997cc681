//! Where doors come from.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use doorward_model::{Clock, Room};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;

use crate::door::{Door, Shared};
use crate::error::EgressError;
use crate::names::{Names, System};
use crate::pool::Pool;
use crate::reach::Rules;
use crate::target::Target;
use crate::tls;

/// What all doors have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long resolving, dialling and the TLS handshake may take together.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How many unused connections are kept for one door.
    pub max_idle: usize,
    /// Root certificates trusted besides the machine's own.
    pub added_roots: Vec<CertificateDer<'static>>,
    /// Where answers must find room; `None` sets no bounds beside each answer's own.
    pub room: Option<Arc<Room>>,
    /// Who knows where a name leads.
    pub names: Arc<dyn Names>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_idle: 64,
            added_roots: Vec::new(),
            room: None,
            names: Arc::new(System),
        }
    }
}

/// Hands out doors. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    /// Made when the first door needs it: reading the machine's certificates
    /// takes milliseconds, and many a gateway speaks to this machine only.
    tls: Arc<OnceLock<Result<Arc<ClientConfig>, EgressError>>>,
}

impl Client {
    /// A client without any door yet. `clock` says when a connection is too old.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { settings: Arc::new(settings), clock, tls: Arc::default() }
    }

    /// A door to the origin of `target`; nothing is connected yet.
    ///
    /// # Errors
    /// [`EgressError::PlainHttp`] when the way would be unencrypted against the
    /// rules, [`EgressError::NoRoots`] when nobody could be trusted.
    pub fn door(&self, target: Target, rules: Rules) -> Result<Door, EgressError> {
        let tls = if target.is_tls() {
            Some(self.tls.get_or_init(|| tls::config(&self.settings.added_roots)).clone()?)
        } else if rules.allow_insecure_http || target.is_loopback() {
            None
        } else {
            return Err(EgressError::PlainHttp { host: target.host().into() });
        };
        Ok(Door::new(Shared {
            target,
            rules,
            tls,
            pool: Pool::new(self.settings.max_idle),
            clock: Arc::clone(&self.clock),
            names: Arc::clone(&self.settings.names),
            connect_timeout: self.settings.connect_timeout,
            idle_timeout: self.settings.idle_timeout,
            room: self.settings.room.clone(),
        }))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}
