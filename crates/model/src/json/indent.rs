//! JSON as people read it. Nothing but white space changes: a number keeps the digits that
//! it was written with, which reading it into a double would not.

/// Writes a JSON text anew with two spaces of indentation. The text is known to be JSON; of
/// any other the result is not JSON either.
pub fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' { string_length(rest) } else { first.len_utf8() };
        let (token, behind) = rest.split_at(length);
        rest = behind.trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => out.push(first),
            '{' | '[' => {
                depth += 1;
                out.push(first);
                push_line(&mut out, depth);
            }
            '}' | ']' if out.ends_with(['{', '[']) => out.push(first),
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                push_line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(',');
                push_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push_str(token),
        }
    }
    out
}

/// The bytes of the string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn push_line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_laid_out_as_serde_json_does() {
        for text in [
            r#"{}"#,
            r#" [ ] "#,
            r#"{"a":[],"b":{},"c":[{}, [ ],1]}"#,
            r#"{"a":"{[,:]}\"\\","b":[true,false,null,-1.5,"é"]}"#,
            r#""text""#,
            "7",
            r#"["\\"]"#,
        ] {
            let value: serde_json::Value = serde_json::from_str(text).expect(text);
            assert_eq!(indented(text), serde_json::to_string_pretty(&value).expect(text), "{text}");
        }
    }

    #[test]
    fn no_number_is_spelled_anew() {
        let text = "[\n  12345678901234567890123,\n  1.50,\n  -0,\n  1E5\n]";
        assert_eq!(indented("[12345678901234567890123,1.50 , -0,1E5]"), text);
        assert_eq!(indented(text), text);
    }

    #[test]
    fn what_is_no_json_harms_nothing() {
        for text in ["", "\"", "\"\\", "]}]", "{[", "é", ",:"] {
            let _ = indented(text);
        }
    }
}
