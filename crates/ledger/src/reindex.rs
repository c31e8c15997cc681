//! Building the index of a log anew, while no gateway writes it.

use std::path::Path;

use crate::error::LedgerError;
use crate::index::Index;
use crate::index::feed::Feed;
use crate::options::Options;
use crate::segment;
use crate::shared::lock_folder;

/// Builds the index of the log in `folder` anew from its entries, and says how many calls they
/// are. Whether the entries hold is another question, which [`verify`](crate::verify) answers.
///
/// * `holder`: what others who want the log are told meanwhile.
///
/// # Errors
/// [`LedgerError::Locked`] while a gateway has the log open.
pub fn reindex(folder: &Path, holder: String) -> Result<u64, LedgerError> {
    let _lock = lock_folder(&Options { holder, ..Options::new(folder) })?;
    let entries = segment::count(folder)?;
    let mut index = Index::begin(folder)?;
    index.follow(entries, &Feed::new(entries))?;
    Ok(index.taken_in().1)
}
