//! What is claimed of every client, whichever it is.

use std::collections::BTreeSet;

use serde_json::json;

use super::script::{Call, DENIED, Fate, calls};
use super::sent;
use super::stage::Stage;
use crate::world::model::{Model, Told};
use crate::world::{entries, page};

/// What is particular about a client.
pub struct Client {
    /// As the page about clients has it.
    pub name: &'static str,
    /// What it says that it is, and of which version.
    pub label: (&'static str, &'static str),
    /// What it calls a tool of a door.
    pub tool: fn(&str, &str) -> String,
    /// What it says of a tool that it was not offered.
    pub unknown: &'static str,
    /// Whether it asks the gateway for such a tool all the same.
    pub asks: bool,
    /// Whether it can be asked for a form.
    pub forms: bool,
}

/// What a client, or its model, was offered and told.
pub struct Played {
    pub offered: BTreeSet<String>,
    pub told: Vec<Told>,
}

impl From<&Model> for Played {
    fn from(model: &Model) -> Self {
        Self { offered: model.offered(), told: model.told() }
    }
}

/// Everything that is claimed; says what the client sent, and ends the world.
pub async fn check(stage: Stage, client: &Client, played: &Played) {
    stage.front.left().await;
    let all: Vec<_> = calls().into_iter().zip(&played.told).collect();
    let matrix = matrix(client, &all);
    println!("{matrix}");
    for (call, told) in &all {
        assert!(fits(client, *call, told), "{}: {call:?}: {told:?}", client.name);
        let is_offered = played.offered.contains(&(client.tool)(call.door, &call.tool()));
        assert_eq!(is_offered, call.fate != Fate::Hidden, "{}: {call:?}: {:?}", client.name, played.offered);
    }
    assert_eq!(all.len(), calls().len(), "{}", client.name);
    let form = (client.tool)("all", "old__form_name");
    assert_eq!(played.offered.contains(&form), client.forms, "{}: who fills in forms sees it", client.name);
    for server in [&stage.old, &stage.new] {
        assert_eq!(server.calls(), ["echo"; 3], "{}: {} receives what is allowed", client.name, server.name);
    }
    check_records(&stage, client);
    page::has("clients.md", &[matrix, sent::row(&stage, client)]);
    stage.world.stop().await;
}

/// Whether a client was told what is to become of a call, in words that it can act on.
fn fits(client: &Client, call: Call, told: &Told) -> bool {
    // Some clients show their model the JSON of an answer, some set it anew.
    let plain = |text: &str| text.replace(['\\', '\n', ' '], "");
    let (says, fails) = match call.fate {
        Fate::Allowed => (format!("\"via\":\"{}\"", call.door), false),
        Fate::Denied => (DENIED.to_owned(), true),
        Fate::Hidden => (client.unknown.to_owned(), true),
    };
    plain(&told.text).contains(&plain(&says)) && told.is_error.is_none_or(|is_error| is_error == fails)
}

/// The client's row of the matrix: for each surface and each era of servers, whether it was told
/// the right thing of an allowed call, a denied and a hidden one.
fn matrix(client: &Client, all: &[(Call, &Told)]) -> String {
    let cell = |doors: &[&str], server: &str| {
        let here = all.iter().filter(|(call, _)| doors.contains(&call.door) && call.server == server);
        let marks = here.map(|(call, told)| if fits(client, *call, told) { "✓" } else { "✗" });
        marks.collect::<Vec<_>>().join(" ")
    };
    let surfaces: [&[&str]; 3] = [&["all"], &["old", "new"], &["pipe"]];
    let cells = surfaces.iter().flat_map(|doors| ["old", "new"].map(|server| cell(doors, server)));
    format!("| {} | {} |", client.name, cells.collect::<Vec<_>>().join(" | "))
}

/// Every call that reached the gateway is recorded under its caller, its client and its verdict.
fn check_records(stage: &Stage, client: &Client) {
    let mut recorded: Vec<_> = stage
        .world
        .records()
        .iter()
        .map(|row| {
            ["origin", "serverId", "tool", "verdict", "outcome"]
                .map(|name| row[name].as_str().expect("a word").to_owned())
        })
        .collect();
    let mut expected: Vec<_> = calls()
        .into_iter()
        .filter(|call| client.asks || call.fate != Fate::Hidden)
        .map(|call| {
            let origin = if call.door == "pipe" { "stdio" } else { "mcp" };
            let (verdict, outcome) = match call.fate {
                Fate::Allowed => ("allow", "success"),
                Fate::Denied => ("deny", "denied"),
                Fate::Hidden => ("hide", "denied"),
            };
            [origin, call.server, call.target(), verdict, outcome].map(str::to_owned)
        })
        .collect();
    // Some clients make several calls at once.
    recorded.sort();
    expected.sort();
    assert_eq!(recorded, expected, "{}", client.name);
    let decided = entries(stage.world.folder.path()).into_iter().filter(|entry| entry["verdict"].is_string());
    for entry in decided {
        let of = (&entry["consumer"], &entry["client"], &entry["client_version"]);
        let (name, version) = client.label;
        assert_eq!(of, (&json!("alice"), &json!(name), &json!(version)), "{entry}");
    }
}
