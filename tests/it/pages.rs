//! The pages about attacks and faults name tests that there are, and all of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder or file in which the tests of a binary are, and those of this one.
fn place(binary: &str) -> PathBuf {
    let (package, target) = binary.split_once("::").unwrap_or((binary, ""));
    if package == "doorward-tests" {
        return root().join("tests").join(target);
    }
    let folder = root().join("crates").join(package.strip_prefix("doorward-").unwrap_or(package));
    if target.is_empty() { folder.join("src") } else { folder.join("tests").join(target) }
}

/// Whether there is such a test: the path of a module, and a function in its file.
fn exists(named: &str) -> bool {
    let (binary, path) = named.split_once(' ').unwrap_or(("doorward-tests::it", named));
    let mut parts: Vec<_> = path.split("::").collect();
    let Some(name) = parts.pop() else { return false };
    let file = parts.iter().fold(place(binary), |folder, part| folder.join(part));
    // The tests of a file stand in it, in a module of that name.
    let files =
        [file.with_extension("rs"), file.parent().map(|file| file.with_extension("rs")).unwrap_or_default()];
    let declared = format!("fn {name}(");
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).any(|text| {
        let at = text.find(&declared);
        // As far back as the attribute that makes it one.
        at.is_some_and(|at| text[..at].trim_end().trim_end_matches("async").trim_end().ends_with(']'))
    })
}

/// The tests that the rows of a page name, and how many rows there are. `heading` begins the
/// heads of its tables.
fn named(page: &str, heading: &str) -> (BTreeSet<String>, usize) {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 4);
    let rows: Vec<_> = rows.filter(|line| !line.starts_with(heading)).collect();
    let mut named = BTreeSet::new();
    for row in &rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(!tests.is_empty(), "no test shows it: {row}");
        named.extend(tests);
    }
    (named, rows.len())
}

/// The tests of a module of this binary that has a folder of its own.
fn tests_of(module: &str) -> Vec<String> {
    let mut tests = Vec::new();
    for entry in fs::read_dir(root().join("tests/it").join(module)).expect("a folder").filter_map(Result::ok)
    {
        let file = entry.path().file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).expect("a source file");
        let names = text.split("\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn ").skip(1);
        let names = names.filter_map(|rest| rest.split('(').next());
        tests.extend(names.map(|name| format!("{module}::{file}::{name}")));
    }
    tests
}

#[test]
fn every_test_that_a_page_names_is_there_and_every_test_of_its_subject_is_named() {
    let pages = [("attacks", "| attack ", 30), ("faults", "| what happens ", 20)];
    for (subject, heading, least) in pages {
        let page = root().join("docs/reference").join(subject).with_extension("md");
        let (named, rows) = named(&fs::read_to_string(page).expect("a page"), heading);
        assert!(rows > least, "{subject}: {rows} rows");
        let absent: Vec<_> = named.iter().filter(|test| !exists(test)).collect();
        assert!(absent.is_empty(), "{subject}: the page names what is not there: {absent:#?}");
        let unnamed: Vec<_> = tests_of(subject).into_iter().filter(|test| !named.contains(test)).collect();
        assert_eq!(unnamed, Vec::<String>::new(), "{subject}: the page says nothing of it");
    }
    assert!(!exists("pages::no_such_test") && !exists("attacks::nowhere::say"));
}
