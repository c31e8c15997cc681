//! What is counted: `metering`.

use doorward_ledger::Dimensions;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;

/// What is reported of the calls. They are recorded in any case, and counting reads the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metering {
    /// Whether usage is reported at all; without it all numbers are zero.
    pub enabled: bool,
    /// Which numbers are reported.
    pub dimensions: Vec<Dimension>,
}

impl Metering {
    /// What is reported of usage.
    pub fn dimensions(&self) -> Dimensions {
        let has = |dimension| self.dimensions.contains(&dimension);
        Dimensions {
            calls: has(Dimension::Calls),
            latency: has(Dimension::Latency),
            errors: has(Dimension::Errors),
        }
    }
}

/// One of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// How many calls.
    Calls,
    /// How long they took.
    Latency,
    /// How many failed.
    Errors,
}

/// What is counted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct MeteringFile {
    /// Whether usage is reported; yes unless set.
    enabled: Option<bool>,
    /// Which numbers are reported; all unless set.
    dimensions: Option<Vec<Dimension>>,
    /// Has no effect: usage is counted from the records.
    flush_interval_ms: Option<u64>,
}

pub(crate) fn build(file: Option<MeteringFile>, context: &mut Context<'_>) -> Metering {
    let file = file.unwrap_or_default();
    if file.flush_interval_ms.is_some() {
        context.findings.warn(
            "no-effect",
            "metering.flushIntervalMs",
            "nothing has to be flushed: usage is counted from the records",
        );
    }
    Metering {
        enabled: file.enabled.unwrap_or(true),
        dimensions: file
            .dimensions
            .unwrap_or_else(|| vec![Dimension::Calls, Dimension::Latency, Dimension::Errors]),
    }
}
