//! Which member of a text a byte belongs to, also where the text is no JSON.

/// The outermost member around the byte at `at`; `proof` where there is none.
pub(crate) fn member_at(text: &str, at: usize) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let (mut start, mut last, mut found) = (0, "", "proof");
    // A colon makes a name of a text only where one is due.
    let mut is_due = false;
    for (place, byte) in text.bytes().enumerate().take(at.saturating_add(1)) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if quoted => {
                quoted = false;
                last = text.get(start..place).unwrap_or_default();
            }
            b'"' => (quoted, start) = (true, place + 1),
            _ if quoted => {}
            b'{' | b'[' => {
                depth += 1;
                is_due = depth == 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => is_due = true,
            b':' if depth == 1 && is_due => (found, is_due) = (last, false),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_belongs_to_the_outermost_member_around_it() {
        let text = r#"{"a":"x\":{","b":{"a":[1],"c":"}"},"é":!"#;
        let at = |part: &str| member_at(text, text.find(part).expect("there"));
        assert_eq!([at("{"), at("x"), at("[1"), at("}\""), at("!")], ["proof", "a", "b", "b", "é"]);
        assert_eq!(member_at(text, usize::MAX), "é");
        assert_eq!(member_at("", 0), "proof");
        assert_eq!(member_at(r#"{"a":"02":15"#, 9), "a", "a text that was cut in two is no name");
    }
}
