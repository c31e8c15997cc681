//! The protocol revisions and the two eras they fall into.

use std::fmt;

/// A revision of MCP. Ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2024-11-05: HTTP+SSE.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, batches.
    V2025_03_26,
    /// 2025-06-18: version header, structured output, elicitation.
    V2025_06_18,
    /// 2025-11-25: tasks, URL elicitation; the last with sessions.
    V2025_11_25,
    /// 2026-07-28: stateless, everything in each request.
    V2026_07_28,
}

/// The two protocols under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// Opens with `initialize`, keeps sessions: 2024-11-05 to 2025-11-25.
    Legacy,
    /// Every request describes itself: 2026-07-28.
    Modern,
}

impl Revision {
    /// All revisions, newest first: the order in which they are advertised.
    pub const ALL: [Self; 5] =
        [Self::V2026_07_28, Self::V2025_11_25, Self::V2025_06_18, Self::V2025_03_26, Self::V2024_11_05];

    /// The newest revision that has sessions.
    pub const NEWEST_LEGACY: Self = Self::V2025_11_25;

    /// What a request without any version is taken for (2025-11-25 transports, "Protocol Version Header").
    pub const ASSUMED: Self = Self::V2025_03_26;

    /// The date string on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Revisions are compared for equality only; an unknown date is no revision.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// Which of the two protocols this is.
    pub fn era(self) -> Era {
        if self == Self::V2026_07_28 { Era::Modern } else { Era::Legacy }
    }

    /// The answer to `initialize`: the revision asked for when it has sessions,
    /// else the newest that does.
    pub fn negotiate(asked: &str) -> Self {
        match Self::parse(asked) {
            Some(revision) if revision.era() == Era::Legacy => revision,
            _ => Self::NEWEST_LEGACY,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialize_never_negotiates_the_stateless_revision() {
        let cases = [
            ("2024-11-05", Revision::V2024_11_05),
            ("2025-06-18", Revision::V2025_06_18),
            ("2025-11-25", Revision::V2025_11_25),
            ("2026-07-28", Revision::V2025_11_25),
            ("2031-01-01", Revision::V2025_11_25),
            ("", Revision::V2025_11_25),
        ];
        for (asked, answered) in cases {
            assert_eq!(Revision::negotiate(asked), answered, "{asked}");
        }
    }
}
