//! Where a server is, as the file has it.
//!
//! `${VAR}` in an argument or an address is filled with what may be a secret: people are shown
//! what was written and not what it became.

use crate::config::tree::Node;

/// The place of a server before variables were filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The program of a child.
    pub command: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// The endpoint of a server that is reached over HTTP.
    pub url: Option<String>,
}

/// The places of all servers of a document that nobody has filled yet, in file order.
pub(crate) fn written(root: &Node) -> Vec<Written> {
    root.get("servers").map(Node::items).unwrap_or_default().iter().map(place).collect()
}

fn place(server: &Node) -> Written {
    let text = |key: &str| server.get(key).and_then(Node::text).map(str::to_owned);
    let args = server.get("args").map(Node::items).unwrap_or_default();
    Written {
        command: text("command"),
        args: args.iter().filter_map(Node::text).map(str::to_owned).collect(),
        url: text("url"),
    }
}
