//! Whom to trust: the machine's root certificates, or Mozilla's when it has none.
//!
//! Certificates are always verified. There is no switch against that; a private
//! authority is trusted by adding its root.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

use crate::error::EgressError;

/// The TLS configuration shared by all doors.
///
/// # Errors
/// [`EgressError::NoRoots`] when an added root is no certificate.
pub(crate) fn config(added: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, EgressError> {
    let mut roots = RootCertStore::empty();
    // Certificates the platform store holds and this library cannot read are
    // passed over: one odd root must not cut off all others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for root in added {
        roots.add(root.clone()).map_err(|_| EgressError::NoRoots)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
