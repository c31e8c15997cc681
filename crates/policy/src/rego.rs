//! Layer 5: Rego policies.
//!
//! A policy is one module, compiled by itself, so that one policy's mistake is
//! that policy's alone. It is read three times with growing trust: as tokens
//! ([`scan`], which needs no parser), as a syntax tree ([`shape`], [`builtins`]),
//! and as a program ([`module`]). Whatever could make an evaluation differ from
//! the last one, or not end, is refused with the line it stands in.

mod agree;
mod allowance;
mod builtins;
mod hearsay;
mod input;
mod machine;
mod meter;
mod module;
mod scan;
mod schema;
mod shape;
mod statement;

pub(crate) use allowance::Allowance;
pub(crate) use hearsay::{Hearsay, Version};
pub(crate) use input::{Needs, build};
pub(crate) use module::Module;
pub(crate) use statement::{Entry, POLICY_ERROR, Statement};

use crate::config::{Options, RegoSource};
use crate::problem::{At, PolicyError, Warning};

/// The stack that a compilation may use.
const STACK_BYTES: usize = 16 << 20;

/// The stack of a trial: half of what threads that serve calls have, so whatever
/// survives the trial, compiling and evaluating, survives there.
const TRIAL_STACK_BYTES: usize = 1 << 20;

/// Compiles a policy and tries it on generated inputs, on a small stack. Meant for
/// a child process: a source that makes the compiler overflow its stack or run
/// forever takes that process with it, and nothing else.
///
/// # Errors
/// Every reason why [`PolicySet::compile`](crate::PolicySet::compile) would refuse it.
pub fn trial_compile(source: &RegoSource) -> Result<(), Vec<PolicyError>> {
    compile_on(TRIAL_STACK_BYTES, source, &Options::default()).map(drop)
}

/// Compiles a policy that passed its trial.
pub(crate) fn compile(
    source: &RegoSource,
    options: &Options,
) -> Result<(Module, Vec<Warning>), Vec<PolicyError>> {
    compile_on(STACK_BYTES, source, options)
}

/// What can be told without parsing; to be asked before a trial.
pub(crate) fn prescan(source: &RegoSource) -> Result<(), Vec<PolicyError>> {
    scan::scan(&source.source).map_err(|problem| vec![wrong(source, problem.at, problem.message)])
}

fn wrong(source: &RegoSource, at: At, message: impl Into<String>) -> PolicyError {
    PolicyError::in_source(source.place(), at, message)
}

fn compile_on(
    stack_bytes: usize,
    source: &RegoSource,
    options: &Options,
) -> Result<(Module, Vec<Warning>), Vec<PolicyError>> {
    prescan(source)?;
    let failed = |what: &str| vec![wrong(source, At::START, what)];
    std::thread::scope(|scope| {
        let compiling = std::thread::Builder::new()
            .name("rego-compile".to_owned())
            .stack_size(stack_bytes)
            .spawn_scoped(scope, || Module::compile(source, options));
        let compiling = compiling.map_err(|_| failed("no thread could be started to compile it"))?;
        compiling.join().map_err(|_| failed("the compiler cannot handle it"))?
    })
}
