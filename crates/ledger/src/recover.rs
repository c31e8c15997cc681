//! Taking up a log where the last process left it.
//!
//! Only the end of the log can be unfinished: a line without its end, or, after a
//! power cut, blocks that never reached the disk. What cannot be read behind the
//! last checkpoint is moved aside and reported, never deleted. What cannot be read
//! before it is damage, and no gateway continues a damaged log.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use doorward_model::CallId;
use doorward_model::json::{Document, Limits, Numbers, Value};

use crate::error::LedgerError;
use crate::merkle::{Hash, Tree, leaf_hash};
use crate::promises::Promises;
use crate::segment::{self, Lines};
use crate::whole;
use crate::writer::End;
use doorward_model::json::push_hex;

/// What had to be put right when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries that were there.
    pub entries: u64,
    /// Decisions that were closed as `unknown`, because their end was never written.
    pub closed: Vec<u64>,
    /// Bytes of an unfinished end that were moved aside.
    pub cut_bytes: u64,
}

/// A decision whose end is not known: its sequence number and its call.
pub(crate) type Open = BTreeMap<u64, CallId>;

/// What is remembered of the log up to some entry, so that opening it does not read
/// all of it again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bookmark {
    pub tree: Tree,
    pub previous: Hash,
    pub open: Open,
}

pub(crate) struct Found {
    pub end: End,
    pub cut_bytes: u64,
    /// The entry that reading began with.
    pub from: u64,
}

const BOOKMARK: &str = "bookmark.json";

impl Bookmark {
    /// Writes the bookmark beside the log, whole or not at all.
    pub(crate) fn save(&self, log: &Path) -> Result<(), LedgerError> {
        let mut text = format!("{{\"size\":{},\"previous\":\"", self.tree.size());
        push_hex(&mut text, &self.previous);
        text.push_str("\",\"edge\":[");
        for (at, hash) in self.tree.edge().iter().enumerate() {
            text.push_str(if at > 0 { ",\"" } else { "\"" });
            push_hex(&mut text, hash);
            text.push('"');
        }
        text.push_str("],\"open\":[");
        for (at, (sequence, call)) in self.open.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            text.push_str(&format!("{comma}[{sequence},\"{call}\"]"));
        }
        text.push_str("]}");
        let path = log.join(BOOKMARK);
        whole::write_soon(&path, text.as_bytes()).map_err(LedgerError::file("write", &path))
    }

    /// Reads the bookmark. Anything odd about it only means reading the log from
    /// its beginning.
    fn load(log: &Path) -> Option<Self> {
        let text = fs::read(log.join(BOOKMARK)).ok()?;
        let limits = Limits { values: 4_000_000, ..Limits::default() };
        let document = Document::parse(Bytes::from(text), &limits).ok()?;
        let root = document.root();
        let size = u64::try_from(root.get("size")?.as_i64()?).ok()?;
        let edge =
            root.get("edge")?.items().map(|hash| unhex(&hash.as_str()?)).collect::<Option<Vec<_>>>()?;
        let open = root.get("open")?.items().map(|pair| {
            let mut pair = pair.items();
            let sequence = u64::try_from(pair.next()?.as_i64()?).ok()?;
            Some((sequence, CallId::parse(&pair.next()?.as_str()?)?))
        });
        Some(Self {
            tree: Tree::resume(size, edge)?,
            previous: unhex(&root.get("previous")?.as_str()?)?,
            open: open.collect::<Option<Open>>()?,
        })
    }
}

pub(crate) fn unhex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// Reads the log to its end. Everything that a signed root covers must be there, and
/// be what was signed.
pub(crate) fn recover(log: &Path, promised: &Promises) -> Result<Found, LedgerError> {
    let folder = segment::folder(log);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(LedgerError::file("create", &folder))?;
    find(log, promised, cut)
}

/// What to do with everything behind this place in a segment; yields how many bytes that was.
type AtEnd = fn(&Path, u64) -> Result<u64, LedgerError>;

/// Reads the log to its end, from its bookmark if that can be believed.
pub(crate) fn find(log: &Path, promised: &Promises, end: AtEnd) -> Result<Found, LedgerError> {
    let found = look(log, promised, end)?;
    promised.reached(log, found.end.tree.size())?;
    Ok(found)
}

fn look(log: &Path, promised: &Promises, end: AtEnd) -> Result<Found, LedgerError> {
    let segments = segment::list(log)?;
    let bookmark = Bookmark::load(log).filter(|bookmark| {
        // A bookmark is no evidence: it is believed where a signature vouches for it
        // and it fits the files.
        promised.vouch_for(&bookmark.tree)
            && segments.first().is_some_and(|(first, _)| *first <= bookmark.tree.size())
    });
    if let Some(bookmark) = bookmark
        && let Some(found) = read(&segments, bookmark, promised, end)?
    {
        return Ok(found);
    }
    match read(&segments, Bookmark::default(), promised, end)? {
        Some(found) => Ok(found),
        None => Err(LedgerError::Damaged {
            path: segment::folder(log),
            line: 1,
            reason: "the first segment is missing".to_owned(),
        }),
    }
}

/// Reads from a bookmark on; `None` when the bookmark does not fit.
fn read(
    segments: &[(u64, PathBuf)],
    bookmark: Bookmark,
    promised: &Promises,
    at_end: AtEnd,
) -> Result<Option<Found>, LedgerError> {
    let checkpointed = promised.most();
    let start = bookmark.tree.size();
    // The segment with the entry before the bookmark, which has to be the one it names.
    let Some(from) = segments.iter().rposition(|(first, _)| *first < start.max(1)) else {
        // Nothing written yet: the first segment begins with entry 0.
        let end = End {
            tree: bookmark.tree,
            previous: bookmark.previous,
            segment: 0,
            length: 0,
            open: Open::new(),
        };
        let found = Found { end, cut_bytes: 0, from: 0 };
        return Ok((start == 0 && segments.is_empty()).then_some(found));
    };
    let Bookmark { mut tree, mut previous, mut open } = bookmark;
    let mut last = (segments[from].0, 0);
    let mut cut_bytes = 0;
    for (at, (first, path)) in segments.iter().enumerate().skip(from) {
        let mut lines = Lines::open(path, 0)?;
        let mut sequence = *first;
        let mut number = 0;
        last = (*first, 0);
        if at > from && sequence != tree.size() {
            return Err(damaged(path, 1, "entries are missing before this segment"));
        }
        while let Some(line) = lines.next()? {
            number += 1;
            if sequence < start {
                // Before the bookmark: only counted, but for the entry it ends with.
                if sequence + 1 == start && leaf_hash(&line.entry) != previous {
                    return Ok(None);
                }
                sequence += 1;
                last.1 = line.end;
                continue;
            }
            let read = if line.complete {
                Entry::read(&line.entry, sequence, &previous)
            } else {
                Err("it is cut off")
            };
            let entry = match read {
                Ok(entry) => entry,
                Err(_) if sequence >= checkpointed && at + 1 == segments.len() => {
                    cut_bytes = at_end(path, last.1)?;
                    break;
                }
                Err(reason) => return Err(damaged(path, number, reason)),
            };
            entry.note(sequence, &mut open);
            previous = leaf_hash(&line.entry);
            tree.push(previous);
            sequence += 1;
            last.1 = line.end;
            promised.hold(&tree, path, number)?;
        }
        if sequence < start {
            // Fewer entries than the bookmark has seen.
            return Ok(None);
        }
    }
    let end = End { tree, previous, segment: last.0, length: last.1, open };
    Ok(Some(Found { end, cut_bytes, from: start }))
}

fn damaged(path: &Path, line: u64, reason: &str) -> LedgerError {
    LedgerError::Damaged { path: path.to_path_buf(), line, reason: reason.to_owned() }
}

/// Moves everything behind `length` into a file beside the segment.
fn cut(path: &Path, length: u64) -> Result<u64, LedgerError> {
    let bytes = fs::read(path).map_err(LedgerError::file("read", path))?;
    let rest = behind(&bytes, length);
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".cut-at-{length}"));
    let aside = PathBuf::from(aside);
    whole::write(&aside, rest).map_err(LedgerError::file("write", &aside))?;
    let file = fs::OpenOptions::new().write(true).open(path).map_err(LedgerError::file("open", path))?;
    file.set_len(length).and_then(|()| file.sync_all()).map_err(LedgerError::file("cut", path))?;
    Ok(rest.len() as u64)
}

/// Counts everything behind `length` and leaves it there.
pub(crate) fn count(path: &Path, length: u64) -> Result<u64, LedgerError> {
    let bytes = fs::read(path).map_err(LedgerError::file("read", path))?;
    Ok(behind(&bytes, length).len() as u64)
}

/// What is written behind `length`: zeros at the end were put there ahead of entries.
fn behind(bytes: &[u8], length: u64) -> &[u8] {
    let rest = bytes.get(usize::try_from(length).unwrap_or(usize::MAX)..).unwrap_or_default();
    &rest[..rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]
}

/// What recovery needs to know of an entry.
pub(crate) enum Entry {
    /// A decision that waits for its outcome.
    Opens(CallId),
    /// The outcome of an earlier decision.
    Closes(u64),
    /// Anything else.
    Other,
}

impl Entry {
    /// Reads an entry and checks that it stands in its place.
    pub(crate) fn read(entry: &[u8], sequence: u64, previous: &Hash) -> Result<Self, &'static str> {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let document =
            Document::parse(Bytes::copy_from_slice(entry), &limits).map_err(|_| "it is no entry")?;
        let root = document.root();
        if root.get("_seq").and_then(Value::as_i64) != i64::try_from(sequence).ok() {
            return Err("its sequence number is wrong");
        }
        let names = root.get("_prev").and_then(Value::as_str).and_then(|text| unhex(&text));
        if names.as_ref() != Some(previous) {
            return Err("it does not follow the entry before it");
        }
        let text = |key: &str| root.get(key).and_then(Value::as_str);
        Ok(match text("kind").as_deref() {
            Some("decision") if root.get("outcome").is_none() => {
                Self::Opens(text("call").and_then(|call| CallId::parse(&call)).ok_or("it names no call")?)
            }
            Some("outcome") => {
                let of = root.get("of").and_then(Value::as_i64).and_then(|of| u64::try_from(of).ok());
                Self::Closes(of.ok_or("it names no decision")?)
            }
            _ => Self::Other,
        })
    }

    fn note(self, sequence: u64, open: &mut Open) {
        match self {
            Self::Opens(call) => {
                open.insert(sequence, call);
            }
            Self::Closes(of) => {
                open.remove(&of);
            }
            Self::Other => {}
        }
    }
}
