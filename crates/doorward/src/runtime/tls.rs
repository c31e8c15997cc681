//! The certificate that clients are shown.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;

use crate::config::listen::Tls;

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
