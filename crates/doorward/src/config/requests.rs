//! How many requests one caller may make that are no calls: `requestLimit`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;

/// Requests a second where nothing else is said.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");

/// Requests at once where nothing else is said. Several hundred clients with one key may
/// connect at the same moment, each with a handful of requests.
const BURST: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

/// The limit of every caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimit {
    /// Requests a second that can be kept up.
    pub per_second: NonZeroU32,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
}

/// The limit of every caller on requests that are no calls: lists, pings, new sessions, the meta tools.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RequestLimitFile {
    /// Whether it applies; yes unless set.
    enabled: Option<bool>,
    /// Requests a second that can be kept up; 200 unless set.
    per_second: Option<u32>,
    /// Requests that may come at once; 1000 unless set, or `perSecond` if that is more.
    burst: Option<u32>,
}

/// `None` where there is no limit.
pub(crate) fn build(file: Option<RequestLimitFile>, context: &mut Context<'_>) -> Option<RequestLimit> {
    let file = file.unwrap_or_default();
    let mut number = |member: &str, given: Option<u32>, default: NonZeroU32| {
        let Some(given) = given else { return default };
        NonZeroU32::new(given).unwrap_or_else(|| {
            let message = format!("`{member}` must be 1 or more");
            let lint = context.findings.error("limit", format!("requestLimit.{member}"), message);
            lint.remedy("set `enabled: false` for no limit");
            default
        })
    };
    let per_second = number("perSecond", file.per_second, PER_SECOND);
    let burst = number("burst", file.burst, BURST.max(per_second));
    file.enabled.unwrap_or(true).then_some(RequestLimit { per_second, burst })
}
