//! The picture of all servers and capabilities at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use doorward_model::{CapabilityKind, Catalog, ServerId};

use crate::capability::{Capability, Unusable};
use crate::server::Server;

/// Servers in configuration order, each with what it offered when last asked.
#[derive(Debug, Default)]
pub struct Registry {
    servers: Vec<Arc<Server>>,
    catalogs: HashMap<ServerId, Arc<Catalog>>,
    all: Vec<Arc<Capability>>,
    by_server: HashMap<ServerId, Vec<Arc<Capability>>>,
    by_name: HashMap<(CapabilityKind, ServerId), HashMap<Arc<str>, Arc<Capability>>>,
    by_exposed: HashMap<CapabilityKind, HashMap<Arc<str>, Arc<Capability>>>,
}

/// Something a server offered that cannot be offered on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The definition lacks its name or is no object.
    #[error("server `{server}`: definition of `{name}` cannot be read; it is left out")]
    Unreadable {
        /// Who offered it.
        server: ServerId,
        /// What it called it.
        name: String,
    },
    /// Nobody could say its arguments in headers.
    #[error("server `{server}`: the x-mcp-header annotations of `{name}` break the rules; it is left out")]
    Headers {
        /// Who offered it.
        server: ServerId,
        /// What it called it.
        name: String,
    },
    /// One server offered the same name twice.
    #[error("server `{server}` offers `{name}` more than once; it is left out")]
    Repeated {
        /// Who offered it.
        server: ServerId,
        /// The name.
        name: String,
    },
    /// Two capabilities would have the same name on the aggregate endpoint.
    #[error("`{exposed}` would be ambiguous (servers `{first}` and `{second}`); neither is offered under it")]
    Ambiguous {
        /// The contested name.
        exposed: String,
        /// The earlier server.
        first: ServerId,
        /// The later server.
        second: ServerId,
    },
}

impl Registry {
    /// Builds the picture, and says what had to be left out of it.
    pub fn build(
        servers: Vec<Arc<Server>>,
        catalogs: HashMap<ServerId, Arc<Catalog>>,
    ) -> (Self, Vec<Problem>) {
        let mut registry = Self { servers, ..Self::default() };
        let mut problems = Vec::new();
        let mut contested = Vec::new();
        for server in &registry.servers {
            let Some(catalog) = catalogs.get(&server.id) else { continue };
            let mut offered: Vec<Arc<Capability>> = Vec::new();
            for definition in &catalog.definitions {
                let name = definition.name.to_string();
                let capability = match Capability::new(registry.all.len(), server, definition) {
                    Ok(capability) => Arc::new(capability),
                    Err(unusable) => {
                        let server = server.id.clone();
                        problems.push(match unusable {
                            Unusable::Unreadable => Problem::Unreadable { server, name },
                            Unusable::Headers => Problem::Headers { server, name },
                        });
                        continue;
                    }
                };
                registry.all.push(Arc::clone(&capability));
                let names = registry.by_name.entry((capability.kind, server.id.clone())).or_default();
                if names.insert(Arc::clone(&capability.name), Arc::clone(&capability)).is_some() {
                    contested.push((capability.kind, server.id.clone(), Arc::clone(&capability.name)));
                    problems.push(Problem::Repeated { server: server.id.clone(), name });
                    continue;
                }
                offered.push(capability);
            }
            // Which of two namesakes the server would run is its secret: offer neither.
            for (kind, id, name) in contested.drain(..) {
                offered.retain(|capability| capability.kind != kind || capability.name != name);
                if let Some(names) = registry.by_name.get_mut(&(kind, id)) {
                    names.remove(&name);
                }
            }
            registry.by_server.insert(server.id.clone(), offered);
        }
        registry.expose(&mut problems);
        registry.catalogs = catalogs;
        (registry, problems)
    }

    fn expose(&mut self, problems: &mut Vec<Problem>) {
        let mut ambiguous = Vec::new();
        for capability in self.servers.iter().filter_map(|server| self.by_server.get(&server.id)).flatten() {
            let names = self.by_exposed.entry(capability.kind).or_default();
            if let Some(first) = names.get(&capability.exposed) {
                problems.push(Problem::Ambiguous {
                    exposed: capability.exposed.to_string(),
                    first: first.server.id.clone(),
                    second: capability.server.id.clone(),
                });
                ambiguous.push((capability.kind, Arc::clone(&capability.exposed)));
            } else {
                names.insert(Arc::clone(&capability.exposed), Arc::clone(capability));
            }
        }
        for (kind, exposed) in ambiguous {
            if let Some(names) = self.by_exposed.get_mut(&kind) {
                names.remove(&exposed);
            }
        }
    }

    /// Every capability that could be read, each at its `position`.
    pub fn all(&self) -> &[Arc<Capability>] {
        &self.all
    }

    /// All servers, in configuration order.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// The server with this id.
    pub fn server(&self, id: &str) -> Option<&Arc<Server>> {
        self.servers.iter().find(|server| server.id.as_str() == id)
    }

    /// What this server offered when last asked; `None` when it never answered.
    pub fn catalog(&self, id: &ServerId) -> Option<&Arc<Catalog>> {
        self.catalogs.get(id)
    }

    /// All catalogs, by server.
    pub fn catalogs(&self) -> &HashMap<ServerId, Arc<Catalog>> {
        &self.catalogs
    }

    /// The capabilities of one server, in its own order.
    pub fn of_server(&self, id: &ServerId) -> &[Arc<Capability>] {
        self.by_server.get(id).map_or(&[], Vec::as_slice)
    }

    /// The capability that a server calls `name`.
    pub fn named(&self, server: &ServerId, kind: CapabilityKind, name: &str) -> Option<&Arc<Capability>> {
        self.by_name.get(&(kind, server.clone()))?.get(name)
    }

    /// The capability that the aggregate endpoint calls `exposed`.
    pub fn exposed(&self, kind: CapabilityKind, exposed: &str) -> Option<&Arc<Capability>> {
        self.by_exposed.get(&kind)?.get(exposed)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::Definition;

    use super::*;

    fn server(id: &str) -> Arc<Server> {
        Arc::new(Server {
            id: ServerId::try_from(id).expect("valid id"),
            name: id.to_owned(),
            tags: Vec::new(),
            transport: "http",
            enabled: true,
            disable: vec!["delete_*".to_owned()],
        })
    }

    fn tools(names: &[&str]) -> Arc<Catalog> {
        let definitions = names
            .iter()
            .map(|name| Definition {
                kind: CapabilityKind::Tool,
                name: (*name).into(),
                raw: Bytes::from(format!(r#"{{"x":1, "name" : "{name}","inputSchema":{{"name":"name"}}}}"#)),
            })
            .collect();
        Arc::new(Catalog { definitions, ..Catalog::default() })
    }

    fn picture(offers: &[(&str, &[&str])]) -> (Registry, Vec<Problem>) {
        let servers = offers.iter().map(|(id, _)| server(id)).collect();
        let catalogs = offers
            .iter()
            .map(|(id, names)| (ServerId::try_from(*id).expect("valid id"), tools(names)))
            .collect();
        Registry::build(servers, catalogs)
    }

    #[test]
    fn a_tool_is_found_by_both_names_and_renamed_without_touching_the_rest() {
        let (registry, problems) = picture(&[("a", &["echo", "delete_all"]), ("b", &["echo"])]);
        assert_eq!(problems, []);
        let tool = registry.exposed(CapabilityKind::Tool, "b__echo").expect("offered");
        assert_eq!((tool.server.id.as_str(), tool.name.as_ref()), ("b", "echo"));
        assert_eq!(tool.aggregate, r#"{"x":1, "name" : "b__echo","inputSchema":{"name":"name"}}"#);
        assert!(registry.named(&tool.server.id, CapabilityKind::Tool, "echo").is_some());
        assert!(registry.exposed(CapabilityKind::Prompt, "b__echo").is_none(), "another kind");
        assert!(!tool.server.offers(CapabilityKind::Tool, "delete_all"));
    }

    #[test]
    fn what_is_ambiguous_is_offered_to_nobody() {
        let (registry, problems) = picture(&[("a", &["echo", "twice", "twice", "twice"])]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(registry.exposed(CapabilityKind::Tool, "a__twice").is_none());
        assert_eq!(registry.of_server(&ServerId::try_from("a").expect("valid")).len(), 1);
        assert!(registry.exposed(CapabilityKind::Tool, "a__echo").is_some());
    }

    #[test]
    fn a_definition_that_lies_about_its_name_is_left_out() {
        let mut catalog = Catalog::default();
        for raw in [r#"{"name":"other"}"#, "[]", r#"{"name":"x","name":"y"}"#, "{"] {
            catalog.definitions.push(Definition {
                kind: CapabilityKind::Tool,
                name: "x".into(),
                raw: Bytes::from(raw),
            });
        }
        let id = ServerId::try_from("a").expect("valid");
        let (registry, problems) =
            Registry::build(vec![server("a")], HashMap::from([(id.clone(), Arc::new(catalog))]));
        assert_eq!(problems.len(), 4);
        assert!(registry.of_server(&id).is_empty());
    }
}
