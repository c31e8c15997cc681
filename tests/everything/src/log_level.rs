//! How grave a log message is.

/// A severity; graver ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogLevel(usize);

const NAMES: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

impl LogLevel {
    pub const DEBUG: Self = Self(0);
    pub const INFO: Self = Self(1);

    pub fn parse(text: &str) -> Option<Self> {
        NAMES.iter().position(|name| *name == text).map(Self)
    }

    pub fn as_str(self) -> &'static str {
        NAMES[self.0]
    }
}
