//! The catalogue of error codes, as it is printed. It is `docs/reference/error-codes.md`
//! itself, so that what people read in one place is what they read in the other.

use std::cmp::Reverse;

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
    /// Words by which people meet it where its code is not shown, separated by semicolons.
    says: Option<&'static str>,
}

/// All pages, in the order of the catalogue.
pub fn pages() -> impl Iterator<Item = Page> {
    CATALOGUE.split("\n### `").skip(1).filter_map(|section| {
        let (code, text) = section.split_once('`')?;
        // A heading ends the last page of its group.
        let text = text.split("\n## ").next()?;
        let line = |mark: &str| text.lines().find_map(|line| line.strip_prefix(mark));
        let meaning = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        let (says, cause) = (line("- Says: "), line("- Cause: "));
        Some(Page { code, meaning, cause, remedy: line("- Remedy: ")?, says })
    })
}

/// The page of a code.
pub fn page(code: &str) -> Option<Page> {
    pages().find(|page| page.code == code)
}

/// The pages that a text is about that somebody pasted, the most telling first: a code in it, then
/// words that it is known by, then a number of JSON-RPC, then a status of HTTP.
pub fn pages_about(text: &str) -> Vec<Page> {
    let mut found: Vec<(Clue, Page)> = pages().filter_map(|page| Some((clue(text, &page)?, page))).collect();
    // Stable: equal clues stay in the order of the catalogue.
    found.sort_by_key(|(clue, _)| *clue);
    found.into_iter().map(|(_, page)| page).collect()
}

/// Why a text is about a page; the better clues first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Clue {
    Code,
    /// By how many bytes of it: more say more.
    Words(Reverse<usize>),
    Number,
    Status,
}

fn clue(text: &str, page: &Page) -> Option<Clue> {
    let code = page.code;
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    // Codes of one plain word (`file`, `denied`) are too common to tell anything in a sentence.
    let is_telling = code.contains(['-', '_']) || text.contains(&format!("[{code}]"));
    let is_number = code.starts_with('-');
    if is_telling && !is_number && words.clone().any(|word| word == code) {
        return Some(Clue::Code);
    }
    let lower = text.to_lowercase();
    let says = page.says.iter().flat_map(|says| says.split("; "));
    let said = says.filter(|said| lower.contains(&said.to_lowercase())).map(str::len).max();
    if let Some(length) = said {
        return Some(Clue::Words(Reverse(length)));
    }
    if is_number && words.clone().any(|word| word == code) {
        return Some(Clue::Number);
    }
    let is_status = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    (is_status && words.any(|word| word == code)).then_some(Clue::Status)
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
