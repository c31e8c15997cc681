//! Clients of either era: two that may call everything, and two that are denied a tool of each
//! server.

use serde_json::{Value, json};

use super::definitions::{self, Definition};
use super::entry::{Entry, Says};
use crate::program::Program;
use crate::world::{ALICE, Answer, BOB, Client};

pub struct Clients {
    staff: [Client; 2],
    guests: [Client; 2],
}

impl Clients {
    pub async fn of(gateway: &Program) -> Self {
        let of = async |key| {
            let legacy = Client::legacy(gateway.address, "/mcp", key, "2025-11-25").await;
            [legacy, Client::modern(gateway.address, "/mcp", key)]
        };
        Self { staff: of(ALICE).await, guests: of(BOB).await }
    }

    /// All calls of one server.
    pub async fn call(&self, entry: &Entry) {
        for client in &self.staff {
            let mut last = None;
            for (tool, arguments) in &entry.calls {
                last = Some(client.call(&format!("{}__{tool}", entry.id), arguments.clone()).await);
            }
            check(entry, &last.expect("a call"));
        }
        for client in &self.guests {
            let denied = client.call(&format!("{}__{}", entry.id, entry.denied), json!({})).await;
            assert!(denied.text().starts_with("[POLICY DENIED]"), "{}: {}", entry.id, denied.text());
        }
    }

    /// What each of those that may call everything is listed.
    pub async fn list(&self) -> Vec<Vec<Definition>> {
        let mut lists = Vec::new();
        for client in &self.staff {
            lists.push(definitions::listed(client).await);
        }
        lists
    }
}

/// What the gateway says of its servers.
pub async fn status(gateway: &Program) -> Value {
    let answer =
        Client::modern(gateway.address, "/mcp/_gateway", ALICE).call("server_status", json!({})).await;
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn check(entry: &Entry, answer: &Answer) {
    let (id, json) = (entry.id, answer.json());
    let failed = json["result"]["isError"] == true;
    let (said, is_right) = match entry.says {
        Says::Result(said) | Says::Words(said) => (said, json["result"].is_object() && !failed),
        Says::Failure(said) => (said, failed),
        Says::Error(said) => (said, json["error"].is_object()),
    };
    assert!(is_right && answer.text().contains(said), "{id}: {json}");
}
