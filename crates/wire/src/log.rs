//! Levels of log messages (RFC 5424, section 6.2.1), and which of them a client wants.

/// How grave a log message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `notice`
    Notice,
    /// `warning`
    Warning,
    /// `error`
    Error,
    /// `critical`
    Critical,
    /// `alert`
    Alert,
    /// `emergency`
    Emergency,
}

impl Level {
    /// All levels, from the least grave.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// The level of this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// Which log messages a client wants with its call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logs {
    /// None: a modern request that does not ask for any.
    #[default]
    None,
    /// Whatever the server chooses: a session in which no level was set.
    Any,
    /// Those of this level and graver ones.
    From(Level),
}

impl Logs {
    /// Whether a message of this level is wanted. A level that nobody knows is taken for
    /// the gravest.
    pub fn want(self, level: &str) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::From(least) => Level::parse(level).is_none_or(|level| level >= least),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_asked_for() {
        let cases = [
            (Logs::None, "emergency", false),
            (Logs::Any, "debug", true),
            (Logs::From(Level::Warning), "notice", false),
            (Logs::From(Level::Warning), "warning", true),
            (Logs::From(Level::Warning), "emergency", true),
            (Logs::From(Level::Warning), "fatal", true),
        ];
        for (logs, level, wanted) in cases {
            assert_eq!(logs.want(level), wanted, "{logs:?} {level}");
        }
        assert!(Level::ALL.into_iter().all(|level| Level::parse(level.as_str()) == Some(level)));
    }
}
