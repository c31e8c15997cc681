//! The picture of all servers and capabilities at one moment.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use doorward_model::{Audience, CapabilityKind, Catalog, Definition, Map, ServerId};

use crate::capability::{Capability, Unusable};
use crate::catalogs::Catalogs;
use crate::problem::{Problem, Trouble};
use crate::server::Server;

/// Servers in configuration order, each with what it offered when last asked.
#[derive(Debug, Default)]
pub struct Registry {
    servers: Vec<Arc<Server>>,
    catalogs: Catalogs,
    all: Vec<Arc<Capability>>,
    listings: Map<ServerId, Vec<Listing>>,
    by_exposed: Map<CapabilityKind, Map<Arc<str>, Arc<Capability>>>,
    /// Names that several capabilities would have on the aggregate endpoint.
    contested: Map<CapabilityKind, HashSet<Arc<str>>>,
    problems: Vec<Problem>,
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

impl Registry {
    /// Builds the picture.
    pub fn build(servers: Vec<Arc<Server>>, catalogs: Catalogs) -> Self {
        let mut registry = Self { servers, ..Self::default() };
        for server in &registry.servers {
            let mut listings = Vec::new();
            let mut read = Definitions { server, all: &mut registry.all, known: Map::default() };
            for (audience, catalog) in catalogs.of(&server.id) {
                let (listing, mut found) = Listing::read(audience, catalog, &mut read);
                // Most of what one audience is offered, others are as well.
                found.retain(|problem| !registry.problems.contains(problem));
                registry.problems.extend(found);
                listings.push(listing);
            }
            registry.listings.insert(server.id.clone(), listings);
        }
        registry.expose();
        registry.catalogs = catalogs;
        registry
    }

    fn expose(&mut self) {
        let listings = self.servers.iter().filter_map(|server| self.listings.get(&server.id)).flatten();
        for capability in listings.flat_map(|listing| &listing.offered) {
            let names = self.by_exposed.entry(capability.kind).or_default();
            match names.get(&capability.exposed) {
                // The same, as another audience has it.
                Some(first) if is_same(first, capability) => {}
                Some(first) => {
                    let contested = self.contested.entry(capability.kind).or_default();
                    contested.insert(Arc::clone(&capability.exposed));
                    for problem in [ambiguous(first, capability), ambiguous(capability, first)] {
                        if !self.problems.contains(&problem) {
                            self.problems.push(problem);
                        }
                    }
                }
                None => {
                    names.insert(Arc::clone(&capability.exposed), Arc::clone(capability));
                }
            }
        }
        for (kind, contested) in &self.contested {
            if let Some(names) = self.by_exposed.get_mut(kind) {
                names.retain(|exposed, _| !contested.contains(exposed));
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

    /// The server that is called this in names of the gateway's making.
    pub fn in_names(&self, name: &ServerId) -> Option<&Arc<Server>> {
        self.servers.iter().find(|server| *server.id.in_names() == *name.as_str())
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

    /// What is wrong with what servers offer, in the order of the servers.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether the aggregate endpoint offers this: nothing else would have the same name there.
    pub fn is_exposed(&self, capability: &Capability) -> bool {
        !self.is_contested(capability.kind, &capability.exposed)
    }

    /// Whether several capabilities would have this name on the aggregate endpoint.
    pub fn is_contested(&self, kind: CapabilityKind, exposed: &str) -> bool {
        self.contested.get(&kind).is_some_and(|names| names.contains(exposed))
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

    /// Whether all of this kind is here, as far as anybody can find out.
    pub fn is_whole(&self, kind: CapabilityKind) -> bool {
        self.catalog.is_whole(kind)
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
        let server = definitions.server.id.clone();
        let problem = |kind, name: Option<&Arc<str>>, trouble| Problem {
            server: server.clone(),
            kind,
            name: name.cloned(),
            trouble,
        };
        let gaps = catalog.gaps.iter();
        let mut problems: Vec<_> =
            gaps.map(|gap| problem(gap.kind, None, Trouble::Incomplete(Arc::clone(&gap.why)))).collect();
        let mut offered: Vec<Arc<Capability>> = Vec::new();
        let mut by_name: Map<_, Map<_, _>> = Map::default();
        let mut contested = Vec::new();
        for definition in &catalog.definitions {
            let (kind, name) = (definition.kind, Some(&definition.name));
            let capability = match definitions.read(definition) {
                Ok(capability) => capability,
                Err(unusable) => {
                    let trouble = match unusable {
                        Unusable::Unreadable => Trouble::Unreadable,
                        Unusable::Malformed(why) => Trouble::Malformed(why),
                        Unusable::Headers => Trouble::Headers,
                    };
                    problems.push(problem(kind, name, trouble));
                    continue;
                }
            };
            if let Some(changes) = &capability.mended {
                problems.push(problem(kind, name, Trouble::Mended(changes.clone())));
            }
            let names = by_name.entry(kind).or_default();
            if names.insert(Arc::clone(&capability.name), Arc::clone(&capability)).is_some() {
                contested.push((kind, Arc::clone(&capability.name)));
                problems.push(problem(kind, name, Trouble::Repeated));
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

fn is_same(one: &Capability, other: &Capability) -> bool {
    one.server.id == other.server.id && one.name == other.name
}

fn ambiguous(capability: &Capability, other: &Capability) -> Problem {
    let other = format!("`{}` of server `{}`", other.name, other.server.id);
    Problem {
        server: capability.server.id.clone(),
        kind: capability.kind,
        name: Some(Arc::clone(&capability.name)),
        trouble: Trouble::Ambiguous { exposed: Arc::clone(&capability.exposed), other },
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
            address: String::new(),
            enabled: true,
            lacking: Vec::new(),
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
                raw: Bytes::from(format!(
                    r#"{{"x":1, "name" : "{name}","inputSchema":{{"type":"object","name":"name"}}}}"#
                )),
            })
            .collect();
        Arc::new(Catalog { definitions, ..Catalog::default() })
    }

    fn picture(offers: &[(&str, &[&str])]) -> Registry {
        let servers = offers.iter().map(|(id, _)| server(id)).collect();
        let mut catalogs = Catalogs::default();
        for (id, names) in offers {
            catalogs.learn(ServerId::try_from(*id).expect("valid id"), Audience::Everybody, tools(names));
        }
        Registry::build(servers, catalogs)
    }

    #[test]
    fn a_tool_is_found_by_both_names_and_renamed_without_touching_the_rest() {
        let registry = picture(&[("a", &["echo", "delete_all"]), ("b", &["echo"])]);
        assert_eq!(registry.problems(), []);
        let tool = registry.exposed(CapabilityKind::Tool, "b__echo").expect("offered");
        assert_eq!((tool.server.id.as_str(), tool.name.as_ref()), ("b", "echo"));
        assert_eq!(
            tool.aggregate,
            r#"{"x":1, "name" : "b__echo","inputSchema":{"type":"object","name":"name"}}"#
        );
        let listing = registry.listing(&tool.server.id, "{}").expect("heard of");
        assert!(listing.named(CapabilityKind::Tool, "echo").is_some());
        assert!(registry.exposed(CapabilityKind::Prompt, "b__echo").is_none(), "another kind");
        assert!(!tool.server.offers(CapabilityKind::Tool, "delete_all"));
    }

    #[test]
    fn what_is_ambiguous_is_offered_to_nobody() {
        let registry = picture(&[("a", &["echo", "twice", "twice", "twice"])]);
        assert_eq!(registry.problems().len(), 2, "{:?}", registry.problems());
        assert!(registry.exposed(CapabilityKind::Tool, "a__twice").is_none());
        assert_eq!(registry.listings(&ServerId::try_from("a").expect("valid"))[0].offered.len(), 1);
        assert!(registry.exposed(CapabilityKind::Tool, "a__echo").is_some());
    }

    #[test]
    fn a_name_that_two_of_them_would_have_is_offered_for_neither() {
        let namesake = crate::name::exposed(&server("a").id, CapabilityKind::Tool, "x.y");
        let own = namesake.strip_prefix("a__").expect("prefixed");
        let registry = picture(&[("a", &["x.y", own, "echo"])]);
        let said: Vec<_> = registry.problems().iter().map(Problem::to_string).collect();
        let ending = "neither is offered under that name";
        assert_eq!(
            said,
            [
                format!(
                    "server `a`: tool `x.y`: it would be called `{namesake}`, and so would `{own}` of server `a`; {ending}"
                ),
                format!(
                    "server `a`: tool `{own}`: it would be called `{namesake}`, and so would `x.y` of server `a`; {ending}"
                ),
            ]
        );
        assert!(registry.exposed(CapabilityKind::Tool, &namesake).is_none());
        let offered = &registry.listings(&server("a").id)[0].offered;
        let exposed =
            |name: &str| offered.iter().find(|it| *it.name == *name).map(|it| registry.is_exposed(it));
        assert_eq!([exposed("x.y"), exposed(own), exposed("echo")], [Some(false), Some(false), Some(true)]);
    }

    #[test]
    fn one_malformed_definition_touches_no_other() {
        let mut catalog = Catalog::default();
        for (name, raw) in [
            ("fine", r#"{"name":"fine","inputSchema":{"type":"object"}}"#),
            ("odd", r#"{"name":"odd","title":null,"inputSchema":{"type":"object"}}"#),
            ("bad", r#"{"name":"bad","inputSchema":{"type":"string"}}"#),
        ] {
            let raw = Bytes::from(raw);
            catalog.definitions.push(Definition { kind: CapabilityKind::Tool, name: name.into(), raw });
        }
        let why = Arc::from("it refused");
        catalog.gaps.push(doorward_model::Gap { kind: CapabilityKind::Prompt, why, is_passing: true });
        let id = ServerId::try_from("a").expect("valid");
        let mut catalogs = Catalogs::default();
        catalogs.learn(id.clone(), Audience::Everybody, Arc::new(catalog));
        let registry = Registry::build(vec![server("a")], catalogs);
        let offered: Vec<_> = registry.listings(&id)[0].offered.iter().map(|it| it.raw.clone()).collect();
        assert_eq!(
            offered,
            [
                r#"{"name":"fine","inputSchema":{"type":"object"}}"#,
                r#"{"name":"odd","inputSchema":{"type":"object"}}"#
            ]
        );
        let said: Vec<_> = registry.problems().iter().map(Problem::what).collect();
        assert_eq!(
            said,
            [
                "prompts/list: it refused",
                "tool `odd`: its definition is malformed and was mended: `title` was null",
                "tool `bad`: its definition is malformed: `inputSchema.type` is not `object`; it is left out",
            ]
        );
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
        let registry = Registry::build(vec![server("a")], catalogs);
        assert_eq!(registry.problems().len(), 4);
        assert!(registry.listings(&id)[0].offered.is_empty());
    }

    #[test]
    fn each_audience_has_a_list_of_its_own_and_a_definition_in_several_is_one() {
        let id = ServerId::try_from("a").expect("valid");
        let mut catalogs = Catalogs::default();
        let declaring = |text: &str| Audience::Declaring(text.into());
        catalogs.learn(id.clone(), declaring(""), tools(&["echo", "twice", "twice"]));
        catalogs.learn(id.clone(), declaring("able"), tools(&["echo", "ask", "twice", "twice"]));
        let registry = Registry::build(vec![server("a")], catalogs);
        assert_eq!(registry.problems().len(), 1, "said once: {:?}", registry.problems());
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
