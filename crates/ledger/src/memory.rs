//! What `keyDir` remembers of a log: how far it was signed, and with which keys.
//!
//! Whoever can write to the folder of the log can take everything away from it that speaks
//! against them, down to an empty folder. They cannot take it from here. A log that is behind
//! what is remembered is named, and not continued. Nothing in this file is secret.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use doorward_model::Seal;
use doorward_model::json::push_hex;
use serde_json::{Value, json};

use crate::error::LedgerError;
use crate::keys;
use crate::merkle::{Hash, Tree};
use crate::recover::unhex;
use crate::whole;

/// What is remembered of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// How many entries the last checkpoint covers, and its root.
    pub entries: u64,
    pub root: Hash,
    /// The verifier key.
    pub key: String,
    /// Fingerprints of the key that salts and of the one that seals.
    pub salt: Hash,
    pub seal: Option<Hash>,
    /// How many entries the index had taken in, and how many calls those are.
    pub index: Option<(u64, u64)>,
}

impl Memory {
    /// What is remembered of a log that has no entry yet.
    pub(crate) fn new(key: String, salt: Hash, seal: Option<Hash>) -> Self {
        Self { entries: 0, root: Tree::default().root(), key, salt, seal, index: None }
    }

    /// Reads what is remembered; `None` where that is nothing.
    ///
    /// # Errors
    /// [`LedgerError::Memory`] for a file that is none of ours: what is unreadable is not nothing.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, LedgerError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::file("read", path)(error)),
        };
        Self::read(&text).map(Some).ok_or_else(|| LedgerError::Memory(path.to_path_buf()))
    }

    fn read(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let seal = match &value["seal"] {
            Value::Null => None,
            seal => Some(unhex(seal.as_str()?)?),
        };
        Some(Self {
            entries: value["entries"].as_u64()?,
            root: unhex(value["root"].as_str()?)?,
            key: value["key"].as_str()?.to_owned(),
            salt: unhex(value["salt"].as_str()?)?,
            seal,
            index: value["index"]["entries"].as_u64().zip(value["index"]["calls"].as_u64()),
        })
    }

    /// The keys in `folder` that are others than the log was salted and sealed with. A key that is
    /// not there is not among them: whoever checks a log needs neither.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub(crate) fn exchanged(
        &self,
        folder: &Path,
        seal: Option<&dyn Seal>,
    ) -> Result<Vec<PathBuf>, LedgerError> {
        let salt = keys::existing_salt(folder)?;
        let seal = seal.and_then(Seal::fingerprint);
        let compared = [(keys::SALT, Some(self.salt), salt), (keys::SEAL, self.seal, seal)];
        let is_other =
            |known: Option<Hash>, found| known.zip(found).is_some_and(|(known, found)| known != found);
        let others = compared.into_iter().filter(|(_, known, found)| is_other(*known, *found));
        Ok(others.map(|(name, ..)| folder.join(name)).collect())
    }

    /// The root, for people.
    pub(crate) fn root_text(&self) -> String {
        format!("root {}", hex(&self.root))
    }

    /// Writes it, whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> Result<(), LedgerError> {
        let text = json!({
            "entries": self.entries,
            "root": hex(&self.root),
            "key": self.key,
            "salt": hex(&self.salt),
            "seal": self.seal.as_ref().map(hex),
            "index": self.index.map(|(entries, calls)| json!({"entries": entries, "calls": calls})),
        });
        whole::write(path, format!("{text}\n").as_bytes()).map_err(LedgerError::file("write", path))
    }
}

fn hex(hash: &Hash) -> String {
    let mut text = String::new();
    push_hex(&mut text, hash);
    text
}

/// Where it is remembered: one file for each log, by its name and by how it is reached from
/// the folder of keys. Both together may be moved; replicas that share keys have a file each.
pub(crate) fn path(keys: &Path, log: &Path, origin: &str) -> PathBuf {
    let name = format!("{origin}\n{}", way(keys, log).display());
    let hash = digest(&SHA256, name.as_bytes());
    let mut text = String::from("ledger-last-");
    push_hex(&mut text, &hash.as_ref()[..8]);
    keys.join(text + ".json")
}

/// The way from one folder to another, by their names alone: who can make links in the folder
/// of the log must not make it another log.
fn way(from: &Path, to: &Path) -> PathBuf {
    let (from, to) = (plain(from), plain(to));
    let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
    let up = from.iter().skip(shared).map(|_| "..".into());
    up.chain(to.into_iter().skip(shared)).collect()
}

fn plain(path: &Path) -> Vec<std::ffi::OsString> {
    let mut parts = Vec::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.push(name.to_owned()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_back_and_nothing_else_is_taken_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("known");
        assert_eq!(Memory::load(&path).expect("nothing"), None);
        for seal in [None, Some([3; 32])] {
            let memory = Memory { entries: 7, ..Memory::new("log+key".to_owned(), [2; 32], seal) };
            memory.save(&path).expect("saved");
            assert_eq!(Memory::load(&path).expect("readable"), Some(memory));
        }
        let whole = fs::read(&path).expect("text");
        for cut in 0..whole.len() - 1 {
            fs::write(&path, &whole[..cut]).expect("written");
            assert!(matches!(Memory::load(&path), Err(LedgerError::Memory(_))), "cut at {cut}");
        }
    }

    #[test]
    fn a_log_is_told_from_others_by_its_name_and_the_way_to_it() {
        let of = |keys: &str, log: &str, origin: &str| {
            path(Path::new(keys), Path::new(log), origin).file_name().map(std::ffi::OsStr::to_owned)
        };
        let usual = of("/data/keys", "/data/audit", "doorward");
        assert_eq!(usual, of("/moved/keys", "/moved/audit", "doorward"), "moved together");
        assert_eq!(usual, of("/data/./keys", "/data/x/../audit/", "doorward"), "another spelling");
        assert_ne!(usual, of("/data/keys", "/data/audit", "other"));
        assert_ne!(usual, of("/data/keys", "/data/2/audit", "doorward"));
        assert_ne!(usual, of("/keys", "/data/audit", "doorward"));
    }
}
