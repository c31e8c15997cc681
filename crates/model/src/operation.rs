//! What a caller can ask of a server, where policy has a say.

use std::fmt;

/// The five operations that every layer decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `tools/call`
    ToolsCall,
    /// `resources/read`
    ResourcesRead,
    /// `resources/subscribe`, and each URI of a `subscriptions/listen`
    ResourcesSubscribe,
    /// `prompts/get`
    PromptsGet,
    /// `completion/complete`
    CompletionComplete,
    /// `skills/get`
    SkillsGet,
    /// `resources/directory/read`
    DirectoryRead,
}

impl Operation {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::ToolsCall,
        Self::ResourcesRead,
        Self::ResourcesSubscribe,
        Self::PromptsGet,
        Self::CompletionComplete,
        Self::SkillsGet,
        Self::DirectoryRead,
    ];

    /// The MCP method name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolsCall => "tools/call",
            Self::ResourcesRead => "resources/read",
            Self::ResourcesSubscribe => "resources/subscribe",
            Self::PromptsGet => "prompts/get",
            Self::CompletionComplete => "completion/complete",
            Self::SkillsGet => "skills/get",
            Self::DirectoryRead => "resources/directory/read",
        }
    }

    /// The operation with this MCP method name.
    pub fn from_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == method)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapabilityKind {
    /// Callable by `tools/call`.
    Tool,
    /// Readable by `resources/read`.
    Resource,
    /// A URI template, RFC 6570.
    ResourceTemplate,
    /// Fetched by `prompts/get`.
    Prompt,
}

impl CapabilityKind {
    /// The member of a list result that holds capabilities of this kind.
    pub fn list_member(self) -> &'static str {
        match self {
            Self::Tool => "tools",
            Self::Resource => "resources",
            Self::ResourceTemplate => "resourceTemplates",
            Self::Prompt => "prompts",
        }
    }

    /// The method that lists them.
    pub fn list_method(self) -> &'static str {
        match self {
            Self::Tool => "tools/list",
            Self::Resource => "resources/list",
            Self::ResourceTemplate => "resources/templates/list",
            Self::Prompt => "prompts/list",
        }
    }
}
