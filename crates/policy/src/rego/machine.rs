//! Running a compiled module.
//!
//! Two evaluators can: the register machine, several times faster, and the tree
//! interpreter, which knows all of Rego. Machines are kept for the next call in a
//! small pool; nobody waits for one.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::Program;
use regorus::rvm::vm::RegoVM;
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value as RegoValue};

/// Machines kept idle, for about as many threads.
const IDLE: usize = 16;

/// What an evaluation yields: the value of a rule, or why there is none. The text
/// is for the log; a decision only says `policy_error`.
pub(super) type Evaluated = Result<RegoValue, String>;

/// A module ready to be asked for the values of its entry rules.
pub(super) struct Machine {
    runner: Runner,
    paths: Vec<String>,
}

enum Runner {
    Registers { program: Arc<Program>, data: RegoValue, max_instructions: usize, idle: Mutex<Vec<RegoVM>> },
    Tree { prototype: Box<Mutex<Engine>>, idle: Mutex<Vec<Engine>> },
}

impl Machine {
    /// * `engine`: holds the module and its data.
    /// * `paths`: the entry rules, such as `data.refunds.allow`.
    ///
    /// # Errors
    /// What the compiler says.
    pub(super) fn registers(
        engine: &mut Engine,
        data: &RegoValue,
        paths: &[String],
        max_instructions: usize,
    ) -> Result<Self, String> {
        let first = paths.first().ok_or("there is no entry rule")?;
        let compiled =
            engine.compile_with_entrypoint(&first.as_str().into()).map_err(|error| error.to_string())?;
        let entries: Vec<&str> = paths.iter().map(String::as_str).collect();
        let program =
            Compiler::compile_from_policy(&compiled, &entries).map_err(|error| error.to_string())?;
        let runner =
            Runner::Registers { program, data: data.clone(), max_instructions, idle: Mutex::default() };
        Ok(Self { runner, paths: paths.to_vec() })
    }

    /// The same on the interpreter, which counts no instructions: a timer stands in,
    /// far above what an evaluation takes.
    pub(super) fn tree(engine: &Engine, paths: &[String]) -> Self {
        let mut prototype = engine.clone();
        prototype.set_execution_timer_config(ExecutionTimerConfig {
            limit: Duration::from_secs(1),
            check_interval: NonZeroU32::MIN.saturating_add(255),
        });
        Self {
            runner: Runner::Tree { prototype: Box::new(Mutex::new(prototype)), idle: Mutex::default() },
            paths: paths.to_vec(),
        }
    }

    /// Whether it runs on the register machine.
    pub(super) fn is_registers(&self) -> bool {
        matches!(self.runner, Runner::Registers { .. })
    }

    /// The values of all entry rules, in order.
    pub(super) fn run(&self, input: &RegoValue) -> Vec<Evaluated> {
        // A machine that panicked is dropped with whatever state it was in.
        catch_unwind(AssertUnwindSafe(|| self.evaluate(input)))
            .unwrap_or_else(|_| vec![Err("the evaluator panicked".to_owned()); self.paths.len()])
    }

    fn evaluate(&self, input: &RegoValue) -> Vec<Evaluated> {
        match &self.runner {
            Runner::Registers { program, data, max_instructions, idle } => {
                let fresh = || {
                    let mut vm = RegoVM::new();
                    vm.load_program(Arc::clone(program));
                    vm.set_data(data.clone()).map_err(|error| error.to_string())?;
                    vm.set_max_instructions(*max_instructions);
                    Ok(vm)
                };
                let mut vm = match take(idle).map_or_else(fresh, Ok) {
                    Ok(vm) => vm,
                    Err(error) => return vec![Err(error); self.paths.len()],
                };
                vm.set_input(input.clone());
                let entries = 0..self.paths.len();
                let values =
                    entries.map(|at| vm.execute_entry_point_by_index(at).map_err(|error| error.to_string()));
                let values = values.collect();
                vm.set_input(RegoValue::Null);
                give(idle, vm);
                values
            }
            Runner::Tree { prototype, idle } => {
                let fresh =
                    || prototype.lock().map(|engine| engine.clone()).map_err(|error| error.to_string());
                let mut engine = match take(idle).map_or_else(fresh, Ok) {
                    Ok(engine) => engine,
                    Err(error) => return vec![Err(error); self.paths.len()],
                };
                engine.set_input(input.clone());
                let values = self
                    .paths
                    .iter()
                    .map(|path| engine.eval_rule(path.clone()).map_err(|error| error.to_string()));
                let values = values.collect();
                engine.set_input(RegoValue::Null);
                give(idle, engine);
                values
            }
        }
    }
}

/// An idle machine, unless there is none or someone else is just taking one.
fn take<T>(idle: &Mutex<Vec<T>>) -> Option<T> {
    idle.try_lock().ok()?.pop()
}

fn give<T>(idle: &Mutex<Vec<T>>, machine: T) {
    if let Ok(mut idle) = idle.try_lock()
        && idle.len() < IDLE
    {
        idle.push(machine);
    }
}
