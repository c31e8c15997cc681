//! Definitions of tools, member by member as they were written.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::world::Client;

/// No list takes this long to be whole.
const PATIENCE: Duration = Duration::from_secs(120);

type Members = BTreeMap<String, Box<RawValue>>;

/// One tool.
#[derive(Debug)]
pub struct Definition {
    pub name: String,
    /// All but the name.
    members: Members,
}

impl Definition {
    /// Whether both say the same, to the byte, whatever they are called.
    pub fn is_like(&self, other: &Self) -> bool {
        let members = |it: &Self| -> Vec<_> {
            it.members.iter().map(|(name, value)| (name.clone(), value.get().to_owned())).collect()
        };
        members(self) == members(other)
    }
}

/// What a client is listed, once no server is missing from it.
pub async fn listed(client: &Client) -> Vec<Definition> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (definitions, missing) = list(client).await;
        if missing.is_null() {
            return definitions;
        }
        assert!(Instant::now() < deadline, "still missing: {missing}");
        println!("still missing: {missing}");
    }
}

/// Every page of a list, and which servers it lacks.
async fn list(client: &Client) -> (Vec<Definition>, Value) {
    let (mut definitions, mut params) = (Vec::new(), json!({}));
    loop {
        let answer = client.request("tools/list", params).await;
        definitions.extend(of(&answer.message()).unwrap_or_else(|| panic!("{}", answer.message())));
        let result = &answer.json()["result"];
        if result["nextCursor"].is_null() {
            return (definitions, result["_meta"]["dev.doorward/missing"].clone());
        }
        params = json!({"cursor": result["nextCursor"]});
    }
}

/// The tools of a message that lists some.
pub fn of(message: &str) -> Option<Vec<Definition>> {
    let member = |text: &str, name: &str| serde_json::from_str::<Members>(text).ok()?.remove(name);
    let result = member(message, "result")?;
    let tools: Vec<Members> = serde_json::from_str(member(result.get(), "tools")?.get()).ok()?;
    tools
        .into_iter()
        .map(|mut members| {
            let name = serde_json::from_str(members.remove("name")?.get()).ok()?;
            Some(Definition { name, members })
        })
        .collect()
}
