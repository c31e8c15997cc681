//! What a client sends, as the door in front of the gateway sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::claims::Client;
use super::stage::Stage;
use crate::world::front::Seen;

const META: &str = "/params/_meta/io.modelcontextprotocol~1";

/// What a client sent to one path.
pub struct Sent(Vec<Seen>);

impl Sent {
    pub fn to(stage: &Stage, path: &str) -> Self {
        Self(stage.front.seen(path))
    }

    /// How many messages of this method there were.
    pub fn count(&self, method: &str) -> usize {
        self.0.iter().filter(|request| request.body["method"] == method).count()
    }

    /// Whether there was a request of this kind.
    pub fn made(&self, method: &Method) -> bool {
        self.0.iter().any(|request| request.method == *method)
    }

    /// The requests that were refused as such.
    pub fn refused(&self) -> Vec<String> {
        let refused = self.0.iter().filter(|request| request.status >= 400);
        refused.map(|request| format!("{} {} {}", request.method, request.body, request.status)).collect()
    }

    /// The revision it speaks, and what it declares, said when it opens or with every request.
    fn terms(&self) -> (String, Vec<String>) {
        let mut messages = self.0.iter().map(|request| &request.body);
        let terms = messages.find_map(terms).expect("it says what it speaks");
        (terms.0, terms.1)
    }

    /// Whether its requests name the revision in a header.
    pub fn names_revision(&self) -> bool {
        self.0.iter().any(|request| request.headers.contains_key("mcp-protocol-version"))
    }

    /// From its first request until it could have the list of tools.
    fn first_list(&self) -> Duration {
        let until = self.0.iter().position(|request| request.body["method"] == "tools/list");
        self.0.iter().take(until.map_or(0, |until| until + 1)).map(|request| request.took).sum()
    }
}

/// The revision of a message that says it, and the capabilities beside it.
fn terms(message: &Value) -> Option<(String, Vec<String>)> {
    let params = &message["params"];
    let (revision, capabilities) = if message["method"] == "initialize" {
        (params.get("protocolVersion"), params.get("capabilities"))
    } else {
        (
            message.pointer(&format!("{META}protocolVersion")),
            message.pointer(&format!("{META}clientCapabilities")),
        )
    };
    let names = capabilities.and_then(Value::as_object).into_iter().flat_map(|all| all.keys().cloned());
    Some((revision?.as_str()?.to_owned(), names.collect::<BTreeSet<_>>().into_iter().collect()))
}

/// The client's row of the table of what clients send.
pub fn row(stage: &Stage, client: &Client) -> String {
    let sent = Sent::to(stage, "/mcp");
    assert_eq!(sent.refused(), [""; 0], "{}", client.name);
    println!("{}: {:?} until it has the first list", client.name, sent.first_list());
    let (revision, declared) = sent.terms();
    let over_stdio = stage.heard().iter().find_map(terms).expect("it says what it speaks");
    let revision =
        if over_stdio.0 == revision { revision } else { format!("{revision}; over stdio {}", over_stdio.0) };
    let declared = if declared.is_empty() { "nothing".to_owned() } else { declared.join(", ") };
    let sessions = match sent.count("initialize") {
        0 => "none".to_owned(),
        count => count.to_string(),
    };
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    let (header, listens, ends) =
        (sent.names_revision(), sent.made(&Method::GET), sent.made(&Method::DELETE));
    format!(
        "| {} | {revision} | {declared} | {} | {sessions} | {} | {} |",
        client.name,
        yes(header),
        yes(listens),
        yes(ends)
    )
}
