//! What its own user may tell or ask a running gateway, over the socket and in place of a client's
//! preface: how much it is to log about one server, and how its servers are doing. One line each way.
//!
//! It reads and changes nothing else: an order cannot make a call, see a record or decide
//! anything. That only this very user is heard, the socket sees to.

use std::collections::BTreeMap;

use bytes::Bytes;
use doorward_model::ServerId;
use doorward_model::json::{push_string, quoted};

use super::preface::{Foreign, VERSION, document};

/// How much is logged about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Off,
    /// What is broken.
    Error,
    /// What is odd, too.
    Warn,
    /// What happens now and then, too.
    Info,
    /// Each call, too.
    Debug,
    /// Everything.
    Trace,
    /// As much as about all others.
    Usual,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace, Self::Usual];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
            Self::Usual => "usual",
        }
    }
}

/// An order about the log, or a question about the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Say about which servers more or less is logged than usual.
    Show,
    /// Log so much about this server.
    Set(ServerId, Level),
    /// Say how the servers are doing.
    Servers,
    /// Say which names the servers offer.
    Names,
    /// Say everything about this server.
    Look(ServerId),
}

/// How a server is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// Its state, in a word.
    pub state: String,
    /// How many tools it offers; `None` while it has not been asked.
    pub tools: Option<u64>,
}

/// How the servers are doing, by id.
pub type Doings = BTreeMap<String, Doing>;

/// The servers about which more or less is logged than usual, and how much.
pub type Levels = BTreeMap<String, &'static str>;

/// An order about a server that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoServer;

impl Order {
    /// The line that it is given by.
    pub fn line(&self) -> String {
        match self {
            Self::Show => format!("{{\"doorward\":{VERSION},\"log\":\"show\"}}\n"),
            Self::Servers => format!("{{\"doorward\":{VERSION},\"servers\":\"show\"}}\n"),
            Self::Names => format!("{{\"doorward\":{VERSION},\"servers\":\"names\"}}\n"),
            Self::Look(server) => {
                let server = quoted(server.as_str());
                format!("{{\"doorward\":{VERSION},\"servers\":\"look\",\"server\":{server}}}\n")
            }
            Self::Set(server, level) => {
                let (server, level) = (quoted(server.as_str()), level.as_str());
                format!("{{\"doorward\":{VERSION},\"log\":\"{level}\",\"server\":{server}}}\n")
            }
        }
    }

    /// Reads what [`line`](Self::line) wrote; `None` for anything else.
    pub(super) fn parse(line: Bytes) -> Option<Self> {
        let document = document(line, &["log", "server", "servers"]).ok()?;
        let text = |name: &str| document.root().get(name)?.as_str().map(std::borrow::Cow::into_owned);
        if document.root().get("servers").is_some() {
            if document.root().get("log").is_some() {
                return None;
            }
            return match (text("servers")?.as_str(), document.root().get("server")) {
                ("show", None) => Some(Self::Servers),
                ("names", None) => Some(Self::Names),
                ("look", Some(_)) => Some(Self::Look(ServerId::try_from(text("server")?).ok()?)),
                _ => None,
            };
        }
        match (text("log")?, document.root().get("server")) {
            (word, None) if word == "show" => Some(Self::Show),
            (word, Some(_)) => {
                let level = Level::ALL.into_iter().find(|level| level.as_str() == word)?;
                Some(Self::Set(ServerId::try_from(text("server")?).ok()?, level))
            }
            _ => None,
        }
    }
}

/// The line that an order is answered with.
pub(super) fn answer(levels: Result<&Levels, NoServer>) -> String {
    let Ok(levels) = levels else {
        return format!("{{\"doorward\":{VERSION},\"refused\":\"server\"}}\n");
    };
    let mut out = format!("{{\"doorward\":{VERSION},\"levels\":{{");
    for (at, (server, level)) in levels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(&mut out, server);
        out.push(':');
        push_string(&mut out, level);
    }
    out.push_str("}}\n");
    out
}

/// The line that the question about the servers is answered with.
pub(super) fn doings(servers: &Doings) -> String {
    let mut states = String::new();
    let mut tools = String::new();
    for (server, doing) in servers {
        let server = quoted(server);
        let comma = |out: &str| if out.is_empty() { "" } else { "," };
        states = format!("{states}{}{server}:{}", comma(&states), quoted(&doing.state));
        if let Some(count) = doing.tools {
            tools = format!("{tools}{}{server}:{count}", comma(&tools));
        }
    }
    format!("{{\"doorward\":{VERSION},\"states\":{{{states}}},\"tools\":{{{tools}}}}}\n")
}

/// Reads the line that the question about the servers is answered with.
///
/// # Errors
/// [`Foreign`] when it is none: a gateway of an older version, for one.
pub fn read_doings(line: Bytes) -> Result<Doings, Foreign> {
    let document = document(line, &["states", "tools"])?;
    let (states, tools) = (document.root().get("states").ok_or(Foreign)?, document.root().get("tools"));
    let doing = |(server, state): (std::borrow::Cow<'_, str>, doorward_model::json::Value<'_>)| {
        let state = state.as_str().ok_or(Foreign)?.into_owned();
        let count = tools.and_then(|tools| tools.get(&server)).and_then(|count| count.as_i64());
        let tools = count.and_then(|count| u64::try_from(count).ok());
        Ok((server.into_owned(), Doing { state, tools }))
    };
    states.members().map(doing).collect()
}

/// Reads the line that an order is answered with.
///
/// # Errors
/// [`Foreign`] when it is none: a gateway of an older version, for one.
pub fn read_order_answer(line: Bytes) -> Result<Result<Levels, NoServer>, Foreign> {
    let document = document(line, &["levels", "refused"])?;
    let root = document.root();
    if let Some(refused) = root.get("refused") {
        return if refused.as_str().as_deref() == Some("server") { Ok(Err(NoServer)) } else { Err(Foreign) };
    }
    let mut levels = Levels::new();
    for (server, level) in root.get("levels").ok_or(Foreign)?.members() {
        let word = level.as_str().ok_or(Foreign)?;
        let level = Level::ALL.into_iter().find(|level| level.as_str() == word).ok_or(Foreign)?;
        levels.insert(server.into_owned(), level.as_str());
    }
    Ok(Ok(levels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_meant_and_nothing_else_is_one() {
        let server = || ServerId::try_from("github".to_owned()).expect("an id");
        let mut orders = vec![Order::Show, Order::Servers, Order::Names, Order::Look(server())];
        orders.extend(Level::ALL.map(|level| Order::Set(server(), level)));
        for order in orders {
            let line = order.line();
            assert_eq!(Order::parse(Bytes::copy_from_slice(line.trim_end().as_bytes())), Some(order));
        }
        for line in [
            r#"{"doorward":1,"log":"show","server":"github"}"#,
            r#"{"doorward":1,"log":"debug"}"#,
            r#"{"doorward":1,"servers":"look"}"#,
            r#"{"doorward":1,"servers":"look","server":"A B"}"#,
            r#"{"doorward":1,"servers":"show","server":"github"}"#,
            r#"{"doorward":1,"servers":"names","server":"github"}"#,
            r#"{"doorward":1,"servers":"github"}"#,
            r#"{"doorward":1,"servers":"show","log":"show"}"#,
            r#"{"doorward":1,"log":"loud","server":"github"}"#,
            r#"{"doorward":1,"log":"debug","server":"A B"}"#,
            r#"{"doorward":2,"log":"show"}"#,
            r#"{"doorward":1,"log":"show","key":"gw_1"}"#,
            r#"{"doorward":1,"surface":"meta"}"#,
            "",
        ] {
            assert_eq!(Order::parse(Bytes::copy_from_slice(line.as_bytes())), None, "{line}");
        }
    }

    #[test]
    fn an_answer_arrives_as_it_was_meant() {
        let levels: Levels = [("github".to_owned(), "debug"), ("time".to_owned(), "off")].into();
        let read = |line: String| read_order_answer(Bytes::from(line));
        assert_eq!(read(answer(Ok(&levels))), Ok(Ok(levels.clone())));
        assert_eq!(read(answer(Err(NoServer))), Ok(Err(NoServer)));
        let doing = |state: &str, tools| Doing { state: state.to_owned(), tools };
        let servers: Doings = [
            ("github".to_owned(), doing("connected", Some(12))),
            ("time".to_owned(), doing("registered", None)),
        ]
        .into();
        assert_eq!(read_doings(Bytes::from(doings(&servers))), Ok(servers));
        assert_eq!(read_doings(Bytes::from(answer(Ok(&levels)))), Err(Foreign));
        assert_eq!(read(r#"{"doorward":1,"refused":"preface"}"#.to_owned()), Err(Foreign));
    }
}
