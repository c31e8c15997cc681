//! Whoever reads what a server received, reads what was decided on and recorded: five readers of
//! JSON that servers use, and two manners of reading that some of them have had.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::world::http::insert;
use crate::world::{ALICE, Client, STAFF_MAY_ALL, Speaks, World, doorward, ecosystem};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

/// Arguments that every reader takes for the same.
const ALIKE: [&str; 40] = [
    "{}",
    " \t\r\n{ \t\r\n}",
    r#"{"a":1}"#,
    r#"{"a":1.0}"#,
    r#"{"a":-0}"#,
    r#"{"a":-0.0}"#,
    r#"{"a":1e2,"b":1E+2,"c":100}"#,
    r#"{"a":1e-400}"#,
    r#"{"a":5e-324,"b":1.7976931348623157e308}"#,
    r#"{"a":0.1000000000000000055511151231257827021181583404541015625}"#,
    r#"{"a":9007199254740991,"b":-9007199254740991}"#,
    r#"{"a":9007199254740990.5}"#,
    r#"{"a":1e21}"#,
    r#"{"\u0061":1,"b":2}"#,
    r#"{"a":"\u0076","b":"v"}"#,
    r#"{"a":"\/","b":"\\\"\b\f\n\r\t"}"#,
    r#"{"a":"\u0000\u001b[31m\u007f\u0080"}"#,
    r#"{"a":"\ud83d\ude00","b":"😀"}"#,
    "{\"a\":\"\u{2028}\u{2029}\u{feff}\u{202e}\u{200b}\"}",
    "{\"\u{e9}\":1,\"e\u{301}\":2}",
    "{\"a\":1,\"\u{430}\":2,\"a\u{200b}\":3,\"\u{ff41}\":4}",
    r#"{"name":"a","Name":"b","NAME":"c"}"#,
    r#"{"arguments":{"a":1},"method":"tools/list","id":7}"#,
    r#"{"s":1,"\u017f":2,"k":3,"\u212a":4}"#,
    r#"{"":1," ":2}"#,
    r#"{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}"#,
    r#"{"toString":1,"hasOwnProperty":2,"length":3}"#,
    r##"{"$ref":"x","@type":"y","#":"z"}"##,
    r#"{"1":1,"01":2,"10":3,"9":4}"#,
    r#"{"a":[[],{},[[]],"",0,false,null]}"#,
    r#"{"a":[1,2.5,"x",true,{"b":[{"c":[]}]}]}"#,
    r#"{"a":"NaN","b":"Infinity","c":"9007199254740993"}"#,
    r#"{"a":"<!-- -->","b":"/* */","c":"//"}"#,
    r#"{"a":"=?base64?YQ==?="}"#,
    r#"{"a":"%2e%2e%2f","b":"../","c":"a\u0000b"}"#,
    r#"{"a":"\ufffd\uffff\ufffe"}"#,
    r#"{"a":"true","b":true,"c":"null","d":null}"#,
    r#"{"a":0.1,"b":0.2,"c":0.30000000000000004}"#,
    r#"{"a":123456789012345.6789}"#,
    r#"{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":{}}}}}}}}}"#,
];

/// What makes of a call one that some reader takes for something else: what stands in it, and
/// what instead of that.
const UNLIKE: [(&str, &str, &str); 40] = [
    ("a key twice", "{}", r#"{"a":1,"a":2}"#),
    ("a key twice, escaped", "{}", r#"{"v":1,"\u0076":2}"#),
    ("a key twice, deep", "{}", r#"{"a":[{"b":{"c":1,"c":2}}]}"#),
    ("arguments twice", r#","arguments""#, r#","arguments":{"a":1},"arguments""#),
    ("name twice", r#""name""#, r#""name":"github__leak","name""#),
    ("name twice, escaped", r#""name""#, r#""n\u0061me":"github__leak","name""#),
    ("params twice", r#""params""#, r#""params":{},"params""#),
    ("method twice", r#""method""#, r#""method":"tools/list","method""#),
    ("id twice", r#""id""#, r#""id":2,"id""#),
    ("Name", r#""name""#, r#""Name":"github__leak","name""#),
    ("Arguments", r#","arguments""#, r#","Arguments":{"a":1},"arguments""#),
    ("Params", r#""params""#, r#""Params":{},"params""#),
    ("Method", r#""method""#, r#""Method":"tools/list","method""#),
    ("JSONRPC", r#""jsonrpc""#, r#""JSONRPC":"1.0","jsonrpc""#),
    ("param\u{17f}", r#""params""#, "\"param\u{17f}\":{},\"params\""),
    ("param\u{17f}, escaped", r#""params""#, r#""param\u017f":{},"params""#),
    ("argument\u{17f}", r#","arguments""#, r#","argument\u017f":{"a":1},"arguments""#),
    ("ta\u{17f}\u{212a}", r#"{"name""#, r#"{"ta\u017f\u212a":{"ttl":1},"name""#),
    ("requeststate", r#"{"name""#, r#"{"requeststate":"x","name""#),
    ("RequestState", r#"{"name""#, r#"{"RequestState":"x","name""#),
    ("inputresponses", r#"{"name""#, r#"{"inputresponses":{},"name""#),
    ("_Meta", r#""_meta""#, r#""_Meta":{},"_meta""#),
    ("progresstoken", r#""_meta":{"#, r#""_meta":{"progresstoken":1,"#),
    ("ProgressToken", r#""_meta":{"#, r#""_meta":{"ProgressToken":1,"#),
    ("another prefix", r#""_meta":{"#, r#""_meta":{"io.ModelContextProtocol/protocolVersion":"2025-11-25","#),
    ("2^53+1", "{}", r#"{"a":9007199254740993}"#),
    ("2^53+1 with a point", "{}", r#"{"a":9007199254740993.0}"#),
    ("10^20 with an exponent", "{}", r#"{"a":1e20}"#),
    ("2^64+1", "{}", r#"{"a":18446744073709551617}"#),
    ("1e400", "{}", r#"{"a":1e400}"#),
    ("NaN", "{}", r#"{"a":NaN}"#),
    ("-Infinity", "{}", r#"{"a":-Infinity}"#),
    ("half a pair", "{}", r#"{"a":"\ud800"}"#),
    ("half a pair in a key", "{}", r#"{"\udc00":1}"#),
    ("a comment", r#""params""#, r#"/**/"params""#),
    ("a comma too many", "{}", r#"{"a":1,}"#),
    ("single quotes", r#""jsonrpc""#, "'jsonrpc'"),
    ("01", "{}", r#"{"a":01}"#),
    ("+1", "{}", r#"{"a":+1}"#),
    ("a tab in a string", "{}", "{\"a\":\"\t\"}"),
];

/// Those of them that are integers beyond ±(2^53−1).
const BEYOND: [&str; 4] = ["2^53+1", "2^53+1 with a point", "10^20 with an exponent", "2^64+1"];

/// Sends a body with the headers that belong to a call of `echo`.
async fn send(client: &Client, body: impl Into<Bytes>) -> String {
    let mut headers = client.headers();
    if !client.has_session() {
        insert(&mut headers, "mcp-method", "tools/call");
        insert(&mut headers, "mcp-name", "github__echo");
    }
    client.raw(Method::POST, &headers, body.into()).await.summary()
}

fn body(client: &Client, arguments: &str) -> String {
    let meta = if client.has_session() { r#""x":1"# } else { META };
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"github__echo","arguments":{arguments},"_meta":{{{meta}}}}}}}"#
    )
}

/// How Rust reads it, in the form of `tests/readers`. Doubles are read by the standard library:
/// `serde_json` by itself may be off by one in the last place.
fn plain(text: &str) -> Value {
    match text.trim_start().chars().next() {
        Some('{') => {
            let members: HashMap<String, Box<RawValue>> = serde_json::from_str(text).expect("JSON to Rust");
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
            let members = members.into_iter().map(|(key, value)| json!([key, plain(value.get())]));
            [json!("object")].into_iter().chain(members).collect()
        }
        Some('[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text).expect("JSON to Rust");
            [json!("array")].into_iter().chain(items.iter().map(|item| plain(item.get()))).collect()
        }
        Some('-' | '0'..='9') => {
            let double = text.trim().parse::<f64>().expect("a double") + 0.0;
            json!(["number", format!("{:016x}", double.to_bits())])
        }
        _ => serde_json::from_str(text).expect("JSON to Rust"),
    }
}

/// The arguments of a message, to the byte.
fn arguments_of(text: &[u8]) -> String {
    let raw = |text: &str, key: &str| {
        let members: HashMap<String, Box<RawValue>> = serde_json::from_str(text).expect("JSON to Rust");
        members[key].get().to_owned()
    };
    raw(&raw(std::str::from_utf8(text).expect("UTF-8"), "params"), "arguments")
}

/// What a program of `tests/readers` says of each text.
async fn readers(program: &Path, script: &str, texts: &[Vec<u8>]) -> Vec<Map<String, Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers").join(script);
    let mut child = Command::new(program)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    let lines: String = texts.iter().map(|text| STANDARD.encode(text) + "\n").collect();
    let writing = tokio::spawn(async move { input.write_all(lines.as_bytes()).await });
    let output = child.wait_with_output().await.expect("it ends");
    writing.await.expect("written").expect("written");
    assert!(output.status.success(), "{program:?}");
    let said = String::from_utf8(output.stdout).expect("text");
    said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What everybody takes each text for; fails where two readers differ.
async fn read_by_all(texts: &[Vec<u8>]) -> Vec<Value> {
    let python = ecosystem::folder().join("python-sdk-2/bin/python");
    let (python, node) =
        tokio::join!(readers(&python, "readers.py", texts), readers(Path::new("node"), "reader.mjs", texts));
    assert_eq!((python.len(), node.len()), (texts.len(), texts.len()));
    let mut agreed = Vec::new();
    for ((text, python), node) in texts.iter().zip(python).zip(node) {
        let message: Value = serde_json::from_slice(text).expect("JSON to Rust");
        let params = &message["params"];
        let rust = json!([message["method"], params["name"], plain(&arguments_of(text))]);
        let readings: Vec<_> = python.into_iter().chain(node).collect();
        assert_eq!(readings.len(), 5);
        for (reader, reading) in readings {
            assert_eq!(reading, rust, "{reader}: {}", String::from_utf8_lossy(text));
        }
        agreed.push(rust[2].clone());
    }
    agreed
}

/// The calls that the server received, to the byte.
fn received(world: &World) -> Vec<Vec<u8>> {
    let received = world.recorders[0].received();
    received.iter().filter(|it| it.json()["method"] == "tools/call").map(|it| it.body.to_vec()).collect()
}

/// The arguments on record, oldest first.
async fn recorded(world: &World) -> Vec<Value> {
    world.gateway().ledger().flush_index().expect("the index catches up");
    let log = ["audit", "log", "--json", "--full", "--limit", "10000"];
    let ran = doorward(&world.config_path(), &log).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.out).expect("JSON");
    rows.iter().rev().map(|row| plain(row["args"].as_str().expect("kept"))).collect()
}

const KEPT: &str = "audit: {capture: full}\nrateLimit: {enabled: false}\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_finds_what_was_decided_on_and_recorded() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = World::start_speaking(&["github"], speaks, &format!("{KEPT}{STAFF_MAY_ALL}")).await;
        let mut expected = Vec::new();
        for client in [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await] {
            for arguments in ALIKE {
                assert_eq!(send(&client, body(&client, arguments)).await, "200 ok", "{arguments}");
                expected.push(plain(arguments));
            }
        }
        let (received, recorded) = (read_by_all(&received(&world)).await, recorded(&world).await);
        assert_eq!((received.len(), recorded.len()), (expected.len(), expected.len()));
        for ((received, recorded), expected) in received.iter().zip(&recorded).zip(&expected) {
            assert_eq!(received, expected, "what the server received");
            assert_eq!(recorded, expected, "what is on record");
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_any_two_readers_take_for_two_things_reaches_nobody() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = World::start_speaking(&["github"], speaks, &format!("{KEPT}{STAFF_MAY_ALL}")).await;
        for client in [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await] {
            let honest = body(&client, "{}");
            for (name, old, new) in UNLIKE {
                let text = honest.replacen(old, new, 1);
                assert_ne!(text, honest, "{name}");
                let summary = send(&client, text).await;
                // Its one reading is too large for some readers: the answer is about its id.
                let is_refused = match BEYOND.contains(&name) {
                    true => summary == "200 request-bounds",
                    false => matches!(&*summary, "400 -32700" | "400 -32600"),
                };
                assert!(is_refused, "{name}: {summary}");
            }
            let with = |bytes: &[u8]| {
                let text = body(&client, r#"{"a":"@"}"#);
                let (before, behind) = text.split_once('@').expect("a place");
                [before.as_bytes(), bytes, behind.as_bytes()].concat()
            };
            let wide = |bytes: fn(u16) -> [u8; 2]| honest.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
            let odd = [
                ("a byte order mark", [b"\xef\xbb\xbf", honest.as_bytes()].concat()),
                ("UTF-16", wide(u16::to_le_bytes)),
                ("UTF-16, the big end first", wide(u16::to_be_bytes)),
                ("UTF-16 with its mark", [&b"\xff\xfe"[..], &wide(u16::to_le_bytes)].concat()),
                ("UTF-32", honest.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect()),
                ("an overlong slash", with(b"\xc0\xaf")),
                ("half a character", with(b"\xe2\x82")),
                ("a surrogate in UTF-8", with(b"\xed\xa0\x80")),
                ("no character at all", with(b"\xf4\x90\x80\x80")),
                ("a zero behind it", [honest.as_bytes(), b"\0"].concat()),
                ("another message behind it", [honest.as_bytes(), honest.as_bytes()].concat()),
            ];
            for (name, bytes) in odd {
                assert_eq!(send(&client, bytes).await, "400 -32700", "{name}");
            }
        }
        assert_eq!(world.received(), Vec::<String>::new());
        assert_eq!(world.records().len(), 0);
        world.stop().await;
    }
}

/// Texts that are nearly JSON, and often are.
fn nearly_json() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "0",
        "-0",
        "1.0",
        "1e2",
        "-1.5E-3",
        "9007199254740991",
        "9007199254740992",
        "1e308",
        "1e309",
        "01",
        "1.",
        "true",
        "null",
        "NaN",
        "\"\"",
        "\"a\"",
        r#""\u0061""#,
        r#""\ud83d\ude00""#,
        r#""\ud83d""#,
        "\"\u{e9}\"",
        "\"e\u{301}\"",
        r#""\/""#,
        r#""\u0000""#,
        "\"\u{2028}\"",
        "{}",
        "[]",
        " 7 ",
    ]);
    let key = prop::sample::select(vec![
        "\"a\"",
        r#""\u0061""#,
        "\"A\"",
        "\"\u{430}\"",
        "\"\"",
        "\"__proto__\"",
        "\"b\"",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 4, move |inner| {
        let members = prop::collection::vec((key.clone(), inner.clone()), 0..4);
        let object =
            (members, prop::sample::select(vec!["", " ", "\t", ","])).prop_map(|(members, space)| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}{space}}}", members.join(","))
            });
        let array = prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(", ")));
        prop_oneof![3 => object, 1 => array]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_taken_all_readers_take_for_the_same() {
    let world = World::start(&["github"], &format!("{KEPT}{STAFF_MAY_ALL}")).await;
    let client = world.modern("/mcp", ALICE);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..400 {
        let value = nearly_json().new_tree(&mut runner).expect("a text").current();
        match &*send(&client, body(&client, &format!(r#"{{"x":{value}}}"#))).await {
            "200 ok" => taken += 1,
            "400 -32700" | "200 request-bounds" => refused += 1,
            other => panic!("{other}: {value}"),
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
    let received = received(&world);
    assert_eq!(received.len(), taken);
    assert_eq!(read_by_all(&received).await, recorded(&world).await);
    world.stop().await;
}
