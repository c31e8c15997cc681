//! The key that seals, in a file that only its owner can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use doorward_model::Random;

use crate::sealer::{KEY_LENGTH, Sealer};

/// Its name in the folder of keys.
const FILE: &str = "seal.key";
/// Mode bits that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Why there is no key to seal with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no key.
    #[error("{} is no key of this program: it must hold {KEY_LENGTH} bytes", .0.display())]
    Malformed(PathBuf),
    /// Others can read it.
    #[error("{} can be read by others: run `chmod 600` on it", .0.display())]
    Exposed(PathBuf),
}

impl KeyError {
    /// The stable word for it (`docs/reference/error-codes.md`).
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "key-file",
            Self::Malformed(_) => "key-malformed",
            Self::Exposed(_) => "key-exposed",
        }
    }
}

/// Opens the key of a folder; makes one where there is none.
///
/// # Errors
/// [`KeyError`]; a key that others can read is not used.
pub fn open(folder: &Path, random: &dyn Random) -> Result<Sealer, KeyError> {
    let path = folder.join(FILE);
    let failed = |source| KeyError::File { path: path.clone(), source };
    let mut key = [0; KEY_LENGTH];
    match fs::File::open(&path) {
        Ok(mut file) => {
            let metadata = file.metadata().map_err(failed)?;
            if metadata.mode() & OTHERS != 0 {
                return Err(KeyError::Exposed(path));
            }
            if metadata.len() != KEY_LENGTH as u64 {
                return Err(KeyError::Malformed(path));
            }
            file.read_exact(&mut key).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            random.fill(&mut key);
            write(folder, &path, &key).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(Sealer::new(&key))
}

/// Writes a new key, whole or not at all: half a key would be found at the next start.
fn write(folder: &Path, path: &Path, key: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use doorward_model::Seal as _;
    use doorward_model::clock::Fixed;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        let sealed = open(&keys, &Fixed::new(1)).expect("made").seal(b"a", b"text").expect("sealed");
        let again = open(&keys, &Fixed::new(2)).expect("found");
        assert_eq!(again.open(b"a", &sealed).as_deref(), Ok(&b"text"[..]));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&keys.join(FILE))), (0o700, 0o600));
        fs::set_permissions(keys.join(FILE), fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(open(&keys, &Fixed::new(1)), Err(KeyError::Exposed(_))));
        fs::set_permissions(keys.join(FILE), fs::Permissions::from_mode(0o600)).expect("set");
        fs::write(keys.join(FILE), b"short").expect("written");
        assert!(matches!(open(&keys, &Fixed::new(1)), Err(KeyError::Malformed(_))));
    }
}
