//! The keys of the log: one that signs checkpoints, one that salts digests.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use doorward_model::Random;

use crate::error::LedgerError;
use crate::merkle::Hash;
use crate::whole;

/// The keys, kept in files that only their owner can read.
pub(crate) struct Keys {
    pub signing: Ed25519KeyPair,
    pub salt: hmac::Key,
    /// Tells the key that salts from others.
    pub salt_fingerprint: Hash,
}

pub(crate) const SIGNING: &str = "ledger-signing.key";

pub(crate) const SALT: &str = "ledger-salt.key";
/// The key that seals, which somebody else opens.
pub(crate) const SEAL: &str = "seal.key";

/// What is hashed before the key that salts, so that the hash is of use for nothing else.
const FINGERPRINT: &[u8] = b"doorward salt key\n";

/// Length of the key that salts are made with, in bytes.
const SALT_KEY: usize = 32;

impl Keys {
    /// Reads the keys of a folder, making what is missing, unless a log `is_known` that was
    /// written with them.
    pub(crate) fn open(folder: &Path, is_known: bool, random: &dyn Random) -> Result<Self, LedgerError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(LedgerError::file("create", folder))?;
        if let Some(missing) = [SIGNING, SALT].map(|name| folder.join(name)).iter().find(|it| !it.exists())
            && is_known
        {
            return Err(LedgerError::MissingKey(missing.clone()));
        }
        let path = folder.join(SIGNING);
        let pkcs8 = read_or_make(&path, || {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
            document.map(|document| document.as_ref().to_vec()).map_err(|_| LedgerError::Key(path.clone()))
        })?;
        let signing = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| LedgerError::Key(path.clone()))?;
        let path = folder.join(SALT);
        let salt = read_or_make(&path, || {
            let mut bytes = vec![0; SALT_KEY];
            random.fill(&mut bytes);
            Ok(bytes)
        })?;
        if salt.len() != SALT_KEY {
            return Err(LedgerError::Key(path));
        }
        let salt_fingerprint = fingerprint(&salt);
        Ok(Self { signing, salt_fingerprint, salt: hmac::Key::new(hmac::HMAC_SHA256, &salt) })
    }
}

fn fingerprint(salt: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &[FINGERPRINT, salt].concat()).as_ref());
    hash
}

/// The fingerprint of the key that salts; `None` where there is none.
pub(crate) fn existing_salt(folder: &Path) -> Result<Option<Hash>, LedgerError> {
    let path = folder.join(SALT);
    match fs::read(&path) {
        Ok(salt) => Ok(Some(fingerprint(&salt))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::file("read", &path)(error)),
    }
}

/// Reads the key that signs; `None` where there is none.
pub(crate) fn existing(folder: &Path) -> Result<Option<Ed25519KeyPair>, LedgerError> {
    let path = folder.join(SIGNING);
    match fs::read(&path) {
        Ok(bytes) => Ed25519KeyPair::from_pkcs8(&bytes).map(Some).map_err(|_| LedgerError::Key(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::file("read", &path)(error)),
    }
}

fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, LedgerError>,
) -> Result<Vec<u8>, LedgerError> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let bytes = make()?;
            whole::write(path, &bytes).map_err(LedgerError::file("write", path))?;
            Ok(bytes)
        }
        Err(error) => Err(LedgerError::file("read", path)(error)),
    }
}
