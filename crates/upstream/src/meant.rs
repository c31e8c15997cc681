//! Whose answer was it meant to be? A look at what cannot be read.
//!
//! It finds the members of a message by its brackets and quotes, and trusts nothing that stands
//! in them: all that follows is that somebody's call fails, or does not.

/// Whom a message that cannot be read was meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The request with this id.
    For(u64),
    /// A request, and there is no telling which: it has a result, and no id.
    ForSomebody,
    /// No request: it is a notification.
    ForNobody,
}

/// Whether a message that cannot be read is a notification, whose loss is no loss of an answer.
pub(crate) fn is_notification(bytes: &[u8]) -> bool {
    let mut all = Vec::new();
    look(bytes, |meant| all.push(meant));
    all == [Meant::ForNobody]
}

/// What has been seen of one message.
#[derive(Default)]
struct Message {
    id: Option<u64>,
    ids: usize,
    /// What a server logs about a request may have its id as well, and is no answer.
    is_one: bool,
    has_result: bool,
    has_method: bool,
}

impl Message {
    fn member(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"id" => {
                self.id = number(value);
                self.ids += 1;
            }
            b"method" => self.has_method = true,
            b"jsonrpc" => self.is_one = true,
            b"result" => self.has_result = true,
            _ => {}
        }
    }

    fn meant(&self) -> Option<Meant> {
        match self.id {
            _ if !self.is_one => None,
            _ if self.has_method => (self.ids == 0).then_some(Meant::ForNobody),
            Some(id) if self.ids == 1 => Some(Meant::For(id)),
            _ => self.has_result.then_some(Meant::ForSomebody),
        }
    }
}

/// Looks for answers, one by itself or several in an array, cut off or not.
pub(crate) fn look(bytes: &[u8], mut found: impl FnMut(Meant)) {
    let (mut depth, mut level) = (0_usize, 1_usize);
    let mut message = None::<Message>;
    let mut key: &[u8] = b"";
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => {
                let length = string(rest);
                (key, rest) = rest.split_at(length);
                rest = rest.get(1..).unwrap_or_default();
            }
            b':' if depth == level => {
                if let Some(message) = &mut message {
                    message.member(key, rest);
                }
            }
            b'{' | b'[' => {
                depth += 1;
                if *byte == b'[' && depth == 1 {
                    level = 2;
                } else if *byte == b'{' && depth == level {
                    message = Some(Message::default());
                }
            }
            b'}' | b']' => {
                if depth == level
                    && let Some(meant) = message.take().and_then(|message| message.meant())
                {
                    found(meant);
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    if let Some(meant) = message.and_then(|message| message.meant()) {
        found(meant);
    }
}

/// How long a string is, without the quote at its end.
fn string(bytes: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = bytes.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    end.unwrap_or(bytes.len())
}

/// The number that a value begins with, in quotes or not.
fn number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let length = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, after) = value.split_at(length);
    let is_whole = !matches!(after.first(), Some(b'.' | b'e' | b'E'));
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_an_answer_is_can_be_told_where_it_cannot_be_read() {
        use Meant::{For, ForNobody, ForSomebody};
        let cases: [(&str, &[Meant]); 21] = [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"a":NaN}}"#, &[For(7)]),
            (r#"{"result":{"id":9,"a":[{"id":8}]},"id" : 7, "jsonrpc":"2.0"}"#, &[For(7)]),
            (r#"{"result":"\ud800 \" \\","id":7,"jsonrpc":"2.0"}"#, &[For(7)]),
            ("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{}}", &[For(7)]),
            (r#"{"jsonrpc":"2.0","id":7}"#, &[For(7)]),
            (r#"{"jsonrpc":"2.0","id":"7","result":{}}"#, &[For(7)]),
            (
                r#"[{"jsonrpc":"2.0","id":7,"result":{}},{"jsonrpc":"2.0","id":8,"error":{}}]"#,
                &[For(7), For(8)],
            ),
            (r#"{"jsonrpc":"2.0","id":7,"result":{"content"#, &[For(7)]),
            (r#"{"jsonrpc":"2.0","id":7,"id":8,"result":{}}"#, &[ForSomebody]),
            (r#"{"jsonrpc":"2.0","result":{}}"#, &[ForSomebody]),
            (r#"{"jsonrpc":"2.0","id":1.5,"result":{}}"#, &[ForSomebody]),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, &[]),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping","x":NaN}"#, &[]),
            (r#"{"jsonrpc":"2.0","method":"a","params":{"id":7,"x":NaN}}"#, &[ForNobody]),
            (r#"{"method":"a","params":{"x":NaN}}"#, &[]),
            (r#"{"level":"info","msg":"done","id":7,"result":null}"#, &[]),
            (r#"{'id': 7}"#, &[]),
            ("{}", &[]),
            ("[1,2", &[]),
            ("]}]}", &[]),
            ("Listening on port 3000: \"id\":7", &[]),
        ];
        for (text, expected) in cases {
            let mut meant = Vec::new();
            look(text.as_bytes(), |it| meant.push(it));
            assert_eq!(meant, expected, "{text}");
        }
    }
}
