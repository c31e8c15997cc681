//! What a server says it offers, kept exactly as it said it.

use std::sync::Arc;

use bytes::Bytes;

use crate::operation::CapabilityKind;

/// One tool, resource, resource template or prompt, as the server defined it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What it is.
    pub kind: CapabilityKind,
    /// Its name on the server: `name` of tools and prompts, `uri` of resources,
    /// `uriTemplate` of templates.
    pub name: Arc<str>,
    /// The definition, a JSON object, byte for byte as received.
    pub raw: Bytes,
}

/// To whom a server offers what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// To every client: it learns nothing of them before it is asked for its lists.
    Everybody,
    /// To clients that declare exactly these capabilities: JSON text, empty for none.
    Declaring(Arc<str>),
}

impl Audience {
    /// Whether a client that declares these capabilities belongs to it.
    pub fn holds(&self, declared: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Declaring(these) => **these == *declared,
        }
    }
}

/// Everything a server offered when it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Tools, resources, templates and prompts, in the server's own order.
    pub definitions: Vec<Definition>,
    /// The server's `capabilities` object, as received; empty when unknown.
    pub capabilities: Bytes,
    /// The server's `serverInfo` object, as received; empty when unknown.
    pub server_info: Bytes,
    /// The server's `instructions`: untrusted text for a model.
    pub instructions: Option<Arc<str>>,
    /// The protocol revision spoken with the server.
    pub protocol_version: Arc<str>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

/// A list that is not there, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Of what kind.
    pub kind: CapabilityKind,
    /// Why, for people: never a secret.
    pub why: Arc<str>,
    /// Whether the list may be whole the next time.
    pub is_passing: bool,
}

impl Catalog {
    /// Whether this list is as the server has it, as far as anybody can find out.
    pub fn is_whole(&self, kind: CapabilityKind) -> bool {
        !self.gaps.iter().any(|gap| gap.is_passing && gap.kind == kind)
    }

    /// The same, with what an earlier one has of the lists that may be whole the next time.
    pub fn completed(&self, earlier: &Self) -> Self {
        let is_here = |old: &Definition| self.of(old.kind).any(|new| new.name == old.name);
        let kept = earlier.definitions.iter().filter(|old| !self.is_whole(old.kind) && !is_here(old));
        let definitions = self.definitions.iter().chain(kept).cloned().collect();
        Self { definitions, ..self.clone() }
    }

    /// Whether asking again may bring what is missing.
    pub fn is_partial(&self) -> bool {
        self.gaps.iter().any(|gap| gap.is_passing)
    }

    /// The definitions of one kind, in the server's order.
    pub fn of(&self, kind: CapabilityKind) -> impl Iterator<Item = &Definition> {
        self.definitions.iter().filter(move |definition| definition.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_missing_for_now_stays_as_it_was() {
        let catalog = |names: &[(CapabilityKind, &str)], gaps: &[(CapabilityKind, bool)]| Catalog {
            definitions: names
                .iter()
                .map(|(kind, name)| Definition { kind: *kind, name: (*name).into(), raw: Bytes::new() })
                .collect(),
            gaps: gaps
                .iter()
                .map(|(kind, is_passing)| Gap { kind: *kind, why: "x".into(), is_passing: *is_passing })
                .collect(),
            ..Catalog::default()
        };
        use CapabilityKind::{Prompt, Resource, Tool};
        let earlier = catalog(&[(Tool, "old"), (Prompt, "p"), (Prompt, "q"), (Resource, "r")], &[]);
        let now = catalog(&[(Tool, "new"), (Prompt, "q")], &[(Prompt, true), (Resource, false)]);
        let completed = now.completed(&earlier);
        let names: Vec<_> = completed.definitions.iter().map(|it| (it.kind, &*it.name)).collect();
        assert_eq!(names, [(Tool, "new"), (Prompt, "q"), (Prompt, "p")]);
        assert!(completed.is_partial() && !completed.is_whole(Prompt) && completed.is_whole(Resource));
    }
}
