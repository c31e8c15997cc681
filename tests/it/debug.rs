//! `doorward debug`: how one call went, and what is logged about one server.

use std::fs;

use serde_json::{Value, json};

use crate::program::Program;
use crate::world::{ALICE, BOB, Client, Recorder, Speaks, World, configuration, doorward, eventually};

const POLICIES: &str = r#"policies:
  - id: staff
    name: Careful
    roles: [staff]
    rules:
      - {tool: delete_repository, action: deny}
      - {action: allow}
  - {id: guests, name: Guests, roles: [guest], rules: [{tool: "get_*", action: allow}]}
regoPolicies:
  - name: refunds
    source: |
      package refunds
      deny contains "more than 100" if { input.tool == "create_refund"; input.arguments.amount > 100 }
  - name: trial
    mode: shadow
    source: |
      package trial
      deny contains "not on this day" if input.tool == "echo"
"#;

/// What `debug trace --json` says of a call.
async fn traced(world: &World, call: &str) -> Value {
    let ran = doorward(&world.config_path(), &["debug", "trace", "--json", call]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.out).expect("JSON")
}

/// `kind policy says` of every policy that was asked.
fn said(trace: &Value) -> Vec<String> {
    let all = trace["policies"]["asked"].as_array().into_iter().flatten();
    all.map(|said| format!("{} {} {}", said["kind"], said["policy"], said["says"]).replace('"', "")).collect()
}

/// `+stage` or `xstage` of every stage that was reached.
fn stages(trace: &Value) -> String {
    let all = trace["stages"].as_array().into_iter().flatten();
    let mark = |stage: &Value| if stage["passed"] == true { "+" } else { "x" };
    let all: Vec<_> =
        all.map(|stage| format!("{}{}", mark(stage), stage["stage"].as_str().expect("a name"))).collect();
    all.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_traced_through_its_stages_its_policies_and_its_server() {
    let world = World::start(&["github"], POLICIES).await;
    let (alice, bob) = (world.modern("/mcp", ALICE), world.modern("/mcp", BOB));
    alice.call("github__echo", json!({"message": "hi"})).await;
    alice.call("github__create_refund", json!({"amount": 101})).await;
    bob.call("github__delete_repository", json!({})).await;
    let records = world.records();
    let id = |at: usize| records[at]["id"].as_str().expect("an id").to_owned();
    eventually("the call has ended", async || world.records()[0]["outcome"] == "success").await;

    let allowed = traced(&world, &id(0)).await;
    assert_eq!(stages(&allowed), "+identify +resolve +authorize +admit +record +send +settle");
    assert_eq!(
        said(&allowed),
        ["rules staff allow", "rules guests nothing", "rego refunds nothing", "rego trial deny"]
    );
    assert_eq!(allowed["policies"]["asked"][3]["mode"], "shadow");
    assert_eq!((&allowed["policies"]["agrees"], &allowed["policies"]["notes"]), (&json!(true), &json!([])));
    assert_eq!(allowed["stages"][2]["seen"]["shadow"], json!({"trial": "deny"}), "{allowed:#}");
    assert_eq!(allowed["attempts"][0]["outcome"], "success");
    let times = ["durationUs", "gatewayUs", "upstreamUs"].map(|key| allowed[key].as_u64().expect("a time"));
    assert_eq!(times[0], times[1] + times[2], "all of the time is the gateway's or the server's");

    let capped = traced(&world, &id(1)).await;
    assert_eq!(stages(&capped), "+identify +resolve xauthorize +record");
    assert_eq!(said(&capped)[2], "rego refunds deny");
    assert_eq!(capped["policies"]["asked"][2]["reasons"], json!(["more than 100"]));
    assert_eq!((&capped["attempts"], &capped["policies"]["agrees"]), (&json!([]), &json!(true)));
    let by_number = traced(&world, &capped["entry"].to_string()).await;
    assert_eq!(by_number["call"], capped["call"]);

    let default = traced(&world, &id(2)).await;
    assert_eq!(said(&default)[..2], ["rules staff nothing", "rules guests nothing"]);
    assert_eq!(default["stages"][2]["seen"]["reasons"][0], "default_deny");

    // The policies of today are not those that decided.
    let text = fs::read_to_string(world.config_path()).expect("text");
    fs::write(world.config_path(), text.replace("> 100", "> 1000")).expect("written");
    let changed = traced(&world, &id(1)).await;
    assert_eq!(changed["policies"]["agrees"], false);
    assert!(
        changed["policies"]["notes"][0].as_str().expect("a note").contains("changed since"),
        "{changed:#}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_is_not_accused_of_what_its_record_does_not_say() {
    let prompts =
        "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{prompt: '*', action: allow}]}\n";
    let everything = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}]}\n";
    for (rules, agrees) in [(prompts, Value::Null), (everything, json!(true))] {
        let world = World::start(&["github"], rules).await;
        let reference = json!({"type": "ref/prompt", "name": "github__review"});
        let params = json!({"ref": reference, "argument": {"name": "a", "value": "b"}});
        world.modern("/mcp", ALICE).request("completion/complete", params).await;
        let record = world.records().pop().expect("a record");
        assert_eq!((&record["verdict"], &record["tool"]), (&json!("allow"), &json!("review")));
        let trace = traced(&world, record["id"].as_str().expect("an id")).await;
        let policies = &trace["policies"];
        assert_eq!(policies["agrees"], agrees, "{policies:#}");
        let notes = policies["notes"].to_string();
        assert_eq!(notes.contains("a prompt or a resource template"), agrees.is_null(), "{notes}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_for_people_obeys_nobody_and_a_call_that_is_not_there_is_said_so() {
    let world = World::start(&["github"], POLICIES).await;
    world.legacy("/mcp/github", ALICE).await.call("\u{1b}[31mred", json!({})).await;
    let id = world.records()[0]["id"].as_str().expect("an id").to_owned();
    let shown = doorward(&world.config_path(), &["debug", "trace", &id]).await;
    assert!(shown.out.contains(r"\u{1b}[31mred") && !shown.out.contains('\u{1b}'), "{shown:?}");
    assert!(shown.out.contains("x authorize"), "{shown:?}");
    assert!(shown.out.contains("after the policies had been asked"), "{shown:?}");
    world.modern("/mcp", ALICE).call("nowhere__tool", json!({})).await;
    let nowhere = world.records()[1]["id"].as_str().expect("an id").to_owned();
    let shown = doorward(&world.config_path(), &["debug", "trace", &nowhere]).await;
    assert!(shown.out.contains("x resolve"), "{shown:?}");
    assert!(shown.out.contains("before any policy was asked"), "{shown:?}");
    let other = format!("{}{}", &id[..35], if id.ends_with('0') { '1' } else { '0' });
    for (call, code) in [(other.as_str(), 1), ("4711", 1), ("no-call", 2)] {
        let ran = doorward(&world.config_path(), &["debug", "trace", call]).await;
        assert_eq!(ran.code, Some(code), "{call}: {ran:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_is_logged_about_more_and_less_while_the_gateway_runs() {
    let recorders =
        [Recorder::start("github", Speaks::Modern).await, Recorder::start("gitlab", Speaks::Modern).await];
    let folder = tempfile::tempdir().expect("a folder");
    let (config, log) = (folder.path().join("gateway.yaml"), folder.path().join("log"));
    fs::write(&config, configuration(folder.path(), &recorders, POLICIES)).expect("written");
    let level = async |words: &[&str]| doorward(&config, &[&["debug", "level"], words].concat()).await;
    assert_eq!(level(&[]).await.code, Some(3), "nobody is there");

    let program = Program::start(&config, &log, &[]).await;
    let client = Client::modern(program.address, "/mcp", ALICE);
    // How many answers of each server have been logged, after one call of each.
    let logged = async || {
        for server in ["github", "gitlab"] {
            let answer = client.call(&format!("{server}__get_issue"), json!({})).await;
            assert_eq!(answer.summary(), "200 ok");
        }
        let text = fs::read_to_string(&log).expect("a log");
        let about = |server: &str| {
            let named = format!("server={server} ");
            text.lines().filter(|line| line.contains("tools/call") && line.contains(&named)).count()
        };
        (about("github"), about("gitlab"))
    };
    assert_eq!(logged().await, (0, 0));
    assert_eq!(level(&["github", "debug"]).await.out, "github               debug\n");
    assert_eq!(logged().await, (1, 0));
    let shown: Value = serde_json::from_str(&level(&["--json"]).await.out).expect("JSON");
    assert_eq!(shown, json!({"github": "debug"}));
    assert_eq!(level(&["gitlab", "trace"]).await.code, Some(0));
    assert_eq!(level(&["github", "off"]).await.code, Some(0));
    assert_eq!(logged().await, (1, 1));
    assert_eq!(level(&["github", "usual"]).await.code, Some(0));
    assert_eq!(level(&["gitlab", "usual"]).await.out, "as much as usual is logged about every server\n");
    assert_eq!(logged().await, (1, 1));

    assert_eq!(level(&["nobody", "debug"]).await.code, Some(1));
    assert_eq!(level(&["github"]).await.code, Some(2));
    assert_eq!(level(&["github", "loud"]).await.code, Some(2));
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_a_server_lets_a_call_wait_is_its_own() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    recorder.offer("hang");
    let folder = tempfile::tempdir().expect("a folder");
    let servers = format!(
        "servers:\n  - {{id: github, url: \"{}\", enabled: true, timeout: 600}}\n{POLICIES}",
        recorder.url()
    );
    let config = folder.path().join("gateway.yaml");
    fs::write(&config, configuration(folder.path(), &[], &servers)).expect("written");
    let running = doorward::runtime::start(&config, crate::world::system()).await.expect("it starts");
    let alice = Client::modern(running.address(), "/mcp", ALICE);
    assert_eq!(alice.call("github__hang", json!({})).await.json()["result"]["isError"], true);
    let filter = doorward_ledger::Filter { limit: 1, ..Default::default() };
    running.gateway().ledger().flush_index().expect("the index catches up");
    let rows = running.gateway().ledger().query(&filter).expect("the log can be read");
    assert_eq!(rows[0].outcome.as_deref(), Some("timeout"));
    let ran = doorward(&config, &["debug", "trace", "--json", &rows[0].call]).await;
    let trace: Value = serde_json::from_str(&ran.out).expect("JSON");
    let [own, theirs] = ["gatewayUs", "upstreamUs"].map(|key| trace[key].as_u64().expect("a time"));
    assert!(theirs >= 600_000 && own < 500_000, "{own} here, {theirs} there");
    let metrics = Client::modern(running.address(), "/metrics", ALICE);
    let metrics = metrics.raw(hyper::Method::GET, &metrics.headers(), Default::default()).await;
    let text = String::from_utf8_lossy(&metrics.body);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    };
    let labels = r#"{server="github",tool="hang",method="tools/call"}"#;
    assert!(value(&format!("doorward_upstream_duration_seconds_sum{labels}")) >= 0.6);
    assert!(value("doorward_gateway_overhead_seconds_sum") < 0.5);
    running.stop().await;
}
