//! Built-in functions that a policy may not use, and how others must be used.

use regorus::unstable::{BUILTINS, Expr};

use crate::problem::hint;

/// Most elements that a counted range may have.
const MAX_RANGE: f64 = 10_000.0;

const OUTSIDE: &str = "reaches outside the decision";
const CLOCK: &str = "reads the clock; use `input.context.time`";
const CHANCE: &str = "is different every time";
const TRACE: &str = "writes to a trace that nobody reads";
const COSTLY: &str = "has a cost that nothing bounds";

/// Built-ins that do not exist in our Rego, and why. Those our evaluator lacks
/// anyway are here for the sake of the reason.
const REFUSED: [(&str, &str); 15] = [
    ("http.send", OUTSIDE),
    ("net.lookup_ip_addr", OUTSIDE),
    ("opa.runtime", "reads the environment"),
    ("time.now_ns", CLOCK),
    ("rand.intn", CHANCE),
    ("uuid.rfc4122", CHANCE),
    ("print", TRACE),
    ("trace", TRACE),
    ("test.sleep", "waits"),
    ("graph.reachable_paths", COSTLY),
    ("net.cidr_expand", COSTLY),
    ("rego.parse_module", OUTSIDE),
    ("io.jwt.decode_verify", "reads the clock; callers are verified before policies are asked"),
    ("__builtin_host_await", OUTSIDE),
    ("regex.globs_match", "differs from other evaluators"),
];

/// Functions whose first argument may be `[time, zone]`.
const ZONED: [&str; 4] = ["time.clock", "time.date", "time.weekday", "time.format"];

/// Judges a call of a function that the module does not define itself.
///
/// # Errors
/// Why the call is refused.
pub(super) fn check(name: &str, arguments: &[&Expr]) -> Result<(), String> {
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(format!("`{name}` {reason}"));
    }
    if !BUILTINS.contains_key(name) {
        return Err(format!("there is no function `{name}`{}", hint(name, BUILTINS.keys().copied())));
    }
    match name {
        "glob.match" => delimiters(arguments.get(1).copied()),
        "numbers.range" | "numbers.range_step" => range(name, arguments),
        "bits.lsh" => match arguments.get(1).and_then(|shift| number(shift)) {
            Some(shift) if shift <= 64.0 => Ok(()),
            _ => Err("`bits.lsh` needs a number of at most 64, written out, to shift by".to_owned()),
        },
        _ if ZONED.contains(&name) => zone(name, arguments.first().copied()),
        _ => Ok(()),
    }
}

/// `:` does not delimit in our evaluator, so `ns:*` would match `ns:a:b`.
fn delimiters(argument: Option<&Expr>) -> Result<(), String> {
    let written_out = "`glob.match` needs its delimiters written out, as a list of texts or `null`";
    match argument {
        Some(Expr::Null { .. }) => Ok(()),
        Some(Expr::Array { items, .. }) => {
            for item in items {
                match text(item) {
                    Some(delimiter) if delimiter.contains(':') => {
                        return Err("`:` cannot be a delimiter of `glob.match`; use `split`".to_owned());
                    }
                    Some(_) => {}
                    None => return Err(written_out.to_owned()),
                }
            }
            Ok(())
        }
        _ => Err(written_out.to_owned()),
    }
}

fn range(name: &str, arguments: &[&Expr]) -> Result<(), String> {
    let bounds =
        arguments.first().and_then(|low| number(low)).zip(arguments.get(1).and_then(|high| number(high)));
    match bounds {
        Some((low, high)) if (high - low).abs() <= MAX_RANGE => Ok(()),
        _ => Err(format!("`{name}` needs its bounds written out, at most {MAX_RANGE} apart")),
    }
}

/// A zone that is not written out could be `Local`, the machine's own.
fn zone(name: &str, argument: Option<&Expr>) -> Result<(), String> {
    let Some(Expr::Array { items, .. }) = argument else { return Ok(()) };
    match items.get(1).map(|zone| text(zone)) {
        None => Ok(()),
        Some(Some(zone)) if zone != "Local" => Ok(()),
        Some(_) => Err(format!("`{name}` needs its time zone written out, and not `Local`")),
    }
}

fn text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            value.as_string().ok().map(|s| s.to_string())
        }
        _ => None,
    }
}

fn number(expression: &Expr) -> Option<f64> {
    match expression {
        Expr::Number { value, .. } => value.as_f64().ok(),
        Expr::UnaryExpr { expr, .. } => number(expr).map(|number| -number),
        _ => None,
    }
}
