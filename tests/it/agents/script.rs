//! The script that every client plays: at every door, before a server of either era, a call that is
//! allowed, one that is denied for its arguments, and one of a tool that is hidden.

use serde_json::{Value, json};

use crate::world::model::Step;

/// The rules that make it so.
pub const RULES: &str = "policies:\n  - id: staff\n    name: Staff\n    roles: [staff]\n    rules:\n      - {tool: get_issue, action: deny, conditions: [{param: repository, operator: eq, value: secret}]}\n      - {tool: leak, action: hide}\n      - {action: allow}\n";

/// What a denied call is answered.
pub const DENIED: &str = "[POLICY DENIED] Denied by policy \"Staff\": get_issue on *";

/// The doors, as clients know them, and where they are. The last is a child's pipes.
pub const DOORS: [(&str, &str); 4] =
    [("all", "/mcp"), ("old", "/mcp/old"), ("new", "/mcp/new"), ("pipe", "stdio")];

/// The servers of either era behind each door.
const PLACES: [(&str, &str); 6] =
    [("all", "old"), ("all", "new"), ("old", "old"), ("new", "new"), ("pipe", "old"), ("pipe", "new")];

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Allowed,
    Denied,
    Hidden,
}

/// One call of the script.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub door: &'static str,
    pub server: &'static str,
    pub fate: Fate,
}

impl Call {
    /// The tool's own name.
    pub fn target(self) -> &'static str {
        match self.fate {
            Fate::Allowed => "echo",
            Fate::Denied => "get_issue",
            Fate::Hidden => "leak",
        }
    }

    /// The tool's name at the door.
    pub fn tool(self) -> String {
        if self.door == self.server {
            self.target().to_owned()
        } else {
            format!("{}__{}", self.server, self.target())
        }
    }

    pub fn arguments(self) -> Value {
        let repository = if self.fate == Fate::Denied { "secret" } else { "public" };
        json!({"via": self.door, "repository": repository})
    }
}

/// Every call, door by door.
pub fn calls() -> Vec<Call> {
    let fates = [Fate::Allowed, Fate::Denied, Fate::Hidden];
    let at = |(door, server): (&'static str, &'static str)| fates.map(|fate| Call { door, server, fate });
    PLACES.into_iter().flat_map(at).collect()
}

/// The script for a model, in the words of an agent that knows tools by such names.
pub fn for_model(name: fn(&str, &str) -> String) -> Vec<Step> {
    let step = |call: Call| Step { tool: name(call.door, &call.tool()), arguments: call.arguments() };
    calls().into_iter().map(step).collect()
}
