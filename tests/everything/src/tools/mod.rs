//! The tools, in the order they are listed.

mod changes;
mod content;
mod elicitation;
mod headers;
mod jobs;
mod narrated;
mod questions;
mod rounds;

pub use content::PNG;

use serde_json::{Value, json};

use crate::play::Play;
use crate::server::Everything;

/// A tool, as the newest revision describes it.
pub struct Tool {
    pub name: &'static str,
    pub play: Play,
    pub tasks: TaskSupport,
    description: &'static str,
    input_schema: Value,
    /// Further members of its description.
    more: Value,
}

/// Whether a call may or must become a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSupport {
    Forbidden,
    Optional,
    Required,
}

impl TaskSupport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

impl Tool {
    fn new(name: &'static str, description: &'static str, play: Play) -> Self {
        Self {
            name,
            play,
            tasks: TaskSupport::Forbidden,
            description,
            input_schema: json!({"type": "object", "properties": {}}),
            more: json!({}),
        }
    }

    /// With arguments, all of them required.
    fn taking(self, properties: Value) -> Self {
        let required: Vec<_> = properties.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
        let schema = json!({"type": "object", "properties": properties, "required": required});
        self.taking_schema(schema)
    }

    fn taking_schema(self, input_schema: Value) -> Self {
        Self { input_schema, ..self }
    }

    fn with(self, more: Value) -> Self {
        Self { more, ..self }
    }

    fn supporting(self, tasks: TaskSupport) -> Self {
        Self { tasks, ..self }
    }

    pub fn input_schema(&self) -> &Value {
        &self.input_schema
    }

    /// Its entry in the list. `execution` is there for 2025-11-25, the only revision that has it.
    pub fn describe(&self) -> Value {
        let mut entry = json!({
            "name": self.name, "description": self.description, "inputSchema": self.input_schema,
        });
        for (member, value) in self.more.as_object().into_iter().flatten() {
            entry[member] = value.clone();
        }
        if self.tasks != TaskSupport::Forbidden {
            entry["execution"] = json!({"taskSupport": self.tasks.as_str()});
        }
        entry
    }
}

/// All tools there are now.
pub fn all(server: &Everything) -> Vec<Tool> {
    let mut tools = content::tools();
    tools.extend(narrated::tools());
    tools.extend(questions::tools());
    tools.extend(elicitation::tools());
    tools.extend(rounds::tools());
    tools.extend(jobs::tools());
    tools.extend(headers::tools());
    tools.extend(changes::tools(server.tool_shown()));
    tools
}

pub fn find(server: &Everything, name: &str) -> Option<Tool> {
    all(server).into_iter().find(|tool| tool.name == name)
}
