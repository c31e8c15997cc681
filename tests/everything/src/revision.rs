//! The revisions of the protocol, oldest first, and which of them a server speaks.

/// A revision; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Revision {
    pub const LEGACY: [Self; 4] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];
    pub const MODERN: [Self; 1] = [Self::V2026_07_28];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    pub fn legacy(text: &str) -> Option<Self> {
        Self::LEGACY.into_iter().find(|revision| revision.as_str() == text)
    }

    pub fn modern(text: &str) -> Option<Self> {
        Self::MODERN.into_iter().find(|revision| revision.as_str() == text)
    }
}

/// Which eras a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eras {
    /// Sessions and single requests, side by side.
    Both,
    /// As servers were before 2026-07-28.
    Legacy,
    /// As servers may be since: `initialize` is refused.
    Modern,
}

impl Eras {
    /// `both`, `legacy` or `modern`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "both" => Some(Self::Both),
            "legacy" => Some(Self::Legacy),
            "modern" => Some(Self::Modern),
            _ => None,
        }
    }

    pub(crate) fn legacy(self) -> bool {
        self != Self::Modern
    }

    pub(crate) fn modern(self) -> bool {
        self != Self::Legacy
    }
}
