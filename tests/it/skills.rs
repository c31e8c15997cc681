//! Skills: served on the endpoint of their server, and decided on by URI.

use serde_json::{Value, json};

use crate::world::everything::Pipes;
use crate::world::{ALICE, BOB, Client, World};

const EXTENSION: &str = "io.modelcontextprotocol/skills";
const GREETING: &str = "skill://greeting/SKILL.md";
const COUNTING: &str = "skill://counting/SKILL.md";
/// Staff may have one of the two skills, guests anything but skills.
const RULES: &str = "policies:
  - {id: staff, name: Staff, roles: [staff], rules: [{resource: \"skill://greeting*\", action: allow}]}
  - {id: guest, name: Guest, roles: [guest], rules: [{tool: echo, action: allow}]}
";

struct Place {
    pipes: Pipes,
    world: World,
}

impl Place {
    async fn new(rules: &str) -> Self {
        let pipes = Pipes::new("modern");
        let world = World::start(&[], &format!("{rules}{}", pipes.section())).await;
        Self { pipes, world }
    }

    fn client(&self, path: &str, key: &str) -> Client {
        self.world.modern(path, key).able(json!({"extensions": { EXTENSION: {} }}))
    }

    /// What the server was asked about skills.
    fn heard(&self) -> Vec<Value> {
        let is_of_skills = |message: &Value| {
            let method = message["method"].as_str().unwrap_or_default();
            method.starts_with("skills/") || method == "resources/directory/read"
        };
        self.pipes.heard().into_iter().filter(is_of_skills).collect()
    }
}

async fn ask(client: &Client, method: &str, params: Value) -> Value {
    client.request(method, params).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_the_skills_that_policy_allows_it() {
    let place = Place::new(RULES).await;
    let alice = place.client("/mcp/every", ALICE);
    let declared = ask(&alice, "server/discover", json!({})).await["result"]["capabilities"].clone();
    assert_eq!(declared["extensions"][EXTENSION], json!({"directoryRead": true}), "{declared}");

    let first = ask(&alice, "skills/list", json!({})).await["result"].clone();
    assert_eq!(first["skills"][0]["uri"], GREETING, "{first}");
    assert_eq!(first["skills"][0]["frontmatter"]["name"], "greeting");
    assert_eq!((&first["resultType"], &first["cacheScope"]), (&json!("complete"), &json!("private")));
    let cursor = first["nextCursor"].clone();
    assert!(cursor.as_str().is_some_and(|cursor| cursor.len() > 20), "the server's own is `1`: {cursor}");
    let second = ask(&alice, "skills/list", json!({ "cursor": cursor })).await["result"].clone();
    assert_eq!((&second["skills"], second.get("nextCursor")), (&json!([]), None), "{second}");

    let got = ask(&alice, "skills/get", json!({ "uri": GREETING })).await["result"]["skill"].clone();
    assert_eq!(got, first["skills"][0], "as it is listed");
    let folder = ask(&alice, "resources/directory/read", json!({"uri": "skill://greeting"})).await;
    assert_eq!(folder["result"]["resources"][1]["mimeType"], "inode/directory", "{folder}");
    let read = ask(&alice, "resources/read", json!({ "uri": GREETING })).await;
    assert!(read["result"]["contents"][0]["text"].as_str().is_some_and(|text| text.contains("Say hello")));

    let asked = place.heard();
    let methods: Vec<_> =
        asked.iter().map(|message| message["method"].as_str().unwrap_or_default()).collect();
    assert_eq!(methods, ["skills/list", "skills/list", "skills/get", "resources/directory/read"]);
    assert_eq!(asked[1]["params"]["cursor"], "1", "its own cursor comes back to the server");
    let capabilities = &asked[0]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*capabilities, json!({"extensions": { EXTENSION: {} }}));

    let denied = ask(&alice, "skills/get", json!({ "uri": COUNTING })).await["error"].clone();
    assert_eq!(denied["code"], -31403, "{denied}");
    assert_eq!(place.heard().len(), asked.len(), "the server was not asked");
    let records: Vec<_> = place
        .world
        .records()
        .iter()
        .map(|record| {
            format!("{} {} {}", record["operation"], record["tool"], record["verdict"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        records,
        [
            format!("skills/get {GREETING} allow"),
            "resources/directory/read skill://greeting allow".to_owned(),
            format!("resources/read {GREETING} allow"),
            format!("skills/get {COUNTING} deny"),
        ]
    );
    place.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_for_whoever_was_shown_the_one_before_it() {
    let rules = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";
    let place = Place::new(rules).await;
    let (alice, bob) = (place.client("/mcp/every", ALICE), place.client("/mcp/every", BOB));
    let cursor = ask(&alice, "skills/list", json!({})).await["result"]["nextCursor"].clone();
    for foreign in [cursor.clone(), json!("1"), json!(1)] {
        let refused = ask(&bob, "skills/list", json!({ "cursor": foreign })).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    assert_eq!(place.heard().len(), 1, "no foreign cursor reached the server");
    let second = ask(&alice, "skills/list", json!({ "cursor": cursor })).await;
    assert_eq!(second["result"]["skills"][0]["uri"], COUNTING);
    let missing = ask(&bob, "skills/get", json!({"uri": "skill://nothing/SKILL.md"})).await;
    assert_eq!(missing["error"]["code"], -32602, "as the server says");
    place.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_there_are_no_such_methods() {
    let place = Place::new(RULES).await;
    let unknown = |answer: &crate::world::Answer| (answer.status, answer.json()["error"]["code"].as_i64());
    for method in ["skills/list", "skills/get", "resources/directory/read"] {
        let uri = json!({ "uri": GREETING });
        let aggregate = place.client("/mcp", ALICE).request(method, uri.clone()).await;
        assert_eq!(unknown(&aggregate), (404, Some(-32601)), "{method} on the aggregate");
        let session = place.world.legacy("/mcp/every", ALICE).await.request(method, uri.clone()).await;
        assert_eq!(unknown(&session), (200, Some(-32601)), "{method} in a session");
        let nowhere = place.client("/mcp/nobody", ALICE).request(method, uri).await;
        assert_eq!(unknown(&nowhere), (404, Some(-32601)), "{method} where there is no server");
    }
    let declared = ask(&place.client("/mcp", ALICE), "server/discover", json!({})).await;
    assert!(declared["result"]["capabilities"]["extensions"].get(EXTENSION).is_none(), "{declared}");
    let none = ask(&place.client("/mcp/every", BOB), "skills/list", json!({})).await;
    assert_eq!(none["result"]["skills"], json!([]), "guests may have tools only: {none}");
    place.world.stop().await;
}
