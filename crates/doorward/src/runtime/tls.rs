//! The certificate that clients are shown, and that it may be renewed at any time.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use doorward_ledger::Ledger;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;

use super::{Surroundings, event, watch};
use crate::config::listen::Tls;

/// The certificate in force.
pub(super) struct Shown {
    files: Tls,
    pub(super) config: Arc<ArcSwap<ServerConfig>>,
}

impl Shown {
    pub(super) fn load(files: &Tls) -> anyhow::Result<Self> {
        Ok(Self { files: files.clone(), config: Arc::new(ArcSwap::new(load(files)?)) })
    }

    /// Looks for another certificate until it is aborted. New connections are shown it; those
    /// that are open go on.
    pub(super) async fn watch(self, ledger: Ledger, surroundings: Surroundings) {
        let paths = vec![self.files.cert.clone(), self.files.key.clone()];
        let take_up = move |is_whole: &dyn Fn() -> bool| {
            let loaded = load(&self.files);
            if !is_whole() {
                return Ok(false);
            }
            self.config.store(loaded?);
            tracing::info!(target: "doorward::config", "another certificate is in force");
            event(&ledger, &surroundings, "reloaded", "another certificate is in force", None);
            Ok(true)
        };
        watch::watch(paths, Arc::new(take_up)).await;
    }
}

/// Reads certificate and key. TLS 1.2 and 1.3, HTTP/1.1.
pub(crate) fn load(files: &Tls) -> anyhow::Result<Arc<ServerConfig>> {
    let shown = |path: &std::path::Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("the certificate {} cannot be read", shown(&files.cert)))?;
    ensure!(!chain.is_empty(), "the certificate {} cannot be read: there is none in it", shown(&files.cert));
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("the key {} cannot be read", shown(&files.key)))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("certificate {} and key do not go together", shown(&files.cert)))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
