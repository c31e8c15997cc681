//! Running a compiled module.
//!
//! Two evaluators can: the register machine, several times faster, and the tree
//! interpreter, which knows all of Rego. Machines are kept for the next call in a
//! small pool; nobody waits for one. Both take their steps from an [`Allowance`].

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::instructions::Instruction;
use regorus::rvm::program::Program;
use regorus::rvm::vm::{RegoVM, VmError};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value as RegoValue};

use super::allowance::Allowance;
use super::meter;

/// Machines kept idle, for about as many threads.
const IDLE: usize = 16;

/// Instructions that a rule is tried with first; most take fewer. A machine does not say how
/// many it took, so that the number it was tried with counts.
const FIRST_TRY: u64 = 500;

/// What one unit of the interpreter's work costs, in steps.
const STEPS_A_UNIT: u64 = 4;

/// How much more one unit of its work may look at than an instruction does: where functions are
/// called that take longer the more they are given, and they are not metered.
const LOOKS: [u64; 2] = [1, 32];

/// A rule, or the whole decision, wants more steps than there are.
pub(super) const TOO_COSTLY: &str = "it takes more steps than a decision may";

/// What an evaluation yields: the value of a rule, or why there is none. The text
/// is for the log; a decision only says `policy_error`.
pub(super) type Evaluated = Result<RegoValue, String>;

/// A module ready to be asked for the values of its entry rules.
pub(super) struct Machine {
    runner: Runner,
    paths: Vec<String>,
}

enum Runner {
    Registers {
        program: Arc<Program>,
        data: RegoValue,
        looks: u64,
        max_instructions: usize,
        idle: Mutex<Vec<RegoVM>>,
    },
    Tree {
        prototype: Box<Mutex<Engine>>,
        looks: u64,
        max_units: usize,
        idle: Mutex<Vec<Engine>>,
    },
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
        let mut program = Arc::unwrap_or_clone(program);
        meter::attach(&mut program)?;
        let searches = program.instructions.iter().any(|it| matches!(it, Instruction::Contains { .. }));
        let runner = Runner::Registers {
            program: Arc::new(program),
            data: data.clone(),
            looks: if searches { 2 } else { 1 },
            max_instructions,
            idle: Mutex::default(),
        };
        Ok(Self { runner, paths: paths.to_vec() })
    }

    /// The same on the interpreter.
    ///
    /// * `is_linear`: it calls functions that take longer the more they are given.
    pub(super) fn tree(engine: &Engine, paths: &[String], max_units: usize, is_linear: bool) -> Self {
        Self {
            runner: Runner::Tree {
                prototype: Box::new(Mutex::new(engine.clone())),
                looks: LOOKS[usize::from(is_linear)],
                max_units,
                idle: Mutex::default(),
            },
            paths: paths.to_vec(),
        }
    }

    /// Whether it runs on the register machine.
    pub(super) fn is_registers(&self) -> bool {
        matches!(self.runner, Runner::Registers { .. })
    }

    /// The values of all entry rules, in order.
    pub(super) fn run(&self, input: &RegoValue, allowance: &mut Allowance) -> Vec<Evaluated> {
        // A machine that panicked is dropped with whatever state it was in.
        catch_unwind(AssertUnwindSafe(|| self.evaluate(input, allowance)))
            .unwrap_or_else(|_| vec![Err("the evaluator panicked".to_owned()); self.paths.len()])
    }

    fn evaluate(&self, input: &RegoValue, allowance: &mut Allowance) -> Vec<Evaluated> {
        match &self.runner {
            Runner::Registers { program, data, looks, max_instructions, idle } => {
                let fresh = || {
                    let mut vm = RegoVM::new();
                    vm.load_program(Arc::clone(program));
                    vm.set_data(data.clone()).map_err(|error| error.to_string())?;
                    Ok(vm)
                };
                let mut vm = match take(idle).map_or_else(fresh, Ok) {
                    Ok(vm) => vm,
                    Err(error) => return vec![Err(error); self.paths.len()],
                };
                vm.set_input(input.clone());
                let most = allowance.instructions(*max_instructions, *looks);
                let entries = 0..self.paths.len();
                let values = entries.map(|at| instructed(&mut vm, at, most, allowance)).collect();
                vm.set_input(RegoValue::Null);
                give(idle, vm);
                values
            }
            Runner::Tree { prototype, looks, max_units, idle } => {
                let fresh =
                    || prototype.lock().map(|engine| engine.clone()).map_err(|error| error.to_string());
                let mut engine = match take(idle).map_or_else(fresh, Ok) {
                    Ok(engine) => engine,
                    Err(error) => return vec![Err(error); self.paths.len()],
                };
                engine.set_input(input.clone());
                let most = allowance.instructions(*max_units, *looks);
                let values = self.paths.iter().map(|path| interpreted(&mut engine, path, most, allowance));
                let values = values.collect();
                engine.set_input(RegoValue::Null);
                give(idle, engine);
                values
            }
        }
    }
}

/// The value of one rule on the register machine, which tries with more instructions until it
/// is there.
///
/// * `most`: how many instructions the rule may take.
fn instructed(vm: &mut RegoVM, at: usize, most: u64, allowance: &mut Allowance) -> Evaluated {
    let mut wanted = FIRST_TRY.min(most);
    loop {
        let granted = wanted.min(allowance.left());
        if granted == 0 {
            allowance.exhaust();
            return Err(TOO_COSTLY.to_owned());
        }
        vm.set_max_instructions(usize::try_from(granted).unwrap_or(usize::MAX));
        let for_functions = allowance.left() - granted;
        let (value, taken) = meter::within(for_functions, || vm.execute_entry_point_by_index(at));
        let Some(taken) = taken else {
            allowance.exhaust();
            return Err(TOO_COSTLY.to_owned());
        };
        allowance.take(granted + taken);
        match value {
            Ok(value) => return Ok(value),
            Err(VmError::InstructionLimitExceeded { .. }) if granted == most => {
                return Err(TOO_COSTLY.to_owned());
            }
            Err(VmError::InstructionLimitExceeded { .. }) => wanted = (wanted * 4).min(most),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The value of one rule on the interpreter. Its timer counts work and looks at the clock when
/// `check_interval` is done; as no time at all is allowed, it stops there.
fn interpreted(engine: &mut Engine, path: &str, most: u64, allowance: &mut Allowance) -> Evaluated {
    let mut wanted = FIRST_TRY.min(most);
    loop {
        let granted = wanted.min(allowance.left() / STEPS_A_UNIT);
        let Some(units) = u32::try_from(granted).ok().and_then(NonZeroU32::new) else {
            allowance.exhaust();
            return Err(TOO_COSTLY.to_owned());
        };
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: Duration::ZERO,
            check_interval: units,
        });
        let value = engine.eval_rule(path.to_owned());
        allowance.take(granted * STEPS_A_UNIT);
        match value {
            Ok(value) => return Ok(value),
            Err(error) if !is_out_of_work(&error.to_string()) => return Err(error.to_string()),
            Err(_) if granted == most => return Err(TOO_COSTLY.to_owned()),
            Err(_) => wanted = (wanted * 4).min(most),
        }
    }
}

/// The interpreter's error comes with the place in the policy around it.
fn is_out_of_work(error: &str) -> bool {
    error.contains("execution exceeded time limit")
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
