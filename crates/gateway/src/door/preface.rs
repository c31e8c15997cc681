//! What is said on the socket before the protocol begins: one line each way.
//!
//! The client names the surface it wants and presents its key; the gateway says which
//! configuration is in force, or why it refuses. Both lines are JSON, read strictly:
//! bounded in size, no member unknown, none twice. Their texts never reach a log.

use std::fmt;

use bytes::Bytes;
use doorward_model::Secret;
use doorward_model::json::{Document, Limits, quoted};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use crate::surface::Surface;

/// The version of both lines. Whoever speaks another one is refused.
pub(super) const VERSION: i64 = 1;
/// Bytes that a line may have; tokens of a few kilobytes are usual.
const LONGEST: usize = 32 << 10;

/// What a client says first.
pub struct Preface {
    /// What it wants to see.
    pub surface: Surface,
    /// What it presents, if anything.
    pub key: Option<Secret>,
}

/// Why a client is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Its line is none of this version.
    Preface,
    /// There is no such surface.
    Surface,
    /// Nobody here knows its key.
    Key,
}

/// What the gateway has in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The file, as people would look for it.
    pub config: String,
    /// The digest of what it says.
    pub digest: String,
}

/// A line that is none of ours. It says no more: the line may hold a key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak this version of the socket's protocol")]
pub struct Foreign;

impl Preface {
    /// The line that a client sends.
    pub fn line(&self) -> Secret {
        let surface = quoted(&self.surface.name());
        let key = self.key.as_ref().map(|key| format!(",\"key\":{}", quoted(key.expose())));
        Secret::new(format!(
            "{{\"doorward\":{VERSION},\"surface\":{surface}{}}}\n",
            key.as_deref().unwrap_or_default()
        ))
    }

    /// Reads what [`line`](Self::line) wrote.
    pub(super) fn parse(line: Bytes) -> Result<Self, Turned> {
        let document = document(line, &["surface", "key"]).map_err(|Foreign| Turned::Preface)?;
        let root = document.root();
        let surface = root.get("surface").and_then(|it| it.as_str()).ok_or(Turned::Preface)?;
        let key = match root.get("key") {
            None => None,
            Some(key) => Some(Secret::new(key.as_str().ok_or(Turned::Preface)?)),
        };
        Ok(Self { surface: Surface::named(&surface).map_err(|_| Turned::Surface)?, key })
    }
}

impl Turned {
    const ALL: [Self; 3] = [Self::Preface, Self::Surface, Self::Key];

    fn name(self) -> &'static str {
        match self {
            Self::Preface => "preface",
            Self::Surface => "surface",
            Self::Key => "key",
        }
    }
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The line that the gateway answers with.
pub(super) fn answer(result: Result<&InForce, Turned>) -> String {
    match result {
        Ok(InForce { config, digest }) => {
            let (config, digest) = (quoted(config), quoted(digest));
            format!("{{\"doorward\":{VERSION},\"config\":{config},\"digest\":{digest}}}\n")
        }
        Err(turned) => format!("{{\"doorward\":{VERSION},\"refused\":{}}}\n", quoted(turned.name())),
    }
}

/// Reads the line that a gateway answers with.
///
/// # Errors
/// [`Foreign`] when it is none.
pub fn read_answer(line: Bytes) -> Result<Result<InForce, Turned>, Foreign> {
    let document = document(line, &["config", "digest", "refused"])?;
    let text = |name: &str| Some(document.root().get(name)?.as_str()?.into_owned());
    match (text("config"), text("digest"), text("refused")) {
        (Some(config), Some(digest), None) => Ok(Ok(InForce { config, digest })),
        (None, None, Some(refused)) => {
            Turned::ALL.into_iter().find(|turned| turned.name() == refused).map(Err).ok_or(Foreign)
        }
        _ => Err(Foreign),
    }
}

/// Reads one line and nothing after it. An empty one means that the other side is gone.
///
/// # Errors
/// When it is too long, is cut short or cannot be read.
pub async fn read_line(input: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Bytes> {
    let mut line = Vec::new();
    input.take(LONGEST as u64).read_until(b'\n', &mut line).await?;
    if !line.is_empty() && line.pop() != Some(b'\n') {
        return Err(std::io::Error::other("no line, or one that is too long"));
    }
    Ok(line.into())
}

/// An object of this version with no members but `known`.
pub(super) fn document(line: Bytes, known: &[&str]) -> Result<Document, Foreign> {
    let limits = Limits { depth: 2, values: 4_096, ..Limits::default() };
    let document = Document::parse(line, &limits).map_err(|_| Foreign)?;
    let root = document.root();
    let ours = root.get("doorward").and_then(|version| version.as_i64()) == Some(VERSION);
    let mut names = root.members().map(|(name, _)| name);
    if ours && names.all(|name| name == "doorward" || known.contains(&name.as_ref())) {
        Ok(document)
    } else {
        Err(Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Surface, Option<String>), Turned> {
        let preface = Preface::parse(Bytes::copy_from_slice(line.trim_end().as_bytes()))?;
        Ok((preface.surface, preface.key.map(|key| key.expose().to_owned())))
    }

    #[test]
    fn a_preface_says_what_was_meant_and_nothing_else_is_one() {
        for (name, key) in [("aggregate", None), ("meta", Some("gw_\"ü\n")), ("github", Some(""))] {
            let surface = Surface::named(name).expect("valid");
            let preface = Preface { surface: surface.clone(), key: key.map(Secret::new) };
            assert_eq!(parse(preface.line().expose()), Ok((surface, key.map(str::to_owned))));
        }
        let cases = [
            (r#"{"doorward":1,"surface":"No Server"}"#, Turned::Surface, "no id"),
            (r#"{"doorward":2,"surface":"meta"}"#, Turned::Preface, "another version"),
            (r#"{"doorward":"1","surface":"meta"}"#, Turned::Preface, "a text"),
            (r#"{"surface":"meta"}"#, Turned::Preface, "no version"),
            (r#"{"doorward":1}"#, Turned::Preface, "no surface"),
            (r#"{"doorward":1,"surface":7}"#, Turned::Preface, "a number"),
            (r#"{"doorward":1,"surface":"meta","key":null}"#, Turned::Preface, "no text"),
            (r#"{"doorward":1,"surface":"meta","more":1}"#, Turned::Preface, "unknown member"),
            (r#"{"doorward":1,"surface":"meta","key":"a","key":"b"}"#, Turned::Preface, "twice"),
            (r#"{"doorward":1,"surface":"meta"} {}"#, Turned::Preface, "more after it"),
            ("[1]", Turned::Preface, "no object"),
            ("GET / HTTP/1.1", Turned::Preface, "another protocol"),
            ("", Turned::Preface, "nothing"),
        ];
        for (line, expected, because) in cases {
            assert_eq!(parse(line), Err(expected), "{because}: {line}");
        }
    }

    #[test]
    fn an_answer_arrives_as_it_was_meant() {
        let in_force = InForce { config: "/a \"b\"/gateway.yaml".to_owned(), digest: "sha256:0".to_owned() };
        let read = |line: String| read_answer(Bytes::from(line));
        assert_eq!(read(answer(Ok(&in_force))), Ok(Ok(in_force)));
        for turned in Turned::ALL {
            assert_eq!(read(answer(Err(turned))), Ok(Err(turned)));
        }
        for line in [r#"{"doorward":1}"#, r#"{"doorward":1,"refused":"mood"}"#, "hello"] {
            assert_eq!(read(line.to_owned()), Err(Foreign), "{line}");
        }
    }

    #[tokio::test]
    async fn a_line_is_bounded_and_leaves_what_follows_it() {
        let mut input: &[u8] = b"one\ntwo";
        assert_eq!(read_line(&mut input).await.expect("a line"), "one");
        assert!(read_line(&mut input).await.is_err(), "cut short");
        assert!(read_line(&mut input).await.expect("the end").is_empty());
        let long = vec![b'x'; LONGEST + 1];
        let mut input = &long[..];
        assert!(read_line(&mut input).await.is_err(), "too long");
        assert_eq!(input.len(), 1, "not read on");
    }
}
