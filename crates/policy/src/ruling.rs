//! How what the layers say becomes one decision.

use doorward_model::decision::DEFAULT_DENY;
use doorward_model::{Decision, Layer, Verdict};

use crate::rego::{Entry, Module, Statement};
use crate::roles::Said;

/// The answer to an inquiry, with what belongs in its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The decision.
    pub decision: Decision,
    /// For every shadow policy, by name: the decision that would stand if it were
    /// enforced beside the others.
    pub shadow: Vec<(String, Decision)>,
    /// What evaluated the policies: `rules` when there was no Rego.
    pub evaluator: &'static str,
    /// JSON pointers to arguments that must not reach the server, sorted.
    pub redactions: Vec<String>,
    /// Why policies could not be evaluated, for the log. May name values of the call.
    pub errors: Vec<String>,
}

impl From<Decision> for Ruling {
    /// A ruling for which no policy was asked.
    fn from(decision: Decision) -> Self {
        Self { decision, shadow: Vec::new(), evaluator: "rules", redactions: Vec::new(), errors: Vec::new() }
    }
}

impl Ruling {
    /// The stricter of two rulings on one call; `other` is the one where `unsaid` counts as unsaid.
    #[must_use]
    pub(crate) fn or_stricter(mut self, other: Self, unsaid: &[String]) -> Self {
        self.decision = stricter(self.decision, other.decision, unsaid);
        for ((_, decision), (_, again)) in self.shadow.iter_mut().zip(other.shadow) {
            *decision = stricter(decision.clone(), again, unsaid);
        }
        // What is to be taken out in either case is taken out.
        self.redactions.extend(other.redactions);
        self.redactions.sort();
        self.redactions.dedup();
        for error in other.errors {
            if !self.errors.contains(&error) {
                self.errors.push(error);
            }
        }
        self
    }
}

/// Of equally strict decisions the first.
fn stricter(one: Decision, mut other: Decision, unsaid: &[String]) -> Decision {
    if other.verdict <= one.verdict {
        return one;
    }
    let unsaid = unsaid.join(" and ");
    other.reasons.push(format!("what the client or the server says in {unsaid} cannot widen a verdict"));
    other
}

/// Whether a capability stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Whether this caller sees it: not when it is hidden, when it is refused whatever the
    /// arguments, or when nobody would allow any call.
    pub shown: bool,
    /// The decision on a call that meets every condition of the role rules and has no
    /// arguments; what PetrefiedThunder/mcp-gateway makes its lists of.
    pub decision: Decision,
}

impl Listing {
    /// The stricter of two, as for [`Ruling::or_stricter`].
    #[must_use]
    pub(crate) fn or_stricter(self, other: Self, unsaid: &[String]) -> Self {
        Self { shown: self.shown && other.shown, decision: stricter(self.decision, other.decision, unsaid) }
    }
}

/// Combines both layers: the greatest verdict wins, and all who say it are heard;
/// the role rules first, then policies by name.
pub(crate) fn combine(has_roles: bool, roles: &Said, statements: &[(&Module, &Statement)]) -> Decision {
    let mut voices: Vec<Voice<'_>> = Vec::new();
    if let Said::Spoke { verdict, reason, pointer } = roles {
        voices.push(Voice {
            verdict: *verdict,
            reasons: std::slice::from_ref(reason),
            speaker: Speaker::Rule(pointer),
        });
    }
    for (module, statement) in statements {
        voices.extend(statement.said.iter().map(|(verdict, entry, reasons)| Voice {
            verdict: *verdict,
            reasons,
            speaker: Speaker::Policy(module, *entry),
        }));
    }
    // `max_by_key` would take the last of equals; the first one decides.
    let Some(decided) = voices.iter().rev().max_by_key(|voice| voice.verdict) else {
        return default_deny(has_roles, roles);
    };
    if decided.verdict == Verdict::Allow {
        return Decision::allow(decided.layer(), decided.pointer());
    }
    let mut reasons: Vec<String> = Vec::new();
    for voice in voices.iter().filter(|voice| voice.verdict == decided.verdict) {
        for reason in voice.reasons {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        }
    }
    Decision { verdict: decided.verdict, reasons, layer: decided.layer(), rule: Some(decided.pointer()) }
}

/// One verdict of one rule.
struct Voice<'a> {
    verdict: Verdict,
    reasons: &'a [String],
    speaker: Speaker<'a>,
}

enum Speaker<'a> {
    Rule(&'a str),
    Policy(&'a Module, Entry),
}

impl Voice<'_> {
    fn layer(&self) -> Layer {
        match self.speaker {
            Speaker::Rule(_) => Layer::Rules,
            Speaker::Policy(..) => Layer::Policy,
        }
    }

    fn pointer(&self) -> String {
        match self.speaker {
            Speaker::Rule(pointer) => pointer.to_owned(),
            Speaker::Policy(module, entry) => module.pointer(entry),
        }
    }
}

fn default_deny(has_roles: bool, roles: &Said) -> Decision {
    if !has_roles {
        return Decision::deny(Layer::Policy, DEFAULT_DENY);
    }
    let mut decision = Decision::deny(Layer::Rules, DEFAULT_DENY);
    if let Said::Nothing(words) = roles {
        decision.reasons.push((*words).to_owned());
    }
    decision
}
