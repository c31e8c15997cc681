//! Segments: the files that hold the entries, one a line.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::LedgerError;

/// The longest line that is read; no gateway writes a longer one.
pub(crate) const LONGEST_LINE: usize = 1 << 20;
/// The longest entry that is written, but for its place in the log.
pub(crate) const LONGEST_ENTRY: usize = LONGEST_LINE - 256;

/// The folder of the segments.
pub(crate) fn folder(log: &Path) -> PathBuf {
    log.join("segments")
}

/// The segment whose first entry has this sequence number.
pub(crate) fn path(log: &Path, first: u64) -> PathBuf {
    folder(log).join(format!("{first:020}.log"))
}

/// All segments by the number of their first entry, in order.
pub(crate) fn list(log: &Path) -> Result<Vec<(u64, PathBuf)>, LedgerError> {
    let folder = folder(log);
    let mut found = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(LedgerError::file("read", &folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(LedgerError::file("read", &folder))?.path();
        let first = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log")?.parse().ok());
        if let Some(first) = first {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// How many entries the log has, whole lines counted.
pub(crate) fn count(log: &Path) -> Result<u64, LedgerError> {
    let Some((first, path)) = list(log)?.pop() else { return Ok(0) };
    let mut lines = Lines::open(&path, 0)?;
    let mut count = first;
    while lines.next()?.is_some_and(|line| line.complete) {
        count += 1;
    }
    Ok(count)
}

/// One line of a segment.
pub(crate) struct Line {
    /// The entry, without its line end.
    pub entry: Vec<u8>,
    /// Whether its line end was there; without it the line may be torn.
    pub complete: bool,
    /// Where the line ends, in bytes from the start of the file.
    pub end: u64,
}

/// Reads a segment line by line, in memory bounded by the longest line.
///
/// A file that is being written may go on with zeros behind its last line; they hold
/// nothing. No entry holds a zero byte.
pub(crate) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    at: u64,
    ended: bool,
}

/// What a zero byte was.
enum Zero {
    /// The end of what was written.
    End,
    /// A place that has been written since it was read.
    Late,
    /// A hole in what was written.
    Hole,
}

impl Lines {
    /// Opens a segment from `start`, a byte offset at which a line begins.
    pub(crate) fn open(path: &Path, start: u64) -> Result<Self, LedgerError> {
        let mut file = File::open(path).map_err(LedgerError::file("open", path))?;
        file.seek(SeekFrom::Start(start)).map_err(LedgerError::file("read", path))?;
        let reader = BufReader::with_capacity(1 << 16, file);
        Ok(Self { reader, path: path.to_path_buf(), at: start, ended: false })
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, LedgerError> {
        let mut entry = Vec::new();
        while !self.ended {
            self.fill(&mut entry)?;
            let Some(zero) = memchr::memchr(0, &entry) else { break };
            match self.what_is(self.at + zero as u64).map_err(LedgerError::file("read", &self.path))? {
                Zero::End => {
                    self.ended = true;
                    entry.truncate(zero);
                }
                Zero::Hole => break,
                Zero::Late => {
                    entry.clear();
                    let again = self.reader.seek(SeekFrom::Start(self.at));
                    again.map_err(LedgerError::file("read", &self.path))?;
                }
            }
        }
        if entry.is_empty() {
            return Ok(None);
        }
        self.at += entry.len() as u64;
        let complete = entry.last() == Some(&b'\n');
        if complete {
            entry.pop();
        }
        Ok(Some(Line { entry, complete, end: self.at }))
    }

    /// Reads up to the end of the line, or of the file.
    fn fill(&mut self, entry: &mut Vec<u8>) -> Result<(), LedgerError> {
        loop {
            let chunk = self.reader.fill_buf().map_err(LedgerError::file("read", &self.path))?;
            if chunk.is_empty() || entry.len() > LONGEST_LINE {
                return Ok(());
            }
            let end = memchr::memchr(b'\n', chunk);
            let taken = end.map_or(chunk.len(), |end| end + 1);
            entry.extend_from_slice(&chunk[..taken]);
            self.reader.consume(taken);
            if end.is_some() {
                return Ok(());
            }
        }
    }

    /// Finds out what the zero byte at this place is. The log is written from the front
    /// to the back: whatever stands behind a place was written after it.
    fn what_is(&self, place: u64) -> io::Result<Zero> {
        let file = self.reader.get_ref();
        let mut chunk = vec![0; 1 << 16];
        let mut at = place;
        loop {
            let read = file.read_at(&mut chunk, at)?;
            if read == 0 {
                return Ok(Zero::End);
            }
            if chunk[..read].iter().any(|byte| *byte != 0) {
                let read = file.read_at(&mut chunk[..1], place)?;
                return Ok(if read == 1 && chunk[0] == 0 { Zero::Hole } else { Zero::Late });
            }
            at += read as u64;
        }
    }
}

/// Reads single entries of a log, wherever they stand.
pub(crate) struct Places {
    log: PathBuf,
    /// The segment that was read last.
    open: Option<(u64, File)>,
}

/// Most entries fit into one read of so many bytes.
const ONE_READ: usize = 2 << 10;

impl Places {
    pub(crate) fn new(log: &Path) -> Self {
        Self { log: log.to_path_buf(), open: None }
    }

    /// The entry that begins at `offset` of the segment whose first entry is `first`.
    pub(crate) fn read(&mut self, first: u64, offset: u64) -> Result<Vec<u8>, LedgerError> {
        let path = path(&self.log, first);
        let file = match &mut self.open {
            Some((open, file)) if *open == first => file,
            open => &mut open.insert((first, File::open(&path).map_err(LedgerError::file("open", &path))?)).1,
        };
        let mut entry = Vec::new();
        loop {
            let have = entry.len();
            entry.resize(have + ONE_READ.max(have), 0);
            let read = file.read_at(&mut entry[have..], offset + have as u64);
            let read = read.map_err(LedgerError::file("read", &path))?;
            if let Some(end) = memchr::memchr(b'\n', &entry[have..have + read]) {
                entry.truncate(have + end);
                return Ok(entry);
            }
            if read == 0 || entry.len() > LONGEST_LINE {
                let what = format!("no entry stands at byte {offset} of {}", path.display());
                return Err(LedgerError::Index(what));
            }
            entry.truncate(have + read);
        }
    }
}
