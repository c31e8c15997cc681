//! The catalogue of error codes, as it is printed. It is `docs/reference/error-codes.md`
//! itself, so that what people read in one place is what they read in the other.

const CATALOGUE: &str = include_str!("../../../docs/reference/error-codes.md");

/// One code and what there is to say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The code.
    pub code: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Where it comes from, where that needs saying.
    pub cause: Option<&'static str>,
    /// What to do about it.
    pub remedy: &'static str,
}

/// All pages, in the order of the catalogue.
pub fn pages() -> impl Iterator<Item = Page> {
    CATALOGUE.split("\n### `").skip(1).filter_map(|section| {
        let (code, text) = section.split_once('`')?;
        // A heading ends the last page of its group.
        let text = text.split("\n## ").next()?;
        let line = |mark: &str| text.lines().find_map(|line| line.strip_prefix(mark));
        let meaning = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        Some(Page { code, meaning, cause: line("- Cause: "), remedy: line("- Remedy: ")? })
    })
}

/// The page of a code.
pub fn page(code: &str) -> Option<Page> {
    pages().find(|page| page.code == code)
}

/// The code of an error that a command ended with, where its kind has one.
pub fn code_of(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        let ledger = cause.downcast_ref::<doorward_ledger::LedgerError>().map(|error| error.code());
        let key = || cause.downcast_ref::<doorward_vault::KeyError>().map(|error| error.code());
        let door = || cause.downcast_ref::<doorward_gateway::door::ServeError>().map(|error| error.code());
        ledger.or_else(key).or_else(door)
    })
}
