//! What a client carries in `Mcp-Session-Id`: all that `initialize` settled, sealed.
//!
//! ```text
//! id (32 hex digits) . base64url(sealed)
//! ```
//!
//! A process that does not know a session opens its ticket and goes on, so that sessions
//! survive a restart and no replica needs to have seen them before. Who opened it is part
//! of what binds the seal: to anybody else a ticket is worth nothing.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use doorward_model::json::{Document, Kind, Limits, Numbers, Value, push_string};
use doorward_model::{Caller, Random, Seal, Timestamp};
use doorward_wire::{Abilities, Revision};

use super::{Opening, principal};
use crate::pipeline::label;
use crate::surface::Surface;

/// Longest ticket that is looked at.
const LONGEST: usize = 8 << 10;
/// Longest `clientInfo` that travels as it is; of longer ones, the names do.
const INFO: usize = 512;
/// Of such a name, how many characters.
const NAME: usize = 64;

/// A session's id: what records and servers' links know it by.
pub(super) type Id = Box<str>;

/// The id of a new session.
pub(super) fn id(random: &dyn Random) -> Id {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes)).into()
}

/// The id that a ticket says it is of. Whether it is, its seal shows.
pub(super) fn named(ticket: &str) -> Option<&str> {
    let (id, _) = ticket.split_once('.')?;
    (id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))).then_some(id)
}

/// Makes the ticket of a session.
pub(super) fn seal(
    seal: &dyn Seal,
    id: &str,
    owner: &Caller,
    opened: Timestamp,
    opening: &Opening,
) -> Option<Box<str>> {
    let mut clear = format!(r#"{{"at":{},"on":"#, opened.as_micros());
    push_string(&mut clear, &opening.surface.path());
    clear.push_str(r#","speaks":"#);
    push_string(&mut clear, opening.revision.as_str());
    if !opening.client_info.is_empty() {
        clear.push_str(r#","client":"#);
        clear.push_str(&opening.client_info);
    }
    clear.push_str(r#","can":"#);
    clear.push_str(&opening.abilities.to_json());
    clear.push('}');
    let sealed = seal.seal(&binding(id, owner), clear.as_bytes()).ok()?;
    Some(format!("{id}.{}", URL_SAFE_NO_PAD.encode(sealed)).into())
}

/// Opens a ticket: when its session was opened, and with what. `None` unless it is this
/// caller's, unaltered, and was made with this gateway's key.
pub(super) fn open(seal: &dyn Seal, ticket: &str, caller: &Caller) -> Option<(Timestamp, Opening)> {
    if ticket.len() > LONGEST {
        return None;
    }
    let id = named(ticket)?;
    let sealed = URL_SAFE_NO_PAD.decode(ticket.get(id.len() + 1..)?).ok()?;
    let clear = seal.open(&binding(id, caller), &sealed).ok()?;
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    let document = Document::parse(Bytes::from(clear), &limits).ok()?;
    let root = document.root();
    let at = root.get("at")?.raw().parse().ok()?;
    let info = root.get("client");
    let opening = Opening {
        surface: Surface::from_path(&root.get("on")?.as_str()?)?,
        revision: Revision::parse(&root.get("speaks")?.as_str()?)?,
        client: info.map(label).unwrap_or_default(),
        client_info: info.map(Value::raw).unwrap_or_default().to_owned(),
        abilities: Abilities::read(root.get("can")?),
    };
    Some((Timestamp::from_micros(at), opening))
}

fn binding(id: &str, owner: &Caller) -> Vec<u8> {
    let mut out = b"session".to_vec();
    // Fixed lengths, so that no part can pose as the beginning of the next.
    out.extend_from_slice(digest(&SHA256, principal(owner).as_bytes()).as_ref());
    out.extend_from_slice(id.as_bytes());
    out
}

/// `clientInfo` as far as it travels: the texts that MCP has there, or where they are long its names
/// only.
pub(crate) fn client_info(info: Value<'_>) -> String {
    const TEXTS: [&str; 5] = ["name", "title", "version", "description", "websiteUrl"];
    let is_short = info.raw().len() <= INFO;
    let mut out = String::from("{");
    for (key, value) in info.members().filter(|(_, value)| value.kind() == Kind::String) {
        let Some(at) = TEXTS.iter().position(|text| key == *text).filter(|at| is_short || *at < 3) else {
            continue;
        };
        if out.len() > 1 {
            out.push(',');
        }
        push_string(&mut out, TEXTS[at]);
        out.push(':');
        match value.as_str() {
            Some(text) if !is_short => {
                push_string(&mut out, &text.chars().take(NAME).collect::<String>());
            }
            _ => out.push_str(value.raw()),
        }
    }
    out.push('}');
    out
}

/// Abilities as far as they travel.
pub(crate) fn abilities(declared: Value<'_>) -> Abilities {
    // The extension is none of its era's: its calls say when they want a task.
    Abilities::read(declared).with_tasks(false)
}
