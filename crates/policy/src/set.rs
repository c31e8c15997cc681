//! All policies in force, compiled, immutable, and named by a digest.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aws_lc_rs::digest;
use doorward_model::json::push_hex;
use doorward_model::{Caller, Decision, Layer, ServerId, Verdict};
use regorus::Value as RegoValue;

use crate::config::{Mode, Options, RegoSource, RolePolicy};
use crate::facts::{Arguments, Inquiry};
use crate::problem::{PolicyError, Warning};
use crate::rego::{self, Allowance, Hearsay, Module, Needs, Statement, Version};
use crate::roles::{Outlook, RoleRules, Said};
use crate::ruling::{Listing, Ruling, combine};
use crate::{bundle, document, prepared};

/// How many compiled modules are kept for the next time.
const MODULES_KEPT: usize = 256;

/// The reason when a policy would compare what has no value that all readers share.
const INCOMPARABLE: &str =
    "the arguments hold an integer beyond ±(2^53−1), which no policy may compare, and a policy looks at them";

/// Modules as they were compiled, for the next set that has the same. Compiling a module
/// and trying it on generated inputs takes far longer than all else that a set needs.
#[derive(Default)]
pub struct Compiled(HashMap<String, (Arc<Module>, Vec<Warning>)>);

/// Tries to compile a Rego source elsewhere, and says what is wrong with it.
pub type Trial<'a> = dyn Fn(&RegoSource) -> Result<(), Vec<PolicyError>> + 'a;

/// Role rules and Rego policies that decide together.
#[derive(Debug)]
pub struct PolicySet {
    roles: RoleRules,
    /// By name, without those that are off.
    modules: Vec<Arc<Module>>,
    /// What of the input some module can see.
    needs: Needs,
    /// What of it nobody vouches for.
    hearsay: Hearsay,
    bundle: String,
    digest: String,
}

impl PolicySet {
    /// Compiles all policies, or says everything that is wrong with them.
    ///
    /// * `trial`: asked for each Rego source that is not off before it is compiled
    ///   here; meant to run [`trial_compile`](crate::trial_compile) in a child process.
    ///
    /// # Errors
    /// Every mistake found, with its place.
    pub fn compile(
        roles: Vec<RolePolicy>,
        rego: Vec<RegoSource>,
        options: &Options,
        trial: &Trial<'_>,
    ) -> Result<(Self, Vec<Warning>), Vec<PolicyError>> {
        Self::compile_anew(roles, rego, options, trial, &mut Compiled::default())
    }

    /// The same, taking from `compiled` what was compiled before, and leaving there what
    /// was not.
    ///
    /// # Errors
    /// As for [`compile`](Self::compile).
    pub fn compile_anew(
        roles: Vec<RolePolicy>,
        mut rego: Vec<RegoSource>,
        options: &Options,
        trial: &Trial<'_>,
        compiled: &mut Compiled,
    ) -> Result<(Self, Vec<Warning>), Vec<PolicyError>> {
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        let compiled_roles = RoleRules::compile(&roles, options, &mut warnings, &mut errors);
        rego.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in rego.windows(2).filter(|pair| pair[0].name == pair[1].name) {
            errors.push(PolicyError::new(
                pair[1].place(),
                format!("a policy named `{}` exists already", pair[1].name),
            ));
        }
        rego.retain(|source| source.mode != Mode::Off);
        let mut modules = Vec::new();
        for source in &rego {
            match compiled.module(source, options, trial) {
                Ok((module, doubts)) => {
                    modules.push(module);
                    warnings.extend(doubts);
                }
                Err(mistakes) => errors.extend(mistakes),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let bundle = bundle::write(&roles, &rego, modules.iter().map(|module| module.is_fast()), options);
        let digest = sha256(bundle.as_bytes());
        let needs = modules.iter().fold(Needs::default(), |needs, module| needs.and(module.needs));
        let hearsay = modules.iter().fold(Hearsay::default(), |hearsay, module| hearsay.and(&module.hearsay));
        Ok((Self { roles: compiled_roles, modules, needs, hearsay, bundle, digest }, warnings))
    }

    /// Everything that influences a verdict, as canonical JSON: rules, modules, data, modes,
    /// options and evaluators. [`from_bundle`](Self::from_bundle) reads it.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// `sha256:<hex>` over [`bundle`](Self::bundle).
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The modules that define `redact`, by name.
    pub fn redacting(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().filter(|module| module.redacts()).map(|module| &*module.name)
    }

    /// Decides one call. For [`Arguments::Listing`] this is the decision on a call without
    /// arguments; for [`Arguments::Incomparable`] it is made without a look at them, or is
    /// a refusal.
    pub fn decide(&self, inquiry: &Inquiry<'_>) -> Ruling {
        let (ruling, _) = self.decide_with(inquiry, Allowance::full);
        ruling
    }

    /// The same if it takes few steps, for a thread that serves others as well; `None` if it
    /// takes many. Then [`decide_written`](Self::decide_written) is to be asked elsewhere, which
    /// comes to the same verdict.
    pub fn decide_quickly(&self, inquiry: &Inquiry<'_>) -> Option<Ruling> {
        let (ruling, is_exhausted) = self.decide_with(inquiry, Allowance::quick);
        (!is_exhausted).then_some(ruling)
    }

    /// The decision, and whether it would have taken more than it was allowed to.
    fn decide_with(&self, inquiry: &Inquiry<'_>, allowed: fn(&RegoValue) -> Allowance) -> (Ruling, bool) {
        if let Arguments::Incomparable(_) = inquiry.arguments
            && let Some((layer, rule)) = self.looks_at_arguments(inquiry)
        {
            return (self.unseen(inquiry, layer, rule), false);
        }
        let roles = self.roles.decide(inquiry);
        let Readings { as_said, others, is_exhausted } = self.readings(inquiry, allowed);
        let ruling = self.rule(&roles, &as_said.statements);
        let ruling = others.into_iter().fold(ruling, |ruling, reading| {
            ruling.or_stricter(self.rule(&roles, &reading.statements), &reading.unsaid)
        });
        (ruling, is_exhausted)
    }

    /// Whether a capability stands in this caller's lists. What is not shown is
    /// never allowed; what a call would hide, or deny whatever its arguments, is not shown.
    pub fn lists(&self, inquiry: &Inquiry<'_>) -> Listing {
        let inquiry = Inquiry { arguments: Arguments::Listing, ..*inquiry };
        let outlook = self.roles.outlook(&inquiry);
        let Readings { as_said, others, .. } = self.readings(&inquiry, Allowance::full);
        let listing = self.listing(&outlook, &as_said);
        others.into_iter().fold(listing, |listing, reading| {
            listing.or_stricter(self.listing(&outlook, &reading), &reading.unsaid)
        })
    }

    /// What follows from what the modules say of one reading of a call.
    fn rule(&self, roles: &Said, statements: &[(&Module, Statement)]) -> Ruling {
        let enforced = enforced(statements);
        let decision = combine(!self.roles.is_empty(), roles, &enforced);
        let shadow = statements
            .iter()
            .filter(|(module, _)| module.mode == Mode::Shadow)
            .map(|(module, statement)| {
                let mut beside = enforced.clone();
                let at = beside.partition_point(|(other, _)| other.name < module.name);
                beside.insert(at, (module, statement));
                (module.name.clone(), combine(!self.roles.is_empty(), roles, &beside))
            })
            .collect();
        let redactions: BTreeSet<&String> = enforced.iter().flat_map(|(_, said)| &said.redactions).collect();
        Ruling {
            decision,
            shadow,
            evaluator: self.evaluator(),
            redactions: redactions.into_iter().cloned().collect(),
            errors: statements.iter().flat_map(|(_, said)| said.errors.iter().cloned()).collect(),
        }
    }

    /// What follows for a list.
    fn listing(&self, outlook: &Outlook, reading: &Reading<'_>) -> Listing {
        let enforced = enforced(&reading.statements);
        let decision = combine(!self.roles.is_empty(), &outlook.unconditional, &enforced);
        let hides = |(module, statement): &(&Module, &Statement)| {
            statement.says(Verdict::Hide) || module.denies_whatever(statement, &reading.input)
        };
        let hidden = matches!(&outlook.unconditional, Said::Spoke { verdict: Verdict::Hide, .. })
            || enforced.iter().any(hides);
        let may_allow = |(module, statement): &(&Module, &Statement)| {
            module.arguments_may_allow || statement.says(Verdict::Allow) || statement.says(Verdict::Approve)
        };
        let answered = outlook.may_allow || outlook.may_abstain && enforced.iter().any(may_allow);
        Listing { shown: !hidden && answered, decision }
    }

    /// Whether there is anything at all that could allow this caller something on
    /// this server. Where there is not, the server need not even be asked what it
    /// offers.
    pub fn may_allow(&self, caller: &Caller, server: &ServerId) -> bool {
        self.roles.may_allow(caller, server)
            || self.modules.iter().any(|module| module.mode == Mode::Enforce && module.may_allow())
    }

    /// Whether there is anything that could hide something on this server from this caller.
    /// Where there is, what may not be there must be answered like what is hidden.
    pub fn may_hide(&self, caller: &Caller, server: &ServerId) -> bool {
        self.roles.may_hide(caller, server)
            || self.modules.iter().any(|module| module.mode == Mode::Enforce && module.may_hide())
    }

    /// The inquiry as canonical JSON: the input document that Rego sees, that records
    /// digest, and that [`simulate`](crate::simulate()) decides again.
    pub fn input_document(&self, inquiry: &Inquiry<'_>) -> String {
        document::write(inquiry, &prepared::prepared(inquiry.caller))
    }

    /// Who would look at the arguments of this call: the role rule that is asked first, if it
    /// has conditions, or a Rego policy, in shadow or not. Which of the arguments it would look
    /// at makes no difference: what is a path to one reader may be a name to the next.
    fn looks_at_arguments(&self, inquiry: &Inquiry<'_>) -> Option<(Layer, String)> {
        let rule = self.roles.looks_at_arguments(inquiry).map(|rule| (Layer::Rules, rule.to_owned()));
        rule.or_else(|| {
            self.modules.iter().find_map(|module| Some((Layer::Policy, module.looks_at_arguments()?)))
        })
    }

    /// The refusal of a call at whose arguments somebody would have to look. Nobody hides
    /// depending on them, so that who is to see nothing still does.
    fn unseen(&self, inquiry: &Inquiry<'_>, layer: Layer, rule: String) -> Ruling {
        let mut decision = self.lists(inquiry).decision;
        if decision.verdict != Verdict::Hide {
            decision = Decision { rule: Some(rule), ..Decision::deny(layer, INCOMPARABLE) };
        }
        Ruling { evaluator: self.evaluator(), ..Ruling::from(decision) }
    }

    /// What the modules say of the input as it is, and of every other way to read what nobody
    /// vouches for.
    fn readings(&self, inquiry: &Inquiry<'_>, allowed: fn(&RegoValue) -> Allowance) -> Readings<'_> {
        if self.modules.is_empty() {
            let as_said = Reading { statements: Vec::new(), input: RegoValue::Undefined, unsaid: Vec::new() };
            return Readings { as_said, others: Vec::new(), is_exhausted: false };
        }
        let input = rego::build(inquiry, &prepared::prepared(inquiry.caller), self.needs);
        // What is in shadow takes nothing from what decides.
        let mut enforced = allowed(&input);
        let mut shadow = enforced.clone();
        let mut ask = |module: &Module, input: &RegoValue| {
            let is_shadow = module.mode == Mode::Shadow;
            module.ask(input, if is_shadow { &mut shadow } else { &mut enforced })
        };
        let statements: Vec<_> = self.modules.iter().map(|module| (&**module, ask(module, &input))).collect();
        let versions = if self.hearsay.is_empty() { Vec::new() } else { self.hearsay.versions(&input) };
        let mut others = Vec::with_capacity(versions.len());
        for Version { input, unsaid } in versions {
            let again = statements.iter().map(|(module, statement)| {
                let again = if module.hearsay.is_empty() { statement.clone() } else { ask(module, &input) };
                (*module, again)
            });
            let statements = again.collect();
            others.push(Reading { statements, input, unsaid });
        }
        let is_exhausted = enforced.is_exhausted() || shadow.is_exhausted();
        Readings { as_said: Reading { statements, input, unsaid: Vec::new() }, others, is_exhausted }
    }

    fn evaluator(&self) -> &'static str {
        match (self.modules.is_empty(), self.modules.iter().all(|module| module.is_fast())) {
            (true, _) => "rules",
            (_, true) => "regorus/0.14.1 rvm",
            (_, false) => "regorus/0.14.1 interpreter",
        }
    }
}

/// What the modules say of all ways to read an input.
struct Readings<'s> {
    as_said: Reading<'s>,
    others: Vec<Reading<'s>>,
    /// Somebody wanted more steps than there were.
    is_exhausted: bool,
}

/// What the modules say of an input that is read in one way.
struct Reading<'s> {
    statements: Vec<(&'s Module, Statement)>,
    input: RegoValue,
    unsaid: Vec<String>,
}

fn enforced<'s>(statements: &'s [(&'s Module, Statement)]) -> Vec<(&'s Module, &'s Statement)> {
    let enforced = statements.iter().filter(|(module, _)| module.mode == Mode::Enforce);
    enforced.map(|(module, statement)| (*module, statement)).collect()
}

impl Compiled {
    fn module(
        &mut self,
        source: &RegoSource,
        options: &Options,
        trial: &Trial<'_>,
    ) -> Result<(Arc<Module>, Vec<Warning>), Vec<PolicyError>> {
        // Everything that a module is made of; two that differ in anything are two.
        let key = format!("{options:?} {source:?}");
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        rego::prescan(source)?;
        trial(source)?;
        let (module, warnings) = rego::compile(source, options)?;
        if self.0.len() >= MODULES_KEPT {
            self.0.clear();
        }
        let module = Arc::new(module);
        self.0.insert(key, (Arc::clone(&module), warnings.clone()));
        Ok((module, warnings))
    }
}

/// `sha256:<hex>`, as records name bundles and input documents.
pub fn sha256(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(71);
    out.push_str("sha256:");
    push_hex(&mut out, digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
