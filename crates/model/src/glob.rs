//! Globs over names: `*` any run of characters, `?` exactly one.

/// Whether `pattern` matches all of `text`. No pattern takes longer than the product
/// of the lengths, and nothing is allocated.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the characters behind the last `*` turn out not to fit.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(c) = text[t..].chars().next() {
        match pattern[p..].chars().next() {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(wanted) if wanted == '?' || wanted == c => {
                p += wanted.len_utf8();
                t += c.len_utf8();
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                let Some(skipped) = text[from..].chars().next() else { return false };
                p = star + 1;
                t = from + skipped.len_utf8();
                retry = Some((star, t));
            }
        }
    }
    pattern[p..].bytes().all(|c| c == b'*')
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
