//! A look at a log that changes nothing in it, while a gateway may be writing it.
//!
//! It takes no lock, makes no file and moves nothing aside. What it reads is what the next
//! start would read: from the bookmark, where a signature vouches for that, to the end.
//! Whether everything before it still is what was signed, only [`verify`](crate::verify) says.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::checkpoint::{self, Checkpoint};
use crate::error::LedgerError;
use crate::memory::{self, Memory};
use crate::promises::Promises;
use crate::shared::{LOCK, PUBLIC_KEY};
use crate::{keys, notes, recover, shared};

/// What a look at a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Entries that are there.
    pub entries: u64,
    /// The entry from which on each was read and held against the one before it.
    pub from: u64,
    /// The last signed checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Bytes of an unfinished end. While a gateway runs, the next moment finishes it.
    pub unfinished_bytes: u64,
    /// Decisions whose outcome is not written yet.
    pub open: usize,
}

/// Looks at the log in `folder`, signed with the key in `keys` under the name `origin`, and
/// holds it against its anchors. `None` where no gateway has written one.
///
/// # Errors
/// What would keep a gateway from going on with this log, but for its lock.
pub fn inspect(
    folder: &Path,
    keys: &Path,
    origin: &str,
    anchors: &[PathBuf],
) -> Result<Option<Inspection>, LedgerError> {
    let known = memory::path(keys, folder, origin);
    // Before the checkpoints, and those before the entries: what is signed from now on may
    // cover more than is read below.
    let memory = Memory::load(&known)?;
    let public = folder.join(PUBLIC_KEY);
    if !public.exists() && memory.is_none() {
        return Ok(None);
    }
    let signing = keys::existing(keys)?;
    let ours = signing.map(|key| checkpoint::verifier_key(origin, &key));
    let is_other = |memory: &Memory| ours.as_ref().is_some_and(|ours| *ours != memory.key);
    if memory.as_ref().is_some_and(is_other) {
        return Err(LedgerError::OtherSecret(keys.join(keys::SIGNING)));
    }
    let published = fs::read_to_string(&public).ok().map(|text| text.trim().to_owned());
    let is_ours = ours.is_some();
    let verifier =
        ours.or(memory.as_ref().map(|memory| memory.key.clone())).or(published).unwrap_or_default();
    let signed = notes::recent(folder, &verifier)?;
    if !is_ours && !signed.is_empty() {
        return Err(LedgerError::OtherKey(notes::own(folder)));
    }
    let memory = memory.as_ref().map(|memory| (memory, &*known));
    let promises = Promises::gather(folder, &verifier, memory, anchors)?;
    let found = recover::find(folder, &promises, recover::count)?;
    let checkpoint = promises.last;
    Ok(Some(Inspection {
        entries: found.end.tree.size(),
        from: found.from,
        checkpoint,
        unfinished_bytes: found.cut_bytes,
        open: found.end.open.len(),
    }))
}

/// Who has the log in `folder` open, without asking for its lock: a start at this very
/// moment must not be refused because somebody looked. `None` where nobody has, and on
/// systems that do not tell.
pub fn holder(folder: &Path) -> Option<String> {
    let lock = File::open(folder.join(LOCK)).ok()?;
    let inode = lock.metadata().ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().any(|line| names(line, &inode)).then(|| shared::holder(lock))
}

/// Whether a line of `/proc/locks` is of an exclusive lock on the file with this inode. The
/// device is not compared: on stacked file systems it is another one than the file's.
fn names(line: &str, inode: &str) -> bool {
    // 1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", _, place, ..] = words[..] else { return false };
    place.rsplit(':').next() == Some(inode)
}
