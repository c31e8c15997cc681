//! Policy bundles: what each digest in the log stands for, one file a bundle.
//!
//! A bundle is kept before the first decision that names it, and never changed: its name is
//! its digest.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::LedgerError;
use crate::whole;

/// Keeps a bundle under its digest, on disk when this returns.
pub(crate) fn keep(log: &Path, digest: &str, bundle: &str) -> Result<(), LedgerError> {
    let Some(path) = path(log, digest) else { return Ok(()) };
    if path.exists() {
        return Ok(());
    }
    let folder = log.join(FOLDER);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(LedgerError::file("create", &folder))?;
    let written = whole::write(&path, bundle.as_bytes()).and_then(|()| File::open(&folder)?.sync_all());
    written.map_err(LedgerError::file("write", &path))
}

/// The policy bundle of this digest; `None` where the log has not kept it.
///
/// # Errors
/// When it cannot be read.
pub fn bundle(log: &Path, digest: &str) -> Result<Option<String>, LedgerError> {
    let Some(path) = path(log, digest) else { return Ok(None) };
    match fs::read_to_string(&path) {
        Ok(bundle) => Ok(Some(bundle)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::file("read", &path)(error)),
    }
}

const FOLDER: &str = "bundles";

/// Where the bundle of a digest is; `None` for what is no digest.
fn path(log: &Path, digest: &str) -> Option<PathBuf> {
    let hex = digest.strip_prefix("sha256:")?;
    let is_hash = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| log.join(FOLDER).join(format!("{hex}.json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_found_by_its_digest_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path();
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(bundle(log, &digest).expect("readable"), None);
        keep(log, &digest, "{}").expect("kept");
        keep(log, &digest, "another").expect("kept already");
        assert_eq!(bundle(log, &digest).expect("readable").as_deref(), Some("{}"));
        fs::write(log.join("secret.json"), "secret").expect("written");
        for other in ["sha256:../secret", "sha256:", "", &digest[7..], "sha256:é"] {
            assert_eq!(bundle(log, other).expect("nothing"), None, "{other}");
        }
    }
}
