//! The names that servers offer, for whoever holds the configuration against them: the program
//! itself, and its user over the socket. Names only, and only of lists that are known and whole;
//! no server is asked for it.

use std::collections::BTreeMap;

use doorward_model::{CapabilityKind, Gap};
use serde_json::{Map, Value, json};

use super::preface::{Foreign, VERSION};
use crate::snapshot::Snapshot;

/// What one server offers, to whomever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Names of its tools; `None` unless all are known.
    pub tools: Option<Vec<String>>,
    /// Names of its prompts; `None` unless all are known.
    pub prompts: Option<Vec<String>>,
    /// Whether it is known to offer neither resources nor templates of resources.
    pub is_without_resources: bool,
}

/// What all servers offer, by id.
pub type Offers = BTreeMap<String, Offered>;

/// What all servers offer, as far as it is known.
pub fn offers(snapshot: &Snapshot) -> Offers {
    let registry = &snapshot.registry;
    let each = registry.servers().iter().map(|server| {
        let listings = registry.listings(&server.id);
        let names = |kind: CapabilityKind| {
            // A gap that will not pass hides names as well as one that does.
            let is_known = |gaps: &[Gap]| !gaps.iter().any(|gap| gap.kind == kind);
            if listings.is_empty() || !listings.iter().all(|listing| is_known(&listing.catalog.gaps)) {
                return None;
            }
            let definitions = listings.iter().flat_map(|listing| listing.catalog.of(kind));
            let mut names: Vec<_> = definitions.map(|definition| definition.name.to_string()).collect();
            names.sort_unstable();
            names.dedup();
            Some(names)
        };
        let has_none = |kind| names(kind).is_some_and(|names| names.is_empty());
        let offered = Offered {
            tools: names(CapabilityKind::Tool),
            prompts: names(CapabilityKind::Prompt),
            is_without_resources: has_none(CapabilityKind::Resource)
                && has_none(CapabilityKind::ResourceTemplate),
        };
        (server.id.to_string(), offered)
    });
    each.collect()
}

/// The line that the question about names is answered with.
pub(super) fn answer(offers: &Offers) -> String {
    let one = |offered: &Offered| {
        json!({
            "tools": offered.tools,
            "prompts": offered.prompts,
            "isWithoutResources": offered.is_without_resources,
        })
    };
    let offers: Map<String, Value> = offers.iter().map(|(id, offered)| (id.clone(), one(offered))).collect();
    format!("{}\n", json!({"doorward": VERSION, "offers": offers}))
}

/// Reads the line that the question about names is answered with.
///
/// # Errors
/// [`Foreign`] when it is none: a gateway of an older version, for one.
pub fn read_offers(line: &[u8]) -> Result<Offers, Foreign> {
    let answer: Value = serde_json::from_slice(line).map_err(|_| Foreign)?;
    if answer["doorward"] != VERSION {
        return Err(Foreign);
    }
    let names = |value: &Value| match value {
        Value::Null => Ok(None),
        Value::Array(names) => names
            .iter()
            .map(|name| Some(name.as_str()?.to_owned()))
            .collect::<Option<_>>()
            .map(Some)
            .ok_or(Foreign),
        _ => Err(Foreign),
    };
    let offered = |(id, value): (&String, &Value)| {
        let offered = Offered {
            tools: names(&value["tools"])?,
            prompts: names(&value["prompts"])?,
            is_without_resources: value["isWithoutResources"].as_bool().ok_or(Foreign)?,
        };
        Ok((id.clone(), offered))
    };
    answer["offers"].as_object().ok_or(Foreign)?.iter().map(offered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_arrive_as_they_are_and_other_answers_are_none() {
        let known = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let git =
            Offered { tools: known(&["git_log", "a\n\"b"]), prompts: known(&[]), is_without_resources: true };
        let offers: Offers = [("git".to_owned(), git), ("new".to_owned(), Offered::default())].into();
        let line = answer(&offers);
        assert_eq!(line.matches('\n').count(), 1, "one line: {line}");
        assert_eq!(read_offers(line.as_bytes()), Ok(offers));
        for foreign in [
            r#"{"doorward":1,"refused":"preface"}"#,
            r#"{"doorward":2,"offers":{}}"#,
            r#"{"doorward":1,"offers":{"s":{"tools":[1],"isWithoutResources":true}}}"#,
            r#"{"doorward":1,"offers":{"s":{"tools":"x","isWithoutResources":true}}}"#,
            "",
        ] {
            assert_eq!(read_offers(foreign.as_bytes()), Err(Foreign), "{foreign}");
        }
    }
}
