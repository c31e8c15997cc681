//! Files that are there as a whole or not at all: half of one would be found at the next start.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Writes a file for its owner alone. It gets its name when all of it is on disk.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, bytes, File::sync_all)
}

/// The same without waiting for the disk: after a power cut it may be the file from before, or
/// half of it.
pub(crate) fn write_soon(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, bytes, |_| Ok(()))
}

fn place(path: &Path, bytes: &[u8], settle: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    // One that an earlier version left may be readable by others.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    settle(&file)?;
    fs::rename(&fresh, path)
}
