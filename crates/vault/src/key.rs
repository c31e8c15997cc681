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
            if !make(folder, &path, &key).map_err(failed)? {
                // Another process was first, and its key is the one.
                return open(folder, random);
            }
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(Sealer::new(&key))
}

/// Writes a new key, whole or not at all: half a key would be found at the next start. `false`
/// where there is one by now, which is left as it is.
fn make(folder: &Path, path: &Path, key: &[u8]) -> io::Result<bool> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(key)?;
    file.sync_all()?;
    // Not renamed: that would put it in the place of another.
    let made = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    fs::File::open(folder)?.sync_all()?;
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use doorward_model::Seal as _;
    use doorward_model::clock::Fixed;

    use super::*;

    #[test]
    fn of_keys_that_are_made_at_the_same_moment_one_is_everybodys() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        open(&keys, &Fixed::new(1)).expect("made");
        let first = fs::read(keys.join(FILE)).expect("a key");
        assert!(!make(&keys, &keys.join(FILE), &[9; KEY_LENGTH]).expect("too late"));
        assert_eq!(fs::read(keys.join(FILE)).expect("a key"), first);
        assert_eq!(fs::read_dir(&keys).expect("a folder").count(), 1, "and nothing else is left");
    }

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
