//! What has to pass, and what is known not to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::suite::{Check, Outcome};

/// What passes without a gateway: `<revision> <scenario> <check> …`, by lines.
const CHECKS: &str = include_str!("checks.txt");
/// What does not pass, by why: `[~] <surface>[,…] <revision>[,…] <scenario>:<check or *> # reason`.
const EXCEPTIONS: [(&str, &str); 3] = [
    ("known.txt", include_str!("known.txt")),
    ("unreachable.txt", include_str!("unreachable.txt")),
    ("absent.txt", include_str!("absent.txt")),
];

/// That every message fits the schema: reported by every scenario in which there was one.
const SCHEMA: &str = ":wire-schema-valid";

/// The surface towards servers, where the suite itself says what there is to pass.
pub const CLIENT: &str = "client";

/// One run of the suite.
pub struct Report {
    pub surface: &'static str,
    pub revision: &'static str,
    pub checks: Vec<Check>,
}

/// Something known not to pass on a surface.
struct Known {
    file: &'static str,
    surface: String,
    revision: String,
    check: String,
    /// Whether it passes now and then.
    races: bool,
}

impl Known {
    /// Whether it is about a check: about it alone, or about its scenario as a whole.
    fn covers(&self, check: &str) -> bool {
        self.check == check
            || self.check.strip_suffix('*').is_some_and(|scenario| check.starts_with(scenario))
    }
}

/// Fails, naming each, if something failed that is not known to, or passed that is.
pub fn hold(reports: &[Report]) {
    let wrong: String = reports.iter().map(surprises).collect();
    assert!(wrong.is_empty(), "not as the files in conformance say:\n{wrong}");
}

/// What failed that is not known to, and what passed that is, a line each.
pub fn surprises(report: &Report) -> String {
    let Report { surface, revision, checks } = report;
    let faults = faults(surface, revision, checks);
    let known = known();
    let here = |known: &&Known| known.surface == *surface && known.revision == *revision;
    let known: Vec<_> = known.iter().filter(here).collect();
    let mut wrong = String::new();
    for (check, outcome) in &faults {
        if !known.iter().any(|known| known.covers(check)) {
            writeln!(wrong, "{surface} {revision} {check} # {outcome}").expect("text");
        }
    }
    for known in known.iter().filter(|known| !known.races && !faults.keys().any(|check| known.covers(check)))
    {
        let Known { check, file, .. } = known;
        writeln!(wrong, "{surface} {revision} {check} passes: take it out of {file}").expect("text");
    }
    wrong
}

/// What did not pass, of what was tried and of what passes elsewhere.
fn faults(surface: &str, revision: &str, checks: &[Check]) -> BTreeMap<String, Outcome> {
    let mut faults = BTreeMap::new();
    let mut passed = BTreeSet::new();
    for check in checks {
        match &check.outcome {
            Outcome::Passed => drop(passed.insert(check.name.as_str())),
            Outcome::Failed(_) => drop(faults.insert(check.name.clone(), check.outcome.clone())),
            Outcome::Untried(_) => {}
        }
    }
    if surface == CLIENT {
        return faults;
    }
    let expected = expected(revision);
    for check in expected.iter().filter(|check| !passed.contains(check.as_str())) {
        let untried = Outcome::Untried("although it passes without a gateway".to_owned());
        faults.entry(check.clone()).or_insert(untried);
    }
    // Only the fixture by itself says what there is to pass.
    if surface == "direct" {
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

fn known() -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    let lines = EXCEPTIONS.iter().flat_map(|(file, text)| text.lines().map(move |line| (*file, line)));
    for (file, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (places, reason) = line.split_once(" # ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(!reason.trim().is_empty(), "no reason: {line}");
        let (races, places) = places.strip_prefix("~ ").map_or((false, places), |places| (true, places));
        let words: Vec<_> = places.split_whitespace().collect();
        let [surfaces, revisions, check] = words[..] else { panic!("not three words: {line}") };
        for surface in surfaces.split(',') {
            for revision in revisions.split(',') {
                let (surface, revision, check) = (surface.to_owned(), revision.to_owned(), check.to_owned());
                let again = |known: &Known| {
                    (&known.surface, &known.revision, &known.check) == (&surface, &revision, &check)
                };
                assert!(!known.iter().any(again), "twice: {line}");
                known.push(Known { file, surface, revision, check, races });
            }
        }
    }
    known
}
