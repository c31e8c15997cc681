//! The picture of all servers and capabilities at one moment.

use std::sync::Arc;

use bytes::Bytes;
use doorward_model::{Audience, CapabilityKind, Catalog, Definition, Map, ServerId};

use crate::capability::{Capability, Unusable};
use crate::catalogs::Catalogs;
use crate::server::Server;

/// Servers in configuration order, each with what it offered when last asked.
#[derive(Debug, Default)]
pub struct Registry {
    servers: Vec<Arc<Server>>,
    catalogs: Catalogs,
    all: Vec<Arc<Capability>>,
    listings: Map<ServerId, Vec<Listing>>,
    by_exposed: Map<CapabilityKind, Map<Arc<str>, Arc<Capability>>>,
}

/// What one server offers to one audience.
#[derive(Debug)]
pub struct Listing {
    audience: Audience,
    /// What the server said, to the byte.
    pub catalog: Arc<Catalog>,
    /// What can be offered on of it, in the server's own order.
    pub offered: Vec<Arc<Capability>>,
    by_name: Map<CapabilityKind, Map<Arc<str>, Arc<Capability>>>,
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
    pub fn build(servers: Vec<Arc<Server>>, catalogs: Catalogs) -> (Self, Vec<Problem>) {
        let mut registry = Self { servers, ..Self::default() };
        let mut problems = Vec::new();
        for server in &registry.servers {
            let mut listings = Vec::new();
            let mut read = Definitions { server, all: &mut registry.all, known: Map::default() };
            for (audience, catalog) in catalogs.of(&server.id) {
                let (listing, mut found) = Listing::read(audience, catalog, &mut read);
                // Most of what one audience is offered, others are as well.
                found.retain(|problem| !problems.contains(problem));
                problems.extend(found);
                listings.push(listing);
            }
            registry.listings.insert(server.id.clone(), listings);
        }
        registry.expose(&mut problems);
        registry.catalogs = catalogs;
        (registry, problems)
    }

    fn expose(&mut self, problems: &mut Vec<Problem>) {
        let mut ambiguous = Vec::new();
        let listings = self.servers.iter().filter_map(|server| self.listings.get(&server.id)).flatten();
        for capability in listings.flat_map(|listing| &listing.offered) {
            let names = self.by_exposed.entry(capability.kind).or_default();
            match names.get(&capability.exposed) {
                // The same, as another audience has it.
                Some(first) if first.server.id == capability.server.id && first.name == capability.name => {}
                Some(first) => {
                    problems.push(Problem::Ambiguous {
                        exposed: capability.exposed.to_string(),
                        first: first.server.id.clone(),
                        second: capability.server.id.clone(),
                    });
                    ambiguous.push((capability.kind, Arc::clone(&capability.exposed)));
                }
                None => {
                    names.insert(Arc::clone(&capability.exposed), Arc::clone(capability));
                }
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

    /// What this server offers to clients that declare these capabilities; `None` while it
    /// has not said so.
    pub fn listing(&self, id: &ServerId, declared: &str) -> Option<&Listing> {
        self.listings(id).iter().find(|listing| listing.audience.holds(declared))
    }

    /// What this server offers, to each audience that it was asked for.
    pub fn listings(&self, id: &ServerId) -> &[Listing] {
        self.listings.get(id).map_or(&[], Vec::as_slice)
    }

    /// What the picture was made of.
    pub fn catalogs(&self) -> &Catalogs {
        &self.catalogs
    }

    /// The capability that the aggregate endpoint calls `exposed`.
    pub fn exposed(&self, kind: CapabilityKind, exposed: &str) -> Option<&Arc<Capability>> {
        self.by_exposed.get(&kind)?.get(exposed)
    }
}

impl Listing {
    /// Who is offered this.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// What the server calls `name`.
    pub fn named(&self, kind: CapabilityKind, name: &str) -> Option<&Arc<Capability>> {
        self.by_name.get(&kind)?.get(name)
    }

    fn read(
        audience: &Audience,
        catalog: &Arc<Catalog>,
        definitions: &mut Definitions<'_>,
    ) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut offered: Vec<Arc<Capability>> = Vec::new();
        let mut by_name: Map<_, Map<_, _>> = Map::default();
        let mut contested = Vec::new();
        for definition in &catalog.definitions {
            let (server, name) = (definitions.server.id.clone(), definition.name.to_string());
            let capability = match definitions.read(definition) {
                Ok(capability) => capability,
                Err(unusable) => {
                    problems.push(match unusable {
                        Unusable::Unreadable => Problem::Unreadable { server, name },
                        Unusable::Headers => Problem::Headers { server, name },
                    });
                    continue;
                }
            };
            let names = by_name.entry(capability.kind).or_default();
            if names.insert(Arc::clone(&capability.name), Arc::clone(&capability)).is_some() {
                contested.push((capability.kind, Arc::clone(&capability.name)));
                problems.push(Problem::Repeated { server, name });
                continue;
            }
            offered.push(capability);
        }
        // Which of two namesakes the server would run is its secret: offer neither.
        for (kind, name) in contested {
            offered.retain(|capability| capability.kind != kind || capability.name != name);
            if let Some(names) = by_name.get_mut(&kind) {
                names.remove(&name);
            }
        }
        (Self { audience: audience.clone(), catalog: Arc::clone(catalog), offered, by_name }, problems)
    }
}

/// The definitions of one server, each read once however many audiences have it.
struct Definitions<'a> {
    server: &'a Arc<Server>,
    all: &'a mut Vec<Arc<Capability>>,
    known: Map<(CapabilityKind, Bytes), Arc<Capability>>,
}

impl Definitions<'_> {
    fn read(&mut self, definition: &Definition) -> Result<Arc<Capability>, Unusable> {
        let key = (definition.kind, definition.raw.clone());
        if let Some(known) = self.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        let capability = Arc::new(Capability::new(self.all.len(), self.server, definition)?);
        self.all.push(Arc::clone(&capability));
        self.known.insert(key, Arc::clone(&capability));
        Ok(capability)
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
            exact_numbers: false,
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
        let mut catalogs = Catalogs::default();
        for (id, names) in offers {
            catalogs.learn(ServerId::try_from(*id).expect("valid id"), Audience::Everybody, tools(names));
        }
        Registry::build(servers, catalogs)
    }

    #[test]
    fn a_tool_is_found_by_both_names_and_renamed_without_touching_the_rest() {
        let (registry, problems) = picture(&[("a", &["echo", "delete_all"]), ("b", &["echo"])]);
        assert_eq!(problems, []);
        let tool = registry.exposed(CapabilityKind::Tool, "b__echo").expect("offered");
        assert_eq!((tool.server.id.as_str(), tool.name.as_ref()), ("b", "echo"));
        assert_eq!(tool.aggregate, r#"{"x":1, "name" : "b__echo","inputSchema":{"name":"name"}}"#);
        let listing = registry.listing(&tool.server.id, "{}").expect("heard of");
        assert!(listing.named(CapabilityKind::Tool, "echo").is_some());
        assert!(registry.exposed(CapabilityKind::Prompt, "b__echo").is_none(), "another kind");
        assert!(!tool.server.offers(CapabilityKind::Tool, "delete_all"));
    }

    #[test]
    fn what_is_ambiguous_is_offered_to_nobody() {
        let (registry, problems) = picture(&[("a", &["echo", "twice", "twice", "twice"])]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(registry.exposed(CapabilityKind::Tool, "a__twice").is_none());
        assert_eq!(registry.listings(&ServerId::try_from("a").expect("valid"))[0].offered.len(), 1);
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
        let mut catalogs = Catalogs::default();
        catalogs.learn(id.clone(), Audience::Everybody, Arc::new(catalog));
        let (registry, problems) = Registry::build(vec![server("a")], catalogs);
        assert_eq!(problems.len(), 4);
        assert!(registry.listings(&id)[0].offered.is_empty());
    }

    #[test]
    fn each_audience_has_a_list_of_its_own_and_a_definition_in_several_is_one() {
        let id = ServerId::try_from("a").expect("valid");
        let mut catalogs = Catalogs::default();
        let declaring = |text: &str| Audience::Declaring(text.into());
        catalogs.learn(id.clone(), declaring(""), tools(&["echo", "twice", "twice"]));
        catalogs.learn(id.clone(), declaring("able"), tools(&["echo", "ask", "twice", "twice"]));
        let (registry, problems) = Registry::build(vec![server("a")], catalogs);
        assert_eq!(problems.len(), 1, "said once: {problems:?}");
        let named = |declared: &str, name: &str| {
            registry.listing(&id, declared).and_then(|listing| listing.named(CapabilityKind::Tool, name))
        };
        assert!(named("", "ask").is_none() && named("able", "ask").is_some());
        let echoes = [named("", "echo"), named("able", "echo")].map(|it| it.expect("offered").position);
        assert_eq!(echoes[0], echoes[1]);
        assert!(named("another", "echo").is_none(), "nobody has asked for it");
        assert!(registry.exposed(CapabilityKind::Tool, "a__echo").is_some(), "not ambiguous");
    }
}
