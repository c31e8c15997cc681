//! The certificate that clients are shown, and that it may be renewed at any time.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use doorward_ledger::Ledger;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;

use super::watch::{self, Taken};
use super::{Surroundings, event};
use crate::config::listen::Tls;

/// The certificate in force.
pub(super) struct Shown {
    files: Tls,
    chain: Mutex<Chain>,
    pub(super) config: Arc<ArcSwap<ServerConfig>>,
}

type Chain = Vec<CertificateDer<'static>>;

impl Shown {
    pub(super) fn load(files: &Tls) -> anyhow::Result<Self> {
        let (chain, config) = read(files)?;
        Ok(Self { files: files.clone(), chain: Mutex::new(chain), config: Arc::new(ArcSwap::new(config)) })
    }

    /// Looks for another certificate until it is aborted. New connections are shown it; those
    /// that are open go on.
    pub(super) async fn watch(self, ledger: Ledger, surroundings: Surroundings) {
        let paths = vec![self.files.cert.clone(), self.files.key.clone()];
        let looked_at = paths.clone();
        let take_up = move |is_whole: &dyn Fn() -> bool| {
            let read = read(&self.files);
            if !is_whole() {
                return Ok(None);
            }
            let (chain, config) = read?;
            let files = looked_at.clone();
            let mut in_force = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
            // A chain has one key: the same chain is the same certificate.
            let is_new = *in_force != chain;
            if is_new {
                *in_force = chain;
                self.config.store(config);
                tracing::info!(target: "doorward::config", "another certificate is in force");
                event(&ledger, &surroundings, "reloaded", "another certificate is in force", None);
            }
            Ok(Some(Taken { is_new, files }))
        };
        watch::watch(paths, Arc::new(take_up), Arc::default()).await;
    }
}

/// Whether certificate and key can be used.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn check(files: &Tls) -> anyhow::Result<()> {
    read(files).map(|_| ())
}

/// Reads certificate and key. TLS 1.2 and 1.3, HTTP/1.1.
fn read(files: &Tls) -> anyhow::Result<(Chain, Arc<ServerConfig>)> {
    let shown = |path: &std::path::Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Chain, _>>)
        .with_context(|| format!("the certificate {} cannot be read", shown(&files.cert)))?;
    ensure!(!chain.is_empty(), "the certificate {} cannot be read: there is none in it", shown(&files.cert));
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("the key {} cannot be read", shown(&files.key)))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain.clone(), key)
        .with_context(|| format!("certificate {} and key do not go together", shown(&files.cert)))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((chain, Arc::new(config)))
}
