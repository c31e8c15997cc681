//! How a call ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The end of a call, as its outcome record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server answered.
    Success,
    /// The server answered with `isError: true`.
    ToolError,
    /// The server answered with a JSON-RPC error, or could not be reached.
    UpstreamError,
    /// The server did not answer in time.
    Timeout,
    /// The client withdrew the call.
    Cancelled,
    /// A layer refused the call; nothing was sent.
    Denied,
    /// A rate limit refused the call; nothing was sent.
    RateLimited,
    /// A quota refused the call; nothing was sent.
    QuotaExceeded,
    /// The server asked for input; the client makes the call again with its answers.
    InputRequired,
    /// The call waits for something, such as an approval.
    Pending,
    /// The gateway stopped before the end was known.
    Unknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::ToolError,
        Self::InputRequired,
        Self::UpstreamError,
        Self::Timeout,
        Self::Cancelled,
        Self::Denied,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Unknown,
        Self::Pending,
    ];

    /// The word used in records and queries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ToolError => "tool_error",
            Self::InputRequired => "input_required",
            Self::UpstreamError => "upstream_error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
