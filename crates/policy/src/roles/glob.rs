//! Patterns with `*`, in the two readings that configurations rely on.

/// A compiled pattern. Case-sensitive.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    pattern: Box<str>,
    /// Whether a `*` matches anywhere, beside the simple forms.
    full: bool,
}

impl Glob {
    /// `full` lets a `*` in any position match any text; without it only `*`,
    /// `x*` and `*x` are patterns, and any other star is a letter.
    pub(crate) fn new(pattern: &str, full: bool) -> Self {
        Self { pattern: pattern.into(), full: full && is_odd(pattern) }
    }

    /// The pattern as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether it matches everything, and so says nothing specific.
    pub(crate) fn is_any(&self) -> bool {
        &*self.pattern == "*"
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        // The full reading matches all that the simple one does, so a pattern
        // that someone reads the simple way is never matched less.
        if self.full { full(&self.pattern, text) } else { simple(&self.pattern, text) }
    }
}

/// Whether the two readings of a pattern differ.
pub(crate) fn is_odd(pattern: &str) -> bool {
    let rest = pattern.strip_suffix('*').or_else(|| pattern.strip_prefix('*'));
    rest.unwrap_or(pattern).contains('*')
}

fn simple(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        true
    } else if let Some(start) = pattern.strip_suffix('*') {
        text.starts_with(start)
    } else if let Some(end) = pattern.strip_prefix('*') {
        text.ends_with(end)
    } else {
        text == pattern
    }
}

/// Every part between stars must appear in order; the first at the start, the
/// last at the end. Taking the earliest place for each is always right.
fn full(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_in_two_readings() {
        let cases = [
            // pattern   text        simple  full
            ("*", "anything", true, true),
            ("get_*", "get_", true, true),
            ("get_*", "Get_x", false, false),
            ("*_list", "a_list", true, true),
            ("*_list", "a_list_", false, false),
            ("exact", "exact", true, true),
            ("*mid*", "a mid b", false, true),
            ("*mid*", "*mid", true, true),
            ("a*b", "axxb", false, true),
            ("a*b", "ab", false, true),
            ("a*b", "a", false, false),
            ("a*b", "a*b", true, true),
            ("aa*aa", "aaa", false, false),
            ("a*b*c", "a-b-b-c", false, true),
            ("**", "x", false, true),
            ("?x", "ax", false, false),
            ("", "", true, true),
            ("", "x", false, false),
        ];
        for (pattern, text, as_simple, as_full) in cases {
            assert_eq!(Glob::new(pattern, false).matches(text), as_simple, "{pattern} simply on {text}");
            assert_eq!(Glob::new(pattern, true).matches(text), as_full, "{pattern} fully on {text}");
        }
    }
}
