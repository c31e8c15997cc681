//! How much a decision may cost: counted in steps, never in time, so that every machine counts
//! the same.
//!
//! A step is about what one instruction of the register machine takes, 30 ns. Instructions are
//! counted by the machine; what built-in functions look at, by [`meter`](super::meter). What
//! compares or searches in one instruction is bounded by the size of the arguments: the larger
//! they are, the fewer instructions a rule has.

use regorus::Value as RegoValue;

/// What a decision may take on a thread that serves others: less than 1 ms.
const QUICK: u64 = 20_000;

/// What a decision may take at all: less than 50 ms.
const FULL: u64 = 1_000_000;

/// Instructions times values of the arguments that one rule may take. Each instruction may look
/// at all of the arguments, at less than 2 ns a value.
const LOOKS: u64 = 130_000_000;

/// Bytes of a text that cost as much as a value.
const BYTES: usize = 32;

/// What is left of what a decision may take.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    left: u64,
    /// Values of the arguments, at least 1.
    values: u64,
    /// More was wanted than there was.
    is_exhausted: bool,
}

impl Allowance {
    /// What may be taken where others wait.
    pub(crate) fn quick(input: &RegoValue) -> Self {
        Self { left: QUICK, values: values_of_arguments(input), is_exhausted: false }
    }

    /// What may be taken at all.
    pub(crate) fn full(input: &RegoValue) -> Self {
        Self { left: FULL, ..Self::quick(input) }
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn take(&mut self, steps: u64) {
        self.left = self.left.saturating_sub(steps);
    }

    /// Nothing more is decided with it.
    pub(crate) fn exhaust(&mut self) {
        self.left = 0;
        self.is_exhausted = true;
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// How many instructions one rule may take of `most`; `looks` is what each of them may look
    /// at, compared with what an instruction of the register machine does.
    pub(crate) fn instructions(&self, most: usize, looks: u64) -> u64 {
        (most as u64).min(LOOKS / looks.max(1) / self.values).max(1)
    }
}

fn values_of_arguments(input: &RegoValue) -> u64 {
    let RegoValue::Object(members) = input else { return 1 };
    let arguments = members.get(&RegoValue::from("arguments"));
    arguments.map_or(1, |arguments| size(arguments, u64::MAX)).max(1)
}

/// How large a value is, in values; not much more than `most` is looked at.
pub(crate) fn size(value: &RegoValue, most: u64) -> u64 {
    let mut total = 1;
    match value {
        RegoValue::String(text) => total += (text.len() / BYTES) as u64,
        RegoValue::Array(items) => {
            for item in items.iter() {
                total += size(item, most);
                if total > most {
                    break;
                }
            }
        }
        RegoValue::Set(items) => {
            for item in items.iter() {
                total += size(item, most);
                if total > most {
                    break;
                }
            }
        }
        RegoValue::Object(members) => {
            for (key, member) in members.iter() {
                total += size(key, most) + size(member, most);
                if total > most {
                    break;
                }
            }
        }
        _ => {}
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> RegoValue {
        RegoValue::from_json_str(json).expect(json)
    }

    #[test]
    fn the_larger_the_arguments_the_fewer_instructions_a_rule_has() {
        let of = |count: usize| {
            let items = vec!["1"; count].join(",");
            Allowance::full(&value(&format!(r#"{{"arguments":{{"x":[{items}]}}}}"#))).instructions(100_000, 1)
        };
        let cases = [(0, 100_000), (1_000, 100_000), (5_000, 25_984), (50_000, 2_599)];
        for (count, expected) in cases {
            assert_eq!(of(count), expected, "{count} values");
        }
        assert_eq!(Allowance::quick(&value("{}")).instructions(100_000, 1), 100_000);
    }

    #[test]
    fn a_size_counts_values_and_long_texts() {
        let cases = [("1", 1), (r#""a""#, 1), (r#"["a",[1]]"#, 4), (r#"{"a":{"b":2}}"#, 5)];
        for (json, expected) in cases {
            assert_eq!(size(&value(json), u64::MAX), expected, "{json}");
        }
        assert_eq!(size(&value(&format!("{:?}", "x".repeat(3_200))), u64::MAX), 101);
        assert!(size(&value(&format!("[{}]", vec!["1"; 1_000].join(","))), 10) < 20, "no more is looked at");
    }
}
