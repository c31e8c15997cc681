//! More than a gateway has memory for: what does not fit is put off, and everything else is
//! answered.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward::capacity::Capacity;
use doorward::runtime::Surroundings;
use hyper::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::program::Program;
use crate::world::{
    self, ALICE, Answer, BOB, Client, Recorder, STAFF_MAY_ALL, Speaks, World, eventually, records_in, within,
    written,
};

/// With so much memory there is room for 2 MiB of messages: 128 small ones.
const MEMORY: Capacity = Capacity(16 << 20);
const FITTING: usize = 128;

/// What a process may use in all, in the end-to-end case.
const LIMIT: u64 = 256 << 20;

async fn small_world() -> World {
    let surroundings = Surroundings { capacity: MEMORY, ..world::system() };
    let rest = format!("rateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}");
    let world = World::start_surrounded(&["github"], Speaks::Modern, &rest, surroundings).await;
    world.recorders[0].offer("wait");
    world
}

/// That a request was put off, with everything a client needs to come back.
fn assert_put_off(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.headers["retry-after"], "1");
    let error = &answer.json()["error"];
    assert_eq!((&error["data"]["code"], &answer.json()["id"]), (&json!("overloaded"), &json!(null)));
}

async fn get(world: &World, path: &str) -> Answer {
    let client = world.modern(path, ALICE);
    client.raw(Method::GET, &client.headers(), Bytes::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_fit_are_put_off_and_the_others_answered() {
    let world = small_world().await;
    let recorder = &world.recorders[0];
    let mut calls = tokio::task::JoinSet::new();
    let put_off = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for number in 0..FITTING + 72 {
        let (client, put_off) = (world.modern("/mcp", ALICE), Arc::clone(&put_off));
        calls.spawn(async move {
            let answer = client.call("github__wait", json!({"number": number})).await;
            if answer.status == 503 {
                put_off.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            answer
        });
    }
    eventually("all have come", async || {
        let put_off = put_off.load(std::sync::atomic::Ordering::SeqCst);
        recorder.calls().len() + put_off == FITTING + 72
    })
    .await;
    assert_eq!(recorder.calls().len(), FITTING, "so many reached the server");
    assert_eq!(get(&world, "/healthz").await.status, 200, "whoever looks after it still gets an answer");
    for _ in 0..FITTING {
        recorder.release();
    }
    let mut answered = 0;
    while let Some(call) = calls.join_next().await {
        let answer = call.expect("answered");
        if answer.status == 200 { answered += 1 } else { assert_put_off(&answer) }
    }
    assert_eq!(answered, FITTING);
    let metrics = String::from_utf8_lossy(&get(&world, "/metrics").await.body).into_owned();
    let counted = "doorward_refused_requests_total{reason=\"overloaded\"} 72\n";
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(world.records().len(), FITTING, "what was not decided on is no decision");
    let again = world.modern("/mcp", ALICE).call("github__echo", json!({})).await;
    assert_eq!(again.text(), "{}", "all of it is free again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_counted_by_what_has_come() {
    let world = small_world().await;
    let recorder = &world.recorders[0];
    let text = "x".repeat(600 << 10);
    let mut calls = tokio::task::JoinSet::new();
    for count in 1..=3 {
        let (client, arguments) = (world.modern("/mcp", ALICE), json!({"text": text}));
        calls.spawn(async move { client.call("github__wait", arguments).await });
        eventually("it has come", async || recorder.calls().len() == count).await;
    }
    let client = world.modern("/mcp", ALICE);
    assert_put_off(&client.call("github__wait", json!({"text": text})).await);
    assert_eq!(client.call("github__echo", json!({"a": 1})).await.text(), r#"{"a":1}"#, "a small one fits");
    for _ in 0..3 {
        recorder.release();
    }
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.expect("answered").status, 200);
    }
    assert_eq!(recorder.calls().iter().filter(|call| call.contains("wait")).count(), 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_fit_fails_its_call_and_no_other() {
    let world = small_world().await;
    let client = world.modern("/mcp", ALICE);
    let answer = client.call("github__echo", json!({"text": "x".repeat(1200 << 10)})).await;
    assert_eq!((answer.status, &answer.json()["result"]["isError"]), (200, &json!(true)));
    let said = answer.text();
    assert!(said.contains("no room for the answer of server `github`"), "{said}");
    assert_eq!(answer.json()["result"]["_meta"]["dev.doorward/error"]["code"], "no-room");
    assert_eq!(world.recorders[0].calls().len(), 1, "it is not asked again");
    assert_eq!(client.call("github__echo", json!({})).await.text(), "{}");
    let records = world.records();
    let ends: Vec<_> = records.iter().map(|record| record["outcome"].as_str().expect("an end")).collect();
    assert_eq!(ends, ["upstream_error", "success"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_little_memory_it_puts_off_and_never_dies() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config =
        written(folder.path(), &recorder, &format!("rateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}"));
    let limit = format!("--data={LIMIT}");
    let under = [OsStr::new("prlimit"), OsStr::new(&limit), OsStr::new("--")];
    let mut gateway = Program::start_under(&under, &config, &folder.path().join("log"), &[]).await;
    let address = gateway.address;
    let text = "x".repeat(3 << 20);
    let (mut answered, mut put_off) = (0, 0);
    for _ in 0..2 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let arguments = json!({"text": text});
            calls.spawn(async move {
                Client::modern(address, "/mcp", ALICE).try_call("github__echo", arguments).await
            });
        }
        while let Some(call) = calls.join_next().await {
            match call.expect("it has ended").expect("the gateway answers").status {
                200 => answered += 1,
                503 => put_off += 1,
                other => panic!("{other}"),
            }
        }
        assert!(gateway.child.try_wait().expect("asked").is_none(), "it goes on");
    }
    let peak = peak_kib(gateway.pid()) / 1024;
    println!("{answered} answered, {put_off} put off, peak {peak} MiB of {}", LIMIT >> 20);
    assert!(answered > 0 && put_off > 0, "{answered} answered, {put_off} put off");
    let client = Client::modern(address, "/mcp", ALICE);
    assert_eq!(client.call("github__echo", json!({})).await.text(), "{}");
    gateway.stop().await;
    assert_eq!(records_in(folder.path()).len(), recorder.calls().len(), "all that was sent is on record");
}

/// The most memory that a process has had at once.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A connection that asks for an answer and reads none of it.
async fn slow_reader(world: &World, text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    // What the system takes for it is out of the gateway's hands: as little as can be.
    socket.set_recv_buffer_size(4096).expect("set");
    let mut stream = socket.connect(world.address()).await.expect("connected");
    let client = world.modern("/mcp", ALICE);
    let (headers, body) = client.modern_call("github__echo", json!({"text": text}));
    let mut head = "POST /mcp HTTP/1.1\r\n".to_owned();
    for (name, value) in &headers {
        head += &format!("{name}: {}\r\n", value.to_str().expect("a text"));
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(&body).await.expect("written");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_one_principal_does_not_read_leave_the_room_to_the_others() {
    // Room for 64 MiB, of which one principal may leave 16 MiB unread.
    let surroundings = Surroundings { capacity: Capacity(512 << 20), ..world::system() };
    let all = STAFF_MAY_ALL.replace("[staff]", "[staff, guest]");
    let rest = format!("rateLimit: {{enabled: false}}\n{all}");
    let world = World::start_surrounded(&["github"], Speaks::Modern, &rest, surroundings).await;
    let text = "x".repeat(4_100_000);
    let (alice, bob) = (world.modern("/mcp", ALICE), world.modern("/mcp", BOB));
    let mut unread = Vec::new();
    for count in 1..=4 {
        unread.push(slow_reader(&world, &text).await);
        eventually("it has come", async || world.recorders[0].calls().len() == count).await;
    }
    let refused = within(Duration::from_secs(30), "the share is used up", async || {
        let answer = alice.call("github__echo", json!({"text": text})).await;
        answer.json()["error"]["data"]["code"] == "answers-unread"
    });
    refused.await;
    let answer = alice.call("github__echo", json!({"text": text})).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (200, &json!(-32603)));
    assert!(answer.message().contains("read them first"), "{}", answer.message());
    assert_eq!(alice.call("github__echo", json!({})).await.text(), "{}", "small answers pass");
    let theirs = bob.call("github__echo", json!({"text": text})).await;
    assert_eq!((theirs.status, theirs.text().len() > text.len()), (200, true), "and others' large ones");
    drop(unread);
    within(Duration::from_secs(30), "what nobody waits for is let go of", async || {
        alice.call("github__echo", json!({"text": text})).await.text().len() > text.len()
    })
    .await;
    world.stop().await;
}
