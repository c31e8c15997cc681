//! The verdict, reached again from what was recorded.

use doorward_ledger::as_recorded;
use doorward_model::json::Value;
use doorward_model::{Decision, Verdict};
use doorward_policy::{PolicySet, Ruling, Trial, simulate};

use crate::verify::Flaw;

/// What the policies of a proof say of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The same verdict, by the same rule, for the same reasons.
    Same,
    /// They allow the call, as they did; it was refused for another reason than policy, a
    /// limit for example.
    AllowedByPolicy,
    /// They refuse the call, as they did; it was answered as if its target did not exist, because
    /// it does not, or perhaps does not.
    RefusedByPolicy,
    /// No policy was asked: the call was refused before.
    NotAsked,
    /// The proof has no input document: the log did not keep it, or it is withheld.
    NoInput,
    /// The proof has no policies.
    NoPolicies,
}

impl Reached {
    /// A stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "reproduced",
            Self::AllowedByPolicy => "allowed-by-policy",
            Self::RefusedByPolicy => "refused-by-policy",
            Self::NotAsked => "not-asked",
            Self::NoInput => "no-input",
            Self::NoPolicies => "no-policies",
        }
    }
}

/// Asks the policies again, and compares what they say with the decision as recorded.
pub(crate) fn reach(
    decision: Value<'_>,
    policies: Option<Value<'_>>,
    input: Option<Value<'_>>,
    trial: &Trial<'_>,
) -> Result<Reached, Flaw> {
    if text(decision, "input").is_empty() {
        return Ok(Reached::NotAsked);
    }
    let Some(policies) = policies else { return Ok(Reached::NoPolicies) };
    let Some(input) = input else { return Ok(Reached::NoInput) };
    let set = PolicySet::from_bundle(policies.raw(), trial)
        .map_err(|error| Flaw::new("policies", &error.to_string()))?;
    let ruling = simulate(&set, input).map_err(|error| Flaw::new("input", &error.to_string()))?;
    compare(decision, &ruling)
}

fn compare(recorded: Value<'_>, ruling: &Ruling) -> Result<Reached, Flaw> {
    let again = &ruling.decision;
    let verdict = text(recorded, "verdict");
    let reached = match &*text(recorded, "layer") {
        "rules" | "policy" => {
            let is_same = verdict == again.verdict.as_str()
                && text(recorded, "layer") == again.layer.as_str()
                && reasons(recorded) == as_recorded(&again.reasons).collect::<Vec<_>>();
            is_same.then_some(Reached::Same)
        }
        // What needs a human was refused, with that as the first reason.
        "approval" => (again.verdict == Verdict::Approve).then_some(Reached::Same),
        "exposure" if matches!(again.verdict, Verdict::Deny | Verdict::Approve) => {
            Some(Reached::RefusedByPolicy)
        }
        _ => (again.verdict == Verdict::Allow).then_some(Reached::AllowedByPolicy),
    };
    let is_same_rule = text(recorded, "rule") == again.rule.as_deref().unwrap_or_default();
    let Some(reached) = reached.filter(|reached| *reached != Reached::Same || is_same_rule) else {
        let recorded = format!("{verdict} by {:?}, {:?}", text(recorded, "rule"), reasons(recorded));
        return Err(Flaw::new("verdict", &format!("is {recorded}; the policies say {}", said(again))));
    };
    let shadows = recorded.get("shadow");
    let differs = |(name, decision): &&(String, Decision)| {
        shadows.is_none_or(|shadows| text(shadows, name) != decision.verdict.as_str())
    };
    match ruling.shadow.iter().find(differs) {
        Some((name, decision)) => {
            Err(Flaw::new("verdict", &format!("in shadow, `{name}` says {}", said(decision))))
        }
        None => Ok(reached),
    }
}

fn said(decision: &Decision) -> String {
    let rule = decision.rule.as_deref().unwrap_or_default();
    format!("{} by {rule:?}, {:?}", decision.verdict.as_str(), decision.reasons)
}

/// A text of an object; empty where there is none.
pub(crate) fn text(object: Value<'_>, name: &str) -> String {
    object.get(name).and_then(Value::as_str).unwrap_or_default().into_owned()
}

fn reasons(recorded: Value<'_>) -> Vec<String> {
    let reasons = recorded.get("reasons").map(Value::items).into_iter().flatten();
    reasons.map(|reason| reason.as_str().unwrap_or_default().into_owned()).collect()
}
