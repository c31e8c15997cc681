//! Which calls are recorded: the samplers of the OpenTelemetry specification.

/// Asks the caller's own decision first, if it is told to, then its own rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampler {
    pub(super) parent_based: bool,
    pub(super) rule: Rule,
}

/// What a sampler says of a trace nobody has decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    AlwaysOn,
    AlwaysOff,
    /// Recorded from this number on; the number is the last seven bytes of the id.
    From(u64),
}

/// One more than the largest number in seven bytes.
const END: u64 = 1 << 56;

/// The names of all samplers, as the environment spells them.
pub(super) const NAMES: &str = "always_on, always_off, traceidratio, parentbased_always_on, \
     parentbased_always_off or parentbased_traceidratio";

impl Default for Sampler {
    fn default() -> Self {
        Self { parent_based: true, rule: Rule::AlwaysOn }
    }
}

impl Sampler {
    /// The sampler of a name; `ratio`, from 0 to 1, is for those that take one.
    pub(super) fn named(name: &str, ratio: f64) -> Option<Self> {
        let (parent_based, name) = match name.strip_prefix("parentbased_") {
            Some(name) => (true, name),
            None => (false, name),
        };
        let rule = match name {
            "always_on" => Rule::AlwaysOn,
            "always_off" => Rule::AlwaysOff,
            "traceidratio" => Rule::From(((1.0 - ratio) * END as f64) as u64),
            _ => return None,
        };
        Some(Self { parent_based, rule })
    }

    /// Whether a call of this trace is recorded.
    ///
    /// Only the last seven bytes count: the ids that the gateway makes are UUIDs, of
    /// which others carry the time and the version (W3C Trace Context, level 2,
    /// "random trace id").
    pub(super) fn samples(self, trace_id: &[u8; 16], parent: Option<bool>) -> bool {
        if let Some(sampled) = parent.filter(|_| self.parent_based) {
            return sampled;
        }
        match self.rule {
            Rule::AlwaysOn => true,
            Rule::AlwaysOff => false,
            Rule::From(least) => {
                let random = trace_id[9..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                random >= least
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use doorward_model::clock::Fixed;
    use doorward_model::{CallId, Timestamp};

    use super::*;

    #[test]
    fn a_sampler_follows_its_parent_or_its_rule() {
        let cases = [
            // name                      parent       samples  because
            ("always_on", Some(false), true, "the parent is not asked"),
            ("always_off", Some(true), false, "the parent is not asked"),
            ("parentbased_always_on", None, true, "nobody has decided yet"),
            ("parentbased_always_on", Some(false), false, "the parent is not recorded"),
            ("parentbased_always_off", Some(true), true, "the parent is recorded"),
            ("parentbased_always_off", None, false, "nobody has decided yet"),
        ];
        for (name, parent, samples, because) in cases {
            let sampler = Sampler::named(name, 1.0).expect("known");
            assert_eq!(sampler.samples(&[7; 16], parent), samples, "{name}: {because}");
        }
        assert_eq!(Sampler::named("xray", 1.0), None);
    }

    #[test]
    fn a_ratio_holds_for_the_ids_that_the_gateway_makes() {
        let random = Fixed::new(5);
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        for (ratio, least, most) in [(0.0, 0, 0), (0.25, 200, 300), (0.5, 440, 560), (1.0, 1000, 1000)] {
            let sampler = Sampler::named("traceidratio", ratio).expect("known");
            let hits = (0..1000).filter(|_| sampler.samples(CallId::new(now, &random).as_bytes(), None));
            let hits = hits.count();
            assert!((least..=most).contains(&hits), "{ratio}: {hits} of 1000");
        }
    }
}
