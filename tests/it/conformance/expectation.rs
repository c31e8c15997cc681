//! What has to pass, and what is known not to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::suite::{Check, Outcome, Requirement};

/// What passes without a gateway: `<revision> <scenario> <check> …`, by lines.
const CHECKS: &str = include_str!("checks.txt");
/// What does not pass yet: `<surface>[,…] <revision>[,…] <scenario>:<check> # reason`.
const KNOWN: &str = include_str!("known.txt");

/// That every message fits the schema: reported by every scenario in which there was one.
const SCHEMA: &str = ":wire-schema-valid";

/// One run of the suite.
pub struct Report {
    pub surface: &'static str,
    pub requirement: Requirement,
    pub checks: Vec<Check>,
}

/// Surface, revision and check.
type Place = (String, String, String);

/// Fails, naming each, if something failed that is not known to, or passed that is.
pub fn hold(reports: &[Report]) {
    let known = known();
    let mut wrong = String::new();
    for report in reports {
        let revision = report.requirement.revision();
        let faults = faults(report);
        let here = |(surface, of, _): &&Place| surface == report.surface && of == revision;
        for (check, outcome) in &faults {
            let place = (report.surface.to_owned(), revision.to_owned(), check.clone());
            if !known.contains(&place) {
                writeln!(wrong, "{} {revision} {check} # {outcome}", report.surface).expect("text");
            }
        }
        for (surface, revision, check) in known.iter().filter(here) {
            if !faults.contains_key(check) {
                writeln!(wrong, "{surface} {revision} {check} passes: take it out of known.txt")
                    .expect("text");
            }
        }
    }
    assert!(wrong.is_empty(), "not as conformance/checks.txt and known.txt say:\n{wrong}");
}

/// What did not pass, of what was tried and of what passes elsewhere.
fn faults(report: &Report) -> BTreeMap<String, Outcome> {
    let mut faults = BTreeMap::new();
    let mut passed = BTreeSet::new();
    for check in &report.checks {
        match &check.outcome {
            Outcome::Passed => drop(passed.insert(check.name.as_str())),
            Outcome::Failed(_) => drop(faults.insert(check.name.clone(), check.outcome.clone())),
            Outcome::Untried(_) => {}
        }
    }
    let expected = expected(report.requirement.revision());
    for check in expected.iter().filter(|check| !passed.contains(check.as_str())) {
        let untried = Outcome::Untried("although it passes without a gateway".to_owned());
        faults.entry(check.clone()).or_insert(untried);
    }
    // Only the fixture by itself says what there is to pass.
    if report.surface == "direct" {
        for check in passed.into_iter().filter(|check| !expected.contains(*check) && !check.ends_with(SCHEMA))
        {
            let missing = Outcome::Failed("it passes, but is missing in checks.txt".to_owned());
            faults.insert(check.to_owned(), missing);
        }
    }
    faults
}

fn expected(revision: &str) -> BTreeSet<String> {
    let lines = CHECKS.lines().filter_map(|line| line.strip_prefix(revision)?.trim().split_once(' '));
    lines
        .flat_map(|(scenario, checks)| checks.split(' ').map(move |check| format!("{scenario}:{check}")))
        .collect()
}

fn known() -> BTreeSet<Place> {
    let mut known = BTreeSet::new();
    for line in KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (places, reason) = line.split_once(" # ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(!reason.trim().is_empty(), "no reason: {line}");
        let words: Vec<_> = places.split_whitespace().collect();
        let [surfaces, revisions, check] = words[..] else { panic!("not three words: {line}") };
        for surface in surfaces.split(',') {
            for revision in revisions.split(',') {
                let place = (surface.to_owned(), revision.to_owned(), check.to_owned());
                assert!(known.insert(place), "twice: {line}");
            }
        }
    }
    known
}
