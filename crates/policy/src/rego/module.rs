//! One Rego policy, compiled.

use std::collections::BTreeSet;
use std::fmt;

use doorward_model::Verdict;
use regorus::{Engine, Value as RegoValue};

use super::agree::Difference;
use super::machine::Machine;
use super::shape::{Form, InputPath, Shape};
use super::statement::{Entry, Statement};
use super::{Allowance, Hearsay, Needs, agree, meter, wrong};
use crate::config::{Mode, Options, RegoSource};
use crate::problem::{At, PolicyError, Warning};
use crate::set::sha256;

/// A compiled policy.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    /// SHA-256 of the source, as `sha256sum` prints it.
    digest: String,
    entries: Vec<Entry>,
    machine: Machine,
    /// What of the input it can see.
    pub(crate) needs: Needs,
    /// `allow` or `approve` may differ with the arguments.
    pub(crate) arguments_may_allow: bool,
    /// What of the input it can see that nobody vouches for.
    pub(crate) hearsay: Hearsay,
    /// Those of its rules that see the arguments.
    sees_arguments: Vec<Entry>,
    /// Those parts of `deny` that do not, where others do.
    certain: Option<Machine>,
}

impl Module {
    /// Whether it says what is to be taken out of arguments.
    pub(crate) fn redacts(&self) -> bool {
        self.entries.contains(&Entry::Redact)
    }

    /// Whether it could allow anything: it defines `allow`, or `approve`.
    pub(crate) fn may_allow(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Allow | Entry::Approve))
    }

    /// Whether it could hide anything.
    pub(crate) fn may_hide(&self) -> bool {
        self.entries.contains(&Entry::Hide)
    }

    /// Compiles a source that [`scan`](super::scan) let through.
    pub(super) fn compile(
        source: &RegoSource,
        options: &Options,
    ) -> Result<(Self, Vec<Warning>), Vec<PolicyError>> {
        let fail = |message: String| vec![wrong(source, At::START, message)];
        let mut engine = Engine::new();
        engine
            .add_policy(source.place().to_owned(), source.source.clone())
            .map_err(|error| vec![unparsed(source, &error.to_string())])?;
        let shape = match engine.get_modules().first() {
            Some(module) => Shape::read(module),
            None => return Err(fail("holds no module".to_owned())),
        };
        let mut warnings = Vec::new();
        let entries = check(source, &shape, &mut warnings)?;

        let json = parse_data(source, &shape).map_err(&fail)?;
        let data = RegoValue::from(json.clone());
        engine.add_data(data.clone()).map_err(|error| fail(error.to_string()))?;
        let package = shape.package.join(".");
        let paths: Vec<_> =
            entries.iter().map(|entry| format!("data.{package}.{}", entry.as_str())).collect();
        let inputs_of = |entry: &Entry| shape.inputs_of(entry.as_str());
        let inputs: BTreeSet<InputPath> = entries.iter().flat_map(inputs_of).collect();

        let is_linear = shape.calls.iter().any(|name| meter::is_linear(name));
        let tried = Tried { inputs: &inputs, literals: &shape.literals, data: &json, is_linear };
        let (machine, doubt) = tried.machine(&mut engine, &data, &paths, options);
        warnings.extend(doubt.map(|doubt| {
            let at = doubt.entry().map_or(At::START, |entry| shape.at(entries[entry].as_str()));
            Warning::in_source(source.place(), at, doubt.message(&entries))
        }));
        let sees_arguments = |entry: &Entry| sees(&inputs_of(entry), &["arguments"]);
        let on_arguments = |entry: Entry| entries.contains(&entry) && sees_arguments(&entry);
        let certain = match without_arguments(source, &shape) {
            Some(text) => {
                let mut engine = Engine::new();
                engine
                    .add_policy(source.place().to_owned(), text)
                    .map_err(|error| fail(error.to_string()))?;
                engine.add_data(data.clone()).map_err(|error| fail(error.to_string()))?;
                let path = format!("data.{package}.{}", Entry::Deny.as_str());
                Some(tried.machine(&mut engine, &data, &[path], options).0)
            }
            None => None,
        };
        let module = Self {
            name: source.name.clone(),
            mode: source.mode,
            digest: sha256(source.source.as_bytes()),
            arguments_may_allow: on_arguments(Entry::Allow) || on_arguments(Entry::Approve),
            sees_arguments: entries.iter().copied().filter(sees_arguments).collect(),
            certain,
            needs: Needs::of(&inputs),
            hearsay: Hearsay::of(&inputs),
            entries,
            machine,
        };
        Ok((module, warnings))
    }

    /// Asks it about one input.
    pub(crate) fn ask(&self, input: &RegoValue, allowance: &mut Allowance) -> Statement {
        Statement::read(&self.name, &self.entries, self.machine.run(input, allowance))
    }

    /// Whether it runs on the register machine.
    pub(crate) fn is_fast(&self) -> bool {
        self.machine.is_registers()
    }

    /// The pointer to its first rule that looks at arguments, if one does.
    pub(crate) fn looks_at_arguments(&self) -> Option<String> {
        self.sees_arguments.first().map(|entry| self.pointer(*entry))
    }

    /// Whether it denies every call, whatever the arguments.
    ///
    /// * `statement`: what it says of `input`, which has no arguments.
    pub(crate) fn denies_whatever(&self, statement: &Statement, input: &RegoValue) -> bool {
        let is_certain = |(verdict, entry, _): &(Verdict, Entry, Vec<String>)| {
            *verdict == Verdict::Deny && !self.sees_arguments.contains(entry)
        };
        statement.said.iter().any(is_certain)
            || self.certain.as_ref().is_some_and(|certain| {
                let mut allowance = Allowance::full(input);
                Statement::read(&self.name, &[Entry::Deny], certain.run(input, &mut allowance))
                    .says(Verdict::Deny)
            })
    }

    /// The stable pointer to one of its rules.
    pub(crate) fn pointer(&self, entry: Entry) -> String {
        format!("policy/{}@{}#{}", self.name, self.digest, entry.as_str())
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// What machines are tried on.
struct Tried<'a> {
    inputs: &'a BTreeSet<InputPath>,
    literals: &'a BTreeSet<RegoValue>,
    data: &'a serde_json::Value,
    /// The module calls functions that take longer the more they are given.
    is_linear: bool,
}

/// Why a module does not run on the fast machine.
enum Doubt {
    Uncompilable,
    Differs(Difference),
}

impl Tried<'_> {
    /// The fast machine if it can run these rules and agrees with the other one.
    fn machine(
        &self,
        engine: &mut Engine,
        data: &RegoValue,
        paths: &[String],
        options: &Options,
    ) -> (Machine, Option<Doubt>) {
        let tree = Machine::tree(engine, paths, options.max_instructions, self.is_linear);
        let Ok(registers) = Machine::registers(engine, data, paths, options.max_instructions) else {
            return (tree, Some(Doubt::Uncompilable));
        };
        match agree::difference(&registers, &tree, self.inputs, self.literals, self.data) {
            None => (registers, None),
            Some(difference) => (tree, Some(Doubt::Differs(difference))),
        }
    }
}

impl Doubt {
    /// The position of the rule that it is about.
    fn entry(&self) -> Option<usize> {
        match self {
            Self::Uncompilable => None,
            Self::Differs(difference) => Some(difference.entry),
        }
    }

    fn message(&self, entries: &[Entry]) -> String {
        let why = match self {
            Self::Uncompilable => "the fast one cannot compile it".to_owned(),
            Self::Differs(difference) => {
                let rule = entries[difference.entry].as_str();
                if difference.is_error {
                    format!(
                        "`{rule}` meets arguments of types it cannot use; guard them, for example with `is_string(…)` or `is_array(…)`"
                    )
                } else {
                    format!("the fast one differs about `{rule}`")
                }
            }
        };
        format!("runs on the slower interpreter: {why}")
    }
}

/// The source without those parts of `deny` that see the arguments, if there are such parts
/// and others. Fewer parts of a set or of a truth never say more.
fn without_arguments(source: &RegoSource, shape: &Shape) -> Option<String> {
    let (seeing, others) = shape.parts(Entry::Deny.as_str(), |inputs| sees(inputs, &["arguments"]));
    if seeing.is_empty() || others == 0 {
        return None;
    }
    let mut text = source.source.clone().into_bytes();
    for place in seeing {
        for byte in text.get_mut(place)?.iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
    }
    String::from_utf8(text).ok()
}

/// Whether some path leads to, through or short of `place`.
fn sees(paths: &BTreeSet<InputPath>, place: &[&str]) -> bool {
    paths.iter().any(|path| path.iter().zip(place).all(|(a, b)| a == b))
}

/// What the parser says, without the excerpt around it: `--> file:line:col`, the line, a caret, and
/// then the error.
fn unparsed(source: &RegoSource, error: &str) -> PolicyError {
    let place = error.lines().find_map(|line| line.trim_start().strip_prefix("--> "));
    let mut numbers = place.unwrap_or_default().rsplitn(3, ':').map(|number| number.trim().parse().ok());
    let (column, line) = (numbers.next().flatten(), numbers.next().flatten());
    let at = line.zip(column).map_or(At::START, |(line, column)| At::new(line, column));
    let message = error.rsplit_once("error: ").map_or(error, |(_, message)| message);
    let message: Vec<_> = message.split_whitespace().collect();
    wrong(source, at, message.join(" "))
}

/// Judges what the module looks like, and finds its entry rules.
fn check(
    source: &RegoSource,
    shape: &Shape,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Entry>, Vec<PolicyError>> {
    let mut errors: Vec<_> =
        shape.problems.iter().map(|problem| wrong(source, problem.at, problem.message.clone())).collect();
    let mut entries = Vec::new();
    for entry in Entry::ALL {
        let name = entry.as_str();
        let Some(form) = shape.form(name) else { continue };
        entries.push(entry);
        let refused = match (entry, form) {
            (_, Form::Function) => Some(format!("`{name}` is a function; nobody calls it")),
            (Entry::Allow, Form::Set) => Some("`allow` is true or false, not a set".to_owned()),
            (Entry::Hide, _) if sees(&shape.inputs_of(name), &["arguments"]) => {
                Some("`hide` depends on `input.arguments`; a list could not know them; use `deny`".to_owned())
            }
            _ => None,
        };
        errors.extend(refused.map(|message| wrong(source, shape.at(name), message)));
    }
    if entries.is_empty() {
        errors.push(wrong(source, At::START, "defines none of allow, deny, hide, approve and redact"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }

    for entry in entries.iter().filter(|entry| **entry != Entry::Redact) {
        let places = Hearsay::of(&shape.inputs_of(entry.as_str()));
        if !places.is_empty() {
            let message = format!(
                "`{}` reads {places}, which a client or a server says of itself: it can narrow a verdict and never widen it, so this policy is also decided without it, and the stricter verdict counts{}",
                entry.as_str(),
                places.remedy()
            );
            warnings.push(Warning::in_source(source.place(), shape.at(entry.as_str()), message));
        }
    }
    for at in &shape.doubtful_nots {
        let message = "`not` over a call is true when the argument is missing; ask for the argument first";
        warnings.push(Warning::in_source(source.place(), *at, message));
    }
    Ok(entries)
}

fn parse_data(source: &RegoSource, shape: &Shape) -> Result<serde_json::Value, String> {
    let Some(text) = &source.data else { return Ok(serde_json::Value::Object(serde_json::Map::new())) };
    let data: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("its data is not JSON: {error}"))?;
    let root = shape.package.first().map_or("", String::as_str);
    match data.as_object() {
        None => Err("its data is not a JSON object".to_owned()),
        Some(members) if members.contains_key(root) => {
            Err(format!("its data has a member `{root}`, which is where its own rules are"))
        }
        Some(_) => Ok(data),
    }
}
