//! What two replicas write to each other about a suspended call: what its client brought along
//! when it came back to one of them, and what comes of it at the other.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use doorward_model::json::Document;
use doorward_upstream::Answer;
use doorward_wire::Abilities;

use super::{Failure, Fault, reread};

/// What a client brought along.
#[derive(Debug)]
pub(super) struct Brought {
    /// What it can be asked now.
    pub(super) abilities: Abilities,
    /// `inputResponses`.
    pub(super) responses: Option<Document>,
}

impl Brought {
    /// As it travels: how long the first part is, what the client can be asked, what it answered.
    pub(super) fn write(abilities: &Abilities, responses: &str) -> Bytes {
        let abilities = abilities.to_json();
        Bytes::from(format!("{}\n{abilities}{responses}", abilities.len()))
    }

    /// Reads it.
    pub(super) fn read(text: &Bytes) -> Option<Self> {
        let (length, rest) = std::str::from_utf8(text).ok()?.split_once('\n')?;
        let (abilities, responses) = rest.split_at_checked(length.parse().ok()?)?;
        let abilities = Abilities::read(reread(abilities)?.root());
        let responses = if responses.is_empty() { None } else { Some(reread(responses)?) };
        Some(Self { abilities, responses })
    }
}

/// What comes of the call.
#[derive(Debug)]
pub(super) enum Word {
    /// It goes on; these questions, by their methods, have been answered thus.
    Taken(Vec<(String, String)>),
    /// It still goes on.
    Alive,
    /// It says something.
    Said(Bytes),
    /// Its server's answer.
    Answered(Answer),
    /// It failed.
    Failed(Failure),
    /// It is suspended again, under this name; the `inputRequests` of its questions.
    Asks(String, String),
    /// There is no such call any more.
    Gone,
}

impl Word {
    /// As it travels: a mark, what there is to say in few words, a line end, the rest.
    pub(super) fn write(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Taken(given) => {
                out.put_slice(b"t\n");
                for (method, how) in given {
                    out.put_slice(format!("{method} {how}\n").as_bytes());
                }
            }
            Self::Alive => out.put_slice(b"l\n"),
            Self::Said(note) => {
                out.put_slice(b"s\n");
                out.put_slice(note);
            }
            Self::Answered(answer) => {
                let (status, took) = (answer.status.unwrap_or_default(), answer.upstream_time.as_micros());
                out.put_slice(format!("a{status} {took} {}\n", answer.place).as_bytes());
                out.put_slice(answer.message.bytes());
            }
            Self::Failed(Failure { text, fault, code }) => {
                let fault = match fault {
                    Fault::Timeout => "timeout".to_owned(),
                    Fault::NotOffered => "not_offered".to_owned(),
                    Fault::Refused(code) => code.to_string(),
                    Fault::Server => String::new(),
                };
                out.put_slice(format!("f{fault} {code}\n{text}").as_bytes());
            }
            Self::Asks(name, requests) => out.put_slice(format!("q{name}\n{requests}").as_bytes()),
            Self::Gone => out.put_slice(b"g\n"),
        }
        out.freeze()
    }

    /// Reads it.
    pub(super) fn read(entry: &Bytes) -> Option<Self> {
        let end = entry.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = (std::str::from_utf8(entry.get(..end)?).ok()?, entry.slice(end + 1..));
        let text = || std::str::from_utf8(&rest).ok().map(str::to_owned);
        let (mark, about) = head.split_at_checked(1)?;
        Some(match mark {
            "t" => {
                let given = text()?;
                let pair = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
                Self::Taken(given.lines().filter_map(pair).collect())
            }
            "l" => Self::Alive,
            "s" => Self::Said(rest),
            "a" => {
                let (status, about) = about.split_once(' ')?;
                let (took, place) = about.split_once(' ')?;
                let status = status.parse().ok().filter(|status| *status > 0);
                let took = Duration::from_micros(took.parse().ok()?);
                Self::Answered(Answer::again(rest, status, took, place.parse().ok()?)?)
            }
            "f" => {
                let (fault, code) = about.split_once(' ')?;
                let fault = match fault {
                    "timeout" => Fault::Timeout,
                    "not_offered" => Fault::NotOffered,
                    "" => Fault::Server,
                    code => Fault::Refused(code.parse().ok()?),
                };
                Self::Failed(Failure { text: text()?, fault, code: code.to_owned().into() })
            }
            "q" => Self::Asks(about.to_owned(), text()?),
            "g" => Self::Gone,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let message = Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\n\"id\":7,\"result\":{}}");
        let failed = |fault| {
            Word::Failed(Failure { text: "two\nlines".to_owned(), fault, code: "upstream-refused".into() })
        };
        let words = [
            Word::Taken(vec![("elicitation/create".to_owned(), "accept".to_owned())]),
            Word::Taken(Vec::new()),
            Word::Alive,
            Word::Said(message.clone()),
            Word::Answered(
                Answer::again(message.clone(), Some(200), Duration::from_micros(5), 3).expect("JSON"),
            ),
            Word::Answered(Answer::again(message, None, Duration::ZERO, 0).expect("JSON")),
            failed(Fault::Timeout),
            failed(Fault::NotOffered),
            failed(Fault::Refused(-32000)),
            failed(Fault::Server),
            Word::Asks("a-1".to_owned(), "{\"k\":{}}".to_owned()),
            Word::Gone,
        ];
        for word in words {
            let read = Word::read(&word.write()).expect("a word");
            assert_eq!(format!("{read:?}"), format!("{word:?}"));
        }
        for nonsense in ["", "t", "z\n", "a\n{}", "a1 2\n{}", "a1 2 3\n{", "fx\n", "é\n"] {
            assert!(Word::read(&Bytes::from(nonsense)).is_none(), "{nonsense:?}");
        }
    }

    #[test]
    fn what_a_client_brought_is_read_as_it_came() {
        let able = reread(r#"{"elicitation":{"form":{}}}"#).expect("JSON");
        let abilities = Abilities::read(able.root());
        for responses in ["", r#"{"name":{"action":"accept"}}"#] {
            let read = Brought::read(&Brought::write(&abilities, responses)).expect("readable");
            assert_eq!(read.abilities.to_json(), abilities.to_json());
            assert_eq!(read.responses.map_or(String::new(), |all| all.root().raw().to_owned()), responses);
        }
        for nonsense in ["", "x\n{}", "9\n{}", "2\n{}{", "1\né"] {
            assert!(Brought::read(&Bytes::from(nonsense)).is_none(), "{nonsense:?}");
        }
    }
}
