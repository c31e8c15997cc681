//! What built-in functions cost: they look at values as large as a caller likes, in what the
//! register machine counts as one instruction.
//!
//! A program's built-ins are replaced by wrappers that take the size of what they are given, and
//! of what they make, from an allowance. It belongs to the thread while a rule runs on it.

use std::cell::Cell;
use std::sync::LazyLock;

use regorus::rvm::program::Program;
use regorus::unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Span};
use regorus::{LimitError, Value as RegoValue};

use super::allowance::size;

/// What each value costs that a built-in looks at, in steps.
const STEPS_A_VALUE: u64 = 3;

/// Functions that take the same time whatever they are given.
const CONSTANT: [&str; 22] = [
    "abs",
    "bits.and",
    "bits.negate",
    "bits.or",
    "bits.rsh",
    "bits.xor",
    "ceil",
    "count",
    "floor",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "object.get",
    "round",
    "time.clock",
    "time.date",
    "time.weekday",
    "type_name",
];

/// Places for wrappers; each knows its function by its position among all names.
const PLACES: usize = 256;

/// A built-in, and how it fails: the type is regorus' own business, so it is asked for by name.
type Function<E> = fn(&Span, &[Ref<Expr>], &[RegoValue], bool) -> Result<RegoValue, E>;
type Failure = <BuiltinFcn as Fails>::With;

trait Fails {
    type With;
}

impl<E> Fails for (Function<E>, u8) {
    type With = E;
}

thread_local! {
    /// What is left for built-ins on this thread; `None` after more was wanted.
    static LEFT: Cell<Option<u64>> = const { Cell::new(Some(0)) };
}

/// All functions by name.
static ALL: LazyLock<Vec<(&'static str, BuiltinFcn)>> = LazyLock::new(|| {
    let mut all: Vec<_> = BUILTINS.iter().map(|(name, function)| (*name, *function)).collect();
    all.sort_by_key(|(name, _)| *name);
    all
});

/// Whether a function takes longer the larger what it is given is.
pub(super) fn is_linear(name: &str) -> bool {
    !CONSTANT.contains(&name)
}

/// Runs `work` with this much for built-ins; says what they took, `None` if they wanted more.
pub(super) fn within<T>(left: u64, work: impl FnOnce() -> T) -> (T, Option<u64>) {
    LEFT.set(Some(left));
    let done = work();
    (done, LEFT.get().map(|rest| left.saturating_sub(rest)))
}

/// Has a program pay for its built-ins.
///
/// # Errors
/// The name of one that cannot be metered.
pub(super) fn attach(program: &mut Program) -> Result<(), String> {
    for (info, function) in program.builtin_info_table.iter().zip(&mut program.resolved_builtins) {
        if is_linear(&info.name) {
            let place = ALL.binary_search_by_key(&info.name.as_str(), |(name, _)| name).ok();
            let wrapper = place.and_then(|place| WRAPPERS.get(place));
            function.0 = *wrapper.ok_or_else(|| format!("`{}` cannot be metered", info.name))?;
        }
    }
    Ok(())
}

fn metered<const PLACE: usize>(
    span: &Span,
    expressions: &[Ref<Expr>],
    arguments: &[RegoValue],
    strict: bool,
) -> Result<RegoValue, Failure> {
    take(arguments)?;
    let Some((name, (function, _))) = ALL.get(PLACE) else {
        return Err(too_costly());
    };
    if *name == "replace" {
        take_product(arguments)?;
    }
    let made = function(span, expressions, arguments, strict)?;
    take(std::slice::from_ref(&made))?;
    Ok(made)
}

fn take(values: &[RegoValue]) -> Result<(), Failure> {
    let left = LEFT.get().unwrap_or_default();
    let most = left / STEPS_A_VALUE;
    let total: u64 = values.iter().map(|value| size(value, most)).sum();
    pay(total.saturating_mul(STEPS_A_VALUE))
}

/// A text whose every byte becomes another text may grow beyond all that was given.
fn take_product(arguments: &[RegoValue]) -> Result<(), Failure> {
    let length = |at: usize| match arguments.get(at) {
        Some(RegoValue::String(text)) => text.len() as u64,
        _ => 0,
    };
    pay((length(0) / length(1).max(1) + 1).saturating_mul(length(2)) / 32)
}

fn pay(steps: u64) -> Result<(), Failure> {
    let rest = LEFT.get().and_then(|left| left.checked_sub(steps));
    LEFT.set(rest);
    rest.map(drop).ok_or_else(too_costly)
}

/// An error that no rule can catch, unlike those about what was given.
fn too_costly() -> Failure {
    LimitError::TimeLimitExceeded { elapsed: std::time::Duration::ZERO, limit: std::time::Duration::ZERO }
        .into()
}

macro_rules! sixteen {
    ($($row:literal)*) => {
        [$(
            metered::<{ $row * 16 }>, metered::<{ $row * 16 + 1 }>, metered::<{ $row * 16 + 2 }>,
            metered::<{ $row * 16 + 3 }>, metered::<{ $row * 16 + 4 }>, metered::<{ $row * 16 + 5 }>,
            metered::<{ $row * 16 + 6 }>, metered::<{ $row * 16 + 7 }>, metered::<{ $row * 16 + 8 }>,
            metered::<{ $row * 16 + 9 }>, metered::<{ $row * 16 + 10 }>, metered::<{ $row * 16 + 11 }>,
            metered::<{ $row * 16 + 12 }>, metered::<{ $row * 16 + 13 }>, metered::<{ $row * 16 + 14 }>,
            metered::<{ $row * 16 + 15 }>,
        )*]
    };
}

static WRAPPERS: [Function<Failure>; PLACES] = sixteen!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_place_and_every_constant_one_is_a_function() {
        assert!(ALL.len() <= PLACES, "{} functions", ALL.len());
        for name in CONSTANT {
            assert!(ALL.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    #[test]
    fn what_is_left_is_what_was_not_taken_and_more_is_an_error() {
        let value = |json: &str| RegoValue::from_json_str(json).expect(json);
        let three = [value("[1,2]")];
        assert_eq!(within(10, || take(&three).is_ok()), (true, Some(9)));
        assert_eq!(within(8, || take(&three).is_ok()), (false, None));
        let text = |length: usize| value(&format!("{:?}", "x".repeat(length)));
        let grows = [text(3_200), text(1), text(3_200)];
        let (_, taken) = within(u64::MAX, || take_product(&grows));
        assert_eq!(taken, Some(3_201 * 100));
    }
}
