//! Pages of a list.
//!
//! A cursor is an offset into the list and a digest of the list it was cut from, sealed
//! for its caller. A list that has changed since makes it invalid instead of skipping or
//! repeating entries.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_registry::Capability;

const DIGEST: usize = 12;

/// One page and the cursor of the next.
pub(crate) struct Page<'a> {
    pub entries: &'a [Arc<Capability>],
    pub next: Option<Position>,
}

/// Where a page begins.
pub(crate) struct Position {
    pub offset: String,
    /// A digest of the list.
    pub list: String,
}

/// Cuts the page that `cursor` points to; `None` for a cursor that fits no list.
pub(crate) fn cut<'a>(
    all: &'a [Arc<Capability>],
    cursor: Option<&Position>,
    size: usize,
) -> Option<Page<'a>> {
    let start = match cursor {
        None => 0,
        Some(cursor) => read(cursor, all)?,
    };
    let end = all.len().min(start.saturating_add(size.max(1)));
    let next = (end < all.len()).then(|| write(end, all));
    Some(Page { entries: &all[start..end], next })
}

fn digest(all: &[Arc<Capability>]) -> [u8; DIGEST] {
    let mut context = Context::new(&SHA256);
    for capability in all {
        context.update(capability.fingerprint.as_bytes());
        context.update(capability.exposed.as_bytes());
        context.update(&[0]);
    }
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&context.finish().as_ref()[..DIGEST]);
    digest
}

/// What a cursor says: where its page begins, in which list.
fn write(offset: usize, all: &[Arc<Capability>]) -> Position {
    Position { offset: offset.to_string(), list: URL_SAFE_NO_PAD.encode(digest(all)) }
}

fn read(position: &Position, all: &[Arc<Capability>]) -> Option<usize> {
    let offset = position.offset.parse().ok()?;
    (position.list == URL_SAFE_NO_PAD.encode(digest(all)) && offset < all.len()).then_some(offset)
}
