//! `docs/reference/attacks.md` names tests that there are.

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

#[test]
fn every_test_that_the_page_names_is_there_and_every_test_of_attacks_is_named() {
    let page = fs::read_to_string(root().join("docs/reference/attacks.md")).expect("a page");
    let mut named = BTreeSet::new();
    let mut rows = 0;
    for line in page.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 4) {
        let tests = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if line.starts_with("| attack ") {
            continue;
        }
        assert!(!tests.is_empty(), "no test shows it: {line}");
        named.extend(tests);
        rows += 1;
    }
    assert!(rows > 30, "{rows} rows");
    let absent: Vec<_> = named.iter().filter(|test| !exists(test)).collect();
    assert!(absent.is_empty(), "the page names what is not there: {absent:#?}");
    assert!(!exists("attacks::page::no_such_test") && !exists("attacks::nowhere::say"));
    let mut unnamed = Vec::new();
    for entry in fs::read_dir(root().join("tests/it/attacks")).expect("a folder").filter_map(Result::ok) {
        let module = entry.path().file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).expect("a source file");
        let tests = text.split("\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn ").skip(1);
        let tests =
            tests.filter_map(|rest| rest.split('(').next()).map(|name| format!("attacks::{module}::{name}"));
        unnamed.extend(tests.filter(|test| !named.contains(test.as_str())));
    }
    assert_eq!(unnamed, Vec::<String>::new(), "the page says nothing of it");
}
