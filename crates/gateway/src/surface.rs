//! The endpoints a client can speak to.

use doorward_model::{InvalidServerId, ServerId};

/// Which endpoint a message came to; it decides which names mean what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// `/mcp`: every server of the caller's view, tools as `<server>__<tool>`.
    Aggregate,
    /// `/mcp/{server}`: one server under its own names.
    Server(ServerId),
    /// `/mcp/_gateway`: the meta tools.
    Gateway,
}

impl Surface {
    /// The endpoint that a client without URLs calls by this name: `aggregate`, `meta`
    /// or a server's id.
    ///
    /// # Errors
    /// When it is no id.
    pub fn named(name: &str) -> Result<Self, InvalidServerId> {
        match name {
            "aggregate" => Ok(Self::Aggregate),
            "meta" => Ok(Self::Gateway),
            id => ServerId::try_from(id).map(Self::Server),
        }
    }

    /// What [`named`](Self::named) knows it by.
    pub fn name(&self) -> String {
        match self {
            Self::Aggregate => "aggregate".to_owned(),
            Self::Gateway => "meta".to_owned(),
            Self::Server(id) => id.to_string(),
        }
    }

    /// The URL path it is behind.
    pub fn path(&self) -> String {
        match self {
            Self::Aggregate => "/mcp".to_owned(),
            Self::Gateway => "/mcp/_gateway".to_owned(),
            Self::Server(id) => format!("/mcp/{id}"),
        }
    }

    /// The endpoint behind a URL path; `None` when there is none.
    pub fn from_path(path: &str) -> Option<Self> {
        // A slash at the end is the same endpoint.
        let path = path.strip_suffix('/').unwrap_or(path);
        let rest = path.strip_prefix("/mcp")?;
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Some(Self::Aggregate),
            None => None,
            Some("") => Some(Self::Aggregate),
            Some("_gateway") => Some(Self::Gateway),
            Some(server) => ServerId::try_from(server).ok().map(Self::Server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slash_at_the_end_is_overlooked_in_the_path_of_an_endpoint() {
        let github = ServerId::try_from("github").expect("valid");
        let cases = [
            ("/mcp", Some(Surface::Aggregate)),
            ("/mcp/", Some(Surface::Aggregate)),
            ("/mcp/github", Some(Surface::Server(github.clone()))),
            ("/mcp/_gateway", Some(Surface::Gateway)),
            ("/mcp/github/", Some(Surface::Server(github))),
            ("/mcp/_gateway/", Some(Surface::Gateway)),
            ("/mcp/github//", None),
            ("/mcp/%67ithub", None),
            ("/mcp/GitHub", ServerId::try_from("GitHub").ok().map(Surface::Server)),
            ("/mcp/Git.Hub", None),
            ("/mcp/../mcp", None),
            ("/mcpx", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            assert_eq!(Surface::from_path(path), expected, "{path}");
            if let Some(surface) = expected {
                assert_eq!(Surface::from_path(&surface.path()), Some(surface));
            }
        }
    }
}
