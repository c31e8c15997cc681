//! Globs over capability names: `*` any run of characters, `?` exactly one.

/// Whether `pattern` matches all of `text`. Linear in both but for the last `*`;
/// no pattern is slower than the product of the lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the characters behind the last `*` turn out not to fit.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_span_and_question_marks_stand_for_one() {
        let cases = [
            ("delete_*", "delete_repo", true),
            ("delete_*", "undelete_repo", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*_repo", "delete_repo", true),
            ("a*b*c", "a__b__b_c", true),
            ("a*b*c", "a__b__b_", false),
            ("get_?", "get_é", true),
            ("get_?", "get_", false),
            ("Get_*", "get_x", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
