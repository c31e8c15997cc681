//! The second look at a source: what its rules are called, what each depends on,
//! which parts of `input` it can see, and which built-ins it calls.
//!
//! In doubt a dependency is assumed. Too many cost speed, or refuse a strange
//! policy; one too few could let a recursion through, which would end the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use regorus::Value as RegoValue;
use regorus::unstable::{Expr, Literal, Module, Query, Rule, RuleBody, RuleHead, Span, WithModifier};

use super::scan::Problem;
use super::{builtins, schema};
use crate::problem::At;

/// A path into `input`: `["arguments", "amount"]`. It ends where a step is computed.
pub(super) type InputPath = Vec<String>;

/// What a module is made of.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The package, such as `["doorward", "refunds"]`.
    pub(super) package: Vec<String>,
    /// Every rule, those of one name together.
    rules: BTreeMap<Vec<String>, Facts>,
    /// Texts and numbers that the module compares with.
    pub(super) literals: BTreeSet<RegoValue>,
    /// Built-in functions that it calls.
    pub(super) calls: BTreeSet<String>,
    /// Places with a `not` over a call that may get an undefined argument.
    pub(super) doubtful_nots: BTreeSet<At>,
    /// What cannot stay.
    pub(super) problems: Vec<Problem>,
}

/// What the rules of one name have in common.
#[derive(Debug)]
struct Facts {
    at: At,
    form: Form,
    uses: BTreeSet<Use>,
    inputs: BTreeSet<InputPath>,
    /// The same for each of them alone.
    parts: Vec<Part>,
}

impl Facts {
    fn at(at: At) -> Self {
        let (uses, inputs) = (BTreeSet::new(), BTreeSet::new());
        Self { at, form: Form::Value, uses, inputs, parts: Vec::new() }
    }
}

/// One rule of several with one name.
#[derive(Debug, Default)]
struct Part {
    /// Where it stands in the source, in bytes.
    place: Range<usize>,
    uses: BTreeSet<Use>,
    inputs: BTreeSet<InputPath>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    Value,
    Set,
    Function,
}

/// A reference to a rule of the same module: a path that may be cut short, or
/// go on inside the rule's value.
type Use = Vec<String>;

impl Shape {
    /// Reads a syntax tree.
    pub(super) fn read(module: &Module) -> Self {
        let mut shape = Self::default();
        match steps(&module.package.refr) {
            Some((root, rest)) => {
                shape.package.push(root);
                shape.package.extend(rest.into_iter().flatten());
            }
            None => shape.problem(at(&module.package.span), "has no package name".to_owned()),
        }
        let identifier = |part: &String| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !shape.package.iter().all(identifier) {
            shape.problem(
                at(&module.package.span),
                "its package name may hold letters, digits and `_` only".to_owned(),
            );
        }
        let imports = module.imports.iter().filter_map(|import| {
            let (root, rest) = steps(&import.refr)?;
            let known = root == "input" || root == "data";
            let alias = match &import.r#as {
                Some(span) => span.text().to_owned(),
                None => rest.last().cloned().flatten().unwrap_or_else(|| root.clone()),
            };
            known.then_some((alias, (root, rest)))
        });
        let imports: BTreeMap<String, Steps> = imports.collect();
        for import in &module.imports {
            if let Some((_, rest)) = steps(&import.refr).filter(|(root, _)| root == "input")
                && let Err(message) = schema::check(&rest)
            {
                shape.problem(at(&import.span), message);
            }
        }
        let names: BTreeSet<String> =
            module.policy.iter().filter_map(|rule| head(rule).map(|head| head.0[0].clone())).collect();
        for rule in &module.policy {
            Reader {
                shape: &mut shape,
                names: &names,
                imports: &imports,
                parameters: BTreeSet::new(),
                facts: Facts::at(at(rule.span())),
            }
            .rule(rule);
        }
        shape.refuse_recursion();
        shape
    }

    /// The form of a rule with this one-word name; `None` when there is none.
    pub(super) fn form(&self, name: &str) -> Option<Form> {
        self.rules.iter().find(|(path, _)| path[0] == name).map(|(_, facts)| facts.form)
    }

    /// Where a rule stands.
    pub(super) fn at(&self, name: &str) -> At {
        self.rules.iter().find(|(path, _)| path[0] == name).map_or(At::START, |(_, facts)| facts.at)
    }

    /// Every part of `input` that a rule sees, itself or through others.
    pub(super) fn inputs_of(&self, name: &str) -> BTreeSet<InputPath> {
        self.inputs_through(self.rules.keys().filter(|path| path[0] == name).collect())
    }

    /// The places of the rules of this name that see something for which `sees` holds, and
    /// how many there are that do not.
    pub(super) fn parts(
        &self,
        name: &str,
        sees: impl Fn(&BTreeSet<InputPath>) -> bool,
    ) -> (Vec<Range<usize>>, usize) {
        let parts = self.rules.iter().filter(|(path, _)| path[0] == name).flat_map(|(_, facts)| &facts.parts);
        let (seeing, others): (Vec<_>, Vec<_>) = parts.partition(|part| {
            let mut inputs = self.inputs_through(self.used_by(&part.uses).collect());
            inputs.extend(part.inputs.iter().cloned());
            sees(&inputs)
        });
        (seeing.into_iter().map(|part| part.place.clone()).collect(), others.len())
    }

    /// What is seen by these rules and by whatever they use.
    fn inputs_through<'s>(&'s self, mut reached: BTreeSet<&'s Vec<String>>) -> BTreeSet<InputPath> {
        let mut waiting: Vec<_> = reached.iter().copied().collect();
        let mut inputs = BTreeSet::new();
        while let Some(path) = waiting.pop() {
            let Some(facts) = self.rules.get(path) else { continue };
            inputs.extend(facts.inputs.iter().cloned());
            for next in self.used_by(&facts.uses) {
                if reached.insert(next) {
                    waiting.push(next);
                }
            }
        }
        inputs
    }

    fn used_by<'s>(&'s self, uses: &'s BTreeSet<Use>) -> impl Iterator<Item = &'s Vec<String>> {
        let touches = |used: &Use, path: &[String]| used.iter().zip(path).all(|(a, b)| a == b);
        self.rules.keys().filter(move |path| uses.iter().any(|used| touches(used, path)))
    }

    fn problem(&mut self, at: At, message: String) {
        let problem = Problem { at, message };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Depth-first with colours, without recursion of our own.
    fn refuse_recursion(&mut self) {
        let mut done: BTreeSet<&Vec<String>> = BTreeSet::new();
        let mut found = None;
        'rules: for start in self.rules.keys() {
            let mut trail: Vec<(&Vec<String>, Vec<&Vec<String>>)> = Vec::new();
            let next_of = |path: &Vec<String>| {
                self.rules.get(path).map(|facts| self.used_by(&facts.uses).collect()).unwrap_or_default()
            };
            if !done.contains(start) {
                trail.push((start, next_of(start)));
            }
            while let Some((path, next)) = trail.last_mut() {
                let Some(used) = next.pop() else {
                    done.insert(path);
                    trail.pop();
                    continue;
                };
                if let Some(at) = trail.iter().position(|(path, _)| *path == used) {
                    let names: Vec<_> = trail[at..].iter().map(|(path, _)| path.join(".")).collect();
                    let at = self.rules.get(used).map_or(At::START, |facts| facts.at);
                    found = Some((
                        at,
                        format!("`{}` depends on itself: {} → {0}", used.join("."), names.join(" → ")),
                    ));
                    break 'rules;
                }
                if !done.contains(used) {
                    trail.push((used, next_of(used)));
                }
            }
        }
        if let Some((at, message)) = found {
            self.problem(at, message);
        }
    }
}

/// Where a reference starts and what follows; `None` as a step is a computed one.
type Steps = (String, Vec<Option<String>>);

/// The steps of `a.b["c"][x]`; `None` when it does not start with a name.
fn steps(expression: &Expr) -> Option<Steps> {
    match expression {
        Expr::Var { value, .. } => Some((value.as_string().ok()?.to_string(), Vec::new())),
        Expr::RefDot { refr, field, .. } => {
            let (root, mut rest) = steps(refr)?;
            rest.push(field.1.as_string().ok().map(|name| name.to_string()));
            Some((root, rest))
        }
        Expr::RefBrack { refr, index, .. } => {
            let (root, mut rest) = steps(refr)?;
            rest.push(match &**index {
                Expr::String { value, .. } | Expr::RawString { value, .. } => {
                    value.as_string().ok().map(|name| name.to_string())
                }
                _ => None,
            });
            Some((root, rest))
        }
        _ => None,
    }
}

/// The steps before the first computed one.
fn fixed(root: &str, rest: &[Option<String>]) -> Vec<String> {
    std::iter::once(root.to_owned()).chain(rest.iter().map_while(Clone::clone)).collect()
}

/// The name of a rule as far as it is fixed, and what kind of rule it is.
fn head(rule: &Rule) -> Option<(Vec<String>, Form)> {
    let (refr, form) = match rule {
        Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } => (refr, Form::Value),
        Rule::Spec { head: RuleHead::Set { refr, .. }, .. } => (refr, Form::Set),
        Rule::Spec { head: RuleHead::Func { refr, .. }, .. } => (refr, Form::Function),
        Rule::Default { refr, args, .. } => {
            (refr, if args.is_empty() { Form::Value } else { Form::Function })
        }
    };
    let (root, rest) = steps(refr)?;
    Some((fixed(&root, &rest), form))
}

/// Reads one rule.
struct Reader<'s> {
    shape: &'s mut Shape,
    names: &'s BTreeSet<String>,
    imports: &'s BTreeMap<String, Steps>,
    parameters: BTreeSet<String>,
    facts: Facts,
}

impl Reader<'_> {
    fn rule(mut self, rule: &Rule) {
        let place = at(rule.span());
        let Some((path, form)) = head(rule) else {
            return self.shape.problem(place, "has a rule without a plain name".to_owned());
        };
        match rule {
            Rule::Spec { head, bodies, .. } => {
                self.head(head);
                for body in bodies {
                    self.body(body);
                }
            }
            Rule::Default { args, value, .. } => {
                self.parameters(args.iter().map(|argument| &**argument));
                self.expression(value);
            }
        }
        let Self { shape, facts, .. } = self;
        let known = shape.rules.entry(path).or_insert_with(|| Facts { form, ..Facts::at(place) });
        if form != Form::Value {
            known.form = form;
        }
        known.uses.extend(facts.uses.iter().cloned());
        known.inputs.extend(facts.inputs.iter().cloned());
        let span = rule.span();
        let place = span.start as usize..span.end as usize;
        known.parts.push(Part { place, uses: facts.uses, inputs: facts.inputs });
    }

    fn head(&mut self, head: &RuleHead) {
        let (refr, assign) = match head {
            RuleHead::Compr { refr, assign, .. } => (refr, assign),
            RuleHead::Set { refr, key, .. } => {
                if let Some(key) = key {
                    self.expression(key);
                }
                (refr, &None)
            }
            RuleHead::Func { refr, args, assign, .. } => {
                self.parameters(args.iter().map(|argument| &**argument));
                (refr, assign)
            }
        };
        self.indices(refr);
        if let Some(assign) = assign {
            self.expression(&assign.value);
        }
    }

    /// The computed parts of a rule's own name.
    fn indices(&mut self, refr: &Expr) {
        match refr {
            Expr::RefDot { refr, .. } => self.indices(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.indices(refr);
                self.expression(index);
            }
            _ => {}
        }
    }

    /// A parameter hides a rule of the same name in the whole function. Only plain
    /// names count; what a pattern binds is left to the cautious side.
    fn parameters<'e>(&mut self, arguments: impl Iterator<Item = &'e Expr>) {
        for argument in arguments {
            if let Expr::Var { value, .. } = argument
                && let Ok(name) = value.as_string()
            {
                self.parameters.insert(name.to_string());
            } else {
                self.expression(argument);
            }
        }
    }

    fn body(&mut self, body: &RuleBody) {
        if let Some(assign) = &body.assign {
            self.expression(&assign.value);
        }
        self.query(&body.query);
    }

    fn query(&mut self, query: &Query) {
        for statement in &query.stmts {
            self.literal(&statement.literal);
            for WithModifier { refr, r#as, .. } in &statement.with_mods {
                self.expression(refr);
                self.expression(r#as);
            }
        }
    }

    fn literal(&mut self, literal: &Literal) {
        match literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                for expression in key.iter().chain([value, collection]) {
                    self.expression(expression);
                }
            }
            Literal::Expr { expr, .. } => self.expression(expr),
            Literal::NotExpr { span, expr } => {
                let before = self.facts.inputs.clone();
                self.expression(expr);
                let beyond_fixed =
                    |path: &&InputPath| path.len() > 1 && matches!(path[0].as_str(), "arguments" | "limits");
                if is_call(expr) && self.facts.inputs.difference(&before).any(|path| beyond_fixed(&path)) {
                    self.shape.doubtful_nots.insert(at(span));
                }
            }
            Literal::Every { domain, query, .. } => {
                self.expression(domain);
                self.query(query);
            }
        }
    }

    fn expressions<'e>(&mut self, expressions: impl IntoIterator<Item = &'e Expr>) {
        for expression in expressions {
            self.expression(expression);
        }
    }

    fn expression(&mut self, expression: &Expr) {
        match expression {
            Expr::String { value, .. } | Expr::RawString { value, .. } | Expr::Number { value, .. } => {
                self.shape.literals.insert(value.clone());
            }
            Expr::Bool { .. } | Expr::Null { .. } => {}
            Expr::Var { .. } => self.reference(expression),
            Expr::RefDot { refr, .. } => {
                if steps(expression).is_some() {
                    self.reference(expression);
                    self.indices(expression);
                } else {
                    self.expression(refr);
                }
            }
            Expr::RefBrack { refr, index, .. } => {
                if steps(expression).is_some() {
                    self.reference(expression);
                    self.indices(expression);
                } else {
                    self.expressions([&**refr, &**index]);
                }
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                self.expressions(items.iter().map(|item| &**item))
            }
            Expr::Object { fields, .. } => {
                self.expressions(fields.iter().flat_map(|(_, key, value)| [&**key, &**value]));
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expression(term);
                self.query(query);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.expressions([&**key, &**value]);
                self.query(query);
            }
            Expr::Call { span, fcn, params, .. } => self.call(at(span), fcn, params),
            Expr::UnaryExpr { expr, .. } => self.expression(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => self.expressions([&**lhs, &**rhs]),
            Expr::Membership { key, value, collection, .. } => {
                self.expressions(key.iter().map(|key| &**key));
                self.expressions([&**value, &**collection]);
            }
        }
    }

    fn call(&mut self, place: At, function: &Expr, arguments: &[regorus::unstable::ExprRef]) {
        let arguments: Vec<&Expr> = arguments.iter().map(|argument| &**argument).collect();
        self.expressions(arguments.iter().copied());
        let Some((root, rest)) = steps(function) else {
            return self.shape.problem(place, "calls something that has no name".to_owned());
        };
        if self.names.contains(&root) || root == "data" || self.imports.contains_key(&root) {
            return self.reference(function);
        }
        let name = fixed(&root, &rest).join(".");
        if let Err(message) = builtins::check(&name, &arguments) {
            self.shape.problem(place, message);
        }
        if name == "object.get" {
            self.looked_up(place, &arguments);
        }
        self.shape.calls.insert(name);
    }

    /// `object.get(input, "tool", "")` and `object.get(input, ["context", "ip"], "")` read what
    /// their path says.
    fn looked_up(&mut self, place: At, arguments: &[&Expr]) {
        let [object, path, ..] = arguments else { return };
        let Some((root, mut rest)) = steps(object).filter(|(root, _)| root == "input") else { return };
        let text = |expression: &Expr| match expression {
            Expr::String { value, .. } | Expr::RawString { value, .. } => {
                value.as_string().ok().map(|text| text.to_string())
            }
            _ => None,
        };
        match path {
            Expr::Array { items, .. } => rest.extend(items.iter().map(|item| text(item))),
            path => rest.push(text(path)),
        }
        self.rooted(place, &root, &rest);
    }

    fn reference(&mut self, expression: &Expr) {
        let Some((root, rest)) = steps(expression) else { return };
        if self.parameters.contains(&root) {
            return;
        }
        if root == "input" || root == "data" {
            return self.rooted(beginning(expression), &root, &rest);
        }
        if let Some((root, before)) = self.imports.get(&root) {
            let whole: Vec<_> = before.iter().chain(&rest).cloned().collect();
            let root = root.clone();
            self.rooted(beginning(expression), &root, &whole);
        }
        // A rule may have the name of an import; then both are assumed.
        if self.names.contains(&root) {
            self.facts.uses.insert(fixed(&root, &rest));
        }
    }

    fn rooted(&mut self, place: At, root: &str, rest: &[Option<String>]) {
        let path = rest.iter().map_while(Clone::clone).collect::<Vec<_>>();
        if root == "input" {
            if let Err(message) = schema::check(rest) {
                self.shape.problem(place, message);
            }
            self.facts.inputs.insert(path);
            return;
        }
        // `data` holds the module's own rules too, under its package.
        let package = &self.shape.package;
        if package.iter().zip(&path).all(|(a, b)| a == b) {
            self.facts.uses.insert(path.get(package.len()..).unwrap_or_default().to_vec());
        }
    }
}

/// Where something stands.
fn at(span: &Span) -> At {
    At::new(span.line, span.col)
}

/// Where a reference begins; its own span is that of its last step.
fn beginning(expression: &Expr) -> At {
    match expression {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => beginning(refr),
        other => at(other.span()),
    }
}

fn is_call(expression: &Expr) -> bool {
    matches!(expression, Expr::Call { .. } | Expr::Membership { .. })
}
