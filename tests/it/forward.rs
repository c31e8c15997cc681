//! Several `serve --stdio` and a `serve` on one data directory: one of them holds the
//! log, the others pass their clients on to it, and there is one log.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use doorward_ledger::{Against, verify};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::program::Program;
use crate::world::http::MODERN;
use crate::world::{
    ALICE, BOB, Client, Recorder, Speaks, configuration, doorward, entries, eventually, program, records_in,
};

const RULES: &str = "rateLimit: {enabled: false}\npolicies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{tool: create_refund, action: deny}, {action: allow}]}\n";
/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A data directory, a configuration and the server behind it.
struct Place {
    folder: TempDir,
    recorder: Recorder,
}

impl Place {
    async fn new() -> Self {
        let recorder = Recorder::start("github", Speaks::Modern).await;
        recorder.offer("wait");
        let folder = tempfile::tempdir().expect("a folder");
        let text = configuration(folder.path(), std::slice::from_ref(&recorder), RULES);
        std::fs::write(folder.path().join("gateway.yaml"), text).expect("written");
        Self { folder, recorder }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("data/gateway.sock")
    }

    /// The mark and the caller of every recorded call; the log is whole.
    fn recorded(&self) -> BTreeMap<String, String> {
        let report = verify(&self.folder.path().join("data/audit"), &Against::default()).expect("readable");
        assert!(report.is_valid(), "{:?}", report.faults);
        let mut recorded = BTreeMap::new();
        for record in records_in(self.folder.path()) {
            assert!(record["status"].is_string(), "it has its end: {record}");
            let arguments = record["args"].as_str().expect("a preview");
            let mark = arguments.split_once(r#""mark":""#).expect("a mark").1;
            let mark = mark.split_once('"').expect("its end").0.to_owned();
            let origin = if mark == "http" { "mcp" } else { "stdio" };
            assert_eq!(record["origin"], origin, "{record}");
            let caller = record["consumerId"].as_str().expect("a caller").to_owned();
            assert_eq!(recorded.insert(mark, caller), None, "recorded once: {record}");
        }
        recorded
    }

    /// How often a gateway took this log.
    fn starts(&self) -> usize {
        entries(self.folder.path()).iter().filter(|entry| entry.to_string().contains("\"started\"")).count()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Era {
    Legacy,
    Modern,
}

/// One `serve --stdio` and what its client has of it.
struct Desk {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
    era: Era,
    asked: u64,
}

impl Desk {
    async fn open(config: &Path, key: &str, era: Era) -> Self {
        let mut child = Command::new(program())
            .arg("--config")
            .arg(config)
            .args(["serve", "--stdio"])
            .env("MCP_GATEWAY_API_KEY", key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let errors = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut desk = Self { child, input, lines, errors, era, asked: 0 };
        if era == Era::Legacy {
            let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
            let id = desk.send("initialize", params).await.expect("written");
            let answer = desk.answer().await.expect("an answer");
            assert_eq!(
                (&answer["id"], &answer["result"]["protocolVersion"]),
                (&json!(id), &json!("2025-11-25"))
            );
            desk.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
                .await
                .expect("written");
        } else {
            desk.tools().await;
        }
        desk
    }

    async fn write(&mut self, message: &Value) -> std::io::Result<()> {
        let input = self.input.as_mut().expect("open");
        input.write_all(format!("{message}\n").as_bytes()).await
    }

    async fn send(&mut self, method: &str, mut params: Value) -> std::io::Result<u64> {
        if self.era == Era::Modern {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        self.asked += 1;
        let id = self.asked;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await?;
        Ok(id)
    }

    /// Sends a call, waits for nothing.
    async fn ask(&mut self, tool: &str, arguments: Value) -> std::io::Result<u64> {
        self.send("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// The next answer; `None` at the end.
    async fn answer(&mut self) -> Option<Value> {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("in time");
            let message: Value = serde_json::from_str(&line.expect("UTF-8")?).expect("JSON and nothing else");
            if !message["id"].is_null() {
                return Some(message);
            }
        }
    }

    async fn tools(&mut self) {
        let id = self.send("tools/list", json!({})).await.expect("written");
        let answer = self.answer().await.expect("an answer");
        assert_eq!(answer["id"], id, "{answer}");
        assert!(answer["result"]["tools"].as_array().is_some_and(|tools| tools.len() > 3), "{answer}");
    }

    /// One call and its answer, which must be what was sent.
    async fn echo(&mut self, mark: &str) {
        let arguments = json!({"mark": mark});
        let id = self.ask("github__echo", arguments.clone()).await.expect("written");
        let answer = self.answer().await.expect("an answer");
        assert_eq!(answer["id"], id, "{answer}");
        assert_eq!(answer["result"]["content"][0]["text"], arguments.to_string(), "{answer}");
    }

    /// Reads standard error until a line holds these words.
    async fn says(&mut self, words: &str) -> String {
        let mut seen = String::new();
        loop {
            let line = tokio::time::timeout(PATIENCE, self.errors.next_line()).await.expect("in time");
            let Some(line) = line.expect("UTF-8") else { panic!("never said {words:?}:\n{seen}") };
            if line.contains(words) {
                return line;
            }
            seen += &format!("{line}\n");
        }
    }

    /// The client closes its end; what the program answers after that, its exit code
    /// and what it said on standard error.
    async fn end(mut self) -> (Vec<Value>, Option<i32>, String) {
        self.input = None;
        self.ended().await
    }

    async fn ended(mut self) -> (Vec<Value>, Option<i32>, String) {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer().await {
            answers.push(answer);
        }
        let status =
            tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("waited for");
        let mut said = String::new();
        self.errors.into_inner().read_to_string(&mut said).await.expect("UTF-8");
        assert!(!said.contains(ALICE) && !said.contains(BOB), "no key is ever said: {said}");
        (answers, status.code(), said)
    }

    /// It ends well and has nothing more to say.
    async fn leave(self) {
        let (answers, code, said) = self.end().await;
        assert_eq!((answers, code), (Vec::new(), Some(0)), "{said}");
    }
}

/// Many calls at once, in any order of answers; the marks that were sent.
async fn work(desk: &mut Desk, name: &str) -> Vec<String> {
    let long = "größer 漢字 \u{2028} ".repeat(5_000);
    let mut open = BTreeMap::new();
    for number in 0..30 {
        let mark = format!("{name}-{number}");
        let mut arguments = json!({"mark": mark});
        if number % 10 == 0 {
            arguments["text"] = json!(long);
        }
        let tool = if number % 7 == 3 { "github__create_refund" } else { "github__echo" };
        let id = desk.ask(tool, arguments.clone()).await.expect("written");
        open.insert(id, (mark, tool, arguments));
    }
    let mut marks = Vec::new();
    while !open.is_empty() {
        let answer = desk.answer().await.expect("an answer");
        let asked = answer["id"].as_u64().and_then(|id| open.remove(&id));
        let (mark, tool, arguments) = asked.unwrap_or_else(|| panic!("not asked: {answer}"));
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        if tool == "github__echo" {
            let echoed: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(echoed, arguments);
        } else {
            assert!(text.starts_with("[POLICY DENIED]"), "{text}");
        }
        marks.push(mark);
    }
    marks
}

fn key(number: usize) -> (&'static str, &'static str) {
    if number.is_multiple_of(2) { ("alice", ALICE) } else { ("bob", BOB) }
}

async fn together(place: &Place, count: usize) {
    let desks: Vec<_> = (0..count)
        .map(|number| {
            let config = place.config();
            tokio::spawn(async move {
                let era = if number % 3 == 1 { Era::Legacy } else { Era::Modern };
                let mut desk = Desk::open(&config, key(number).1, era).await;
                let marks = work(&mut desk, &format!("{}-{number}", key(number).0)).await;
                (desk, marks)
            })
        })
        .collect();
    let mut answered = BTreeMap::new();
    let mut leaving = Vec::new();
    for (number, task) in desks.into_iter().enumerate() {
        let (desk, marks) = task.await.expect("it works");
        answered.extend(marks.into_iter().map(|mark| (mark, key(number).0.to_owned())));
        leaving.push(tokio::spawn(desk.leave()));
    }
    for desk in leaving {
        desk.await.expect("it leaves in order");
    }
    assert_eq!(answered.len(), count * 30);
    assert_eq!(place.recorded(), answered, "each call once, under its caller");
    assert_eq!(place.starts(), 1, "one gateway wrote the log");
    let told = doorward(&place.config(), &["audit", "verify"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_and_five_clients_that_start_at_once_share_one_log() {
    for count in [2, 5] {
        together(&Place::new().await, count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_may_lie_deeper_than_a_socket_can() {
    let place = Place::new().await;
    let text = std::fs::read_to_string(place.config()).expect("readable");
    let data = place.folder.path().join("data").display().to_string();
    let deep = format!("{data}/{}", "d".repeat(120));
    std::fs::write(place.config(), text.replacen(&data, &deep, 1)).expect("written");
    let mut first = Desk::open(&place.config(), ALICE, Era::Modern).await;
    let mut second = Desk::open(&place.config(), BOB, Era::Legacy).await;
    first.echo("a").await;
    second.echo("b").await;
    second.says("serves this client").await;
    second.leave().await;
    first.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_they_answer_what_they_were_asked() {
    let place = Place::new().await;
    let mut holder = Desk::open(&place.config(), ALICE, Era::Modern).await;
    let mut other = Desk::open(&place.config(), BOB, Era::Legacy).await;
    other.says("serves this client").await;
    let waits = || place.recorder.calls().iter().filter(|call| *call == "wait").count();
    for (count, desk) in [(1, &mut other), (2, &mut holder)] {
        desk.ask("github__wait", json!({"mark": format!("waits {count}")})).await.expect("written");
        eventually("the call is under way", async || waits() == count).await;
    }
    for desk in [other, holder] {
        let pid =
            desk.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("it runs"), rustix::process::Signal::TERM).expect("told");
        place.recorder.release();
        let (answers, code, said) = desk.ended().await;
        assert!(answers.len() == 1 && answers[0]["result"].is_object(), "{answers:?}: {said}");
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(place.recorded().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_stdio_are_served_by_a_gateway_that_listens() {
    let place = Place::new().await;
    let log = place.folder.path().join("serve.log");
    let gateway = Program::start(&place.config(), &log, &[]).await;
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    eventually("the socket is open", async || place.socket().exists()).await;
    assert_eq!((mode(&place.socket()), mode(&place.folder.path().join("data"))), (0o600, 0o700));
    let mut legacy = Desk::open(&place.config(), ALICE, Era::Legacy).await;
    let mut modern = Desk::open(&place.config(), BOB, Era::Modern).await;
    let http = Client::modern(gateway.address, "/mcp", ALICE);
    let (from_legacy, from_modern, answer) = tokio::join!(
        work(&mut legacy, "legacy"),
        work(&mut modern, "modern"),
        http.call("github__echo", json!({"mark": "http"}))
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    // A gateway that would listen cannot be passed on: it says who is in the way.
    let second = doorward(&place.config(), &["serve", "--port", "0"]).await;
    let holder = format!("process {} (`doorward serve`)", gateway.pid());
    assert!(second.code == Some(1) && second.err.contains(&holder), "{second:?}");
    // A client that closes its end is still answered.
    modern.ask("github__wait", json!({"mark": "waits"})).await.expect("written");
    eventually("the call is under way", async || place.recorder.calls().contains(&"wait".to_owned())).await;
    let (end, ()) = tokio::join!(modern.end(), async { place.recorder.release() });
    assert!(end.0.len() == 1 && end.0[0]["result"].is_object() && end.1 == Some(0), "{end:?}");
    // Told to stop, the gateway answers what it was asked, then lets go.
    legacy.ask("github__wait", json!({"mark": "waits too"})).await.expect("written");
    let waits = || place.recorder.calls().iter().filter(|call| *call == "wait").count();
    eventually("the call is under way", async || waits() == 2).await;
    let stopping = tokio::spawn(gateway.stop());
    eventually("the socket is closed", async || !place.socket().exists()).await;
    place.recorder.release();
    let (answers, code, said) = legacy.ended().await;
    assert!(answers.len() == 1 && answers[0]["result"].is_object(), "{answers:?}");
    assert!(code == Some(1) && said.contains("is gone"), "{code:?} {said}");
    stopping.await.expect("it stops in order");
    let mut expected: BTreeMap<_, _> =
        from_legacy.into_iter().map(|mark| (mark, "alice".to_owned())).collect();
    expected.extend(from_modern.into_iter().map(|mark| (mark, "bob".to_owned())));
    for (mark, caller) in [("http", "alice"), ("waits", "bob"), ("waits too", "alice")] {
        expected.insert(mark.to_owned(), caller.to_owned());
    }
    assert_eq!(place.recorded(), expected);
    let log = std::fs::read_to_string(log).expect("readable");
    assert!(!log.contains(ALICE) && !log.contains(BOB), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_come_in_is_told_the_same_as_without_a_holder() {
    let place = Place::new().await;
    let refused = async |config: &Path, surface: &str, key: Option<&str>| {
        let mut command = Command::new(program());
        command
            .arg("--config")
            .arg(config)
            .args(["serve", "--stdio", "--surface", surface])
            .stdin(Stdio::null());
        command.env_remove("MCP_GATEWAY_API_KEY").envs(key.map(|key| ("MCP_GATEWAY_API_KEY", key)));
        let run = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        let output = run.expect("in time").expect("it runs");
        assert_eq!(output.stdout, b"", "standard output belongs to the protocol");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        (output.status.code(), said.lines().last().unwrap_or_default().to_owned())
    };
    let cases =
        [("aggregate", Some("gw_wrong_0123456789abcdef")), ("aggregate", None), ("No Server", Some(ALICE))];
    let mut alone = Vec::new();
    for (surface, key) in cases {
        alone.push(refused(&place.config(), surface, key).await);
    }
    let starts = place.starts();
    let mut holder = Desk::open(&place.config(), ALICE, Era::Modern).await;
    for ((surface, key), alone) in cases.into_iter().zip(alone) {
        assert_eq!(alone.0, Some(1), "{alone:?}");
        let beside = refused(&place.config(), surface, key).await;
        assert_eq!(beside, alone, "{surface} {key:?}");
        assert!(!beside.1.contains("gw_wrong"), "{beside:?}");
    }
    // Another file for the same data: served all the same, by what is in force, and told so.
    let other = place.folder.path().join("other.yaml");
    let text = std::fs::read_to_string(place.config()).expect("readable");
    std::fs::write(&other, text.replace("create_refund", "delete_repository")).expect("written");
    let mut guest = Desk::open(&other, BOB, Era::Modern).await;
    let warning = guest.says("says something else").await;
    for file in [place.config(), other] {
        assert!(warning.contains("WARN") && warning.contains(&file.display().to_string()), "{warning}");
    }
    guest.ask("github__create_refund", json!({"mark": "denied"})).await.expect("written");
    let answer = guest.answer().await.expect("an answer");
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    guest.leave().await;
    // The same file has nothing to be warned about.
    let mut friend = Desk::open(&place.config(), BOB, Era::Modern).await;
    friend.echo("friend").await;
    let (_, code, said) = friend.end().await;
    assert!(code == Some(0) && !said.contains("WARN"), "{said}");
    holder.echo("holder").await;
    holder.leave().await;
    assert_eq!(place.starts(), starts + 1);
    let recorded = place.recorded();
    assert_eq!(recorded.keys().collect::<Vec<_>>(), ["denied", "friend", "holder"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_on_the_socket_harm_nobody() {
    let place = Place::new().await;
    let mut holder = Desk::open(&place.config(), ALICE, Era::Modern).await;
    let knock = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(place.socket()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        // It may hang up before it has heard everything.
        let _ = stream.write_all(bytes);
        stream
    };
    // Silence and half a line, all the while.
    let mut silent: Vec<_> = (0..40).map(|_| knock(b"")).collect();
    silent.push(knock(br#"{"doorward":1,"surface":"agg"#));
    let whole = |key: &str| format!("{{\"doorward\":1,\"surface\":\"aggregate\",\"key\":\"{key}\"}}\n");
    let mut noise: Vec<u8> = (0..=255).cycle().take(1 << 20).filter(|byte| *byte != b'\n').collect();
    noise.push(b'\n');
    let stranger = whole("gw_stranger_0123456789");
    let cases: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\n\r\n", r#""refused":"preface""#),
        (b"{\"doorward\":2,\"surface\":\"aggregate\"}\n", r#""refused":"preface""#),
        (&vec![b'x'; 1 << 20], r#""refused":"preface""#),
        (&noise, r#""refused":"preface""#),
        (b"{\"doorward\":1,\"surface\":\"A B\"}\n", r#""refused":"surface""#),
        (stranger.as_bytes(), r#""refused":"key""#),
    ];
    for (bytes, expected) in cases {
        let mut answer = Vec::new();
        // The end may be a reset, because not everything was read.
        let _ = knock(bytes).read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("UTF-8");
        assert!(answer.contains(expected) && answer.lines().count() == 1, "{answer}");
    }
    // One that is let in and then talks nonsense is answered as at any other door.
    let mut nonsense = knock(whole(ALICE).as_bytes());
    nonsense.write_all(b"\xff\xfe nonsense\n{\"jsonrpc\":\"2.0\"\n").expect("written");
    nonsense.shutdown(std::net::Shutdown::Write).expect("half closed");
    let mut answer = String::new();
    nonsense.read_to_string(&mut answer).expect("read to the end");
    assert_eq!(answer.lines().filter(|line| line.contains("-32700")).count(), 2, "{answer}");
    // Gone in the middle of a call, without a word.
    let mut rude = knock(whole(BOB).as_bytes());
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "github__wait", "arguments": {"mark": "rude"},
        "_meta": {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}}});
    rude.write_all(format!("{call}\n").as_bytes()).expect("written");
    eventually("the call is under way", async || place.recorder.calls().contains(&"wait".to_owned())).await;
    drop(rude);
    place.recorder.release();
    let mut guest = Desk::open(&place.config(), BOB, Era::Legacy).await;
    holder.echo("holder").await;
    guest.echo("guest").await;
    guest.leave().await;
    // Silence ends by itself, unanswered or refused.
    for mut stream in silent {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("hung up in time");
        assert_eq!(answer, b"");
    }
    let (_, code, said) = holder.end().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        !said.contains("gw_stranger") && !said.contains("nonsense") && !said.contains("panicked"),
        "{said}"
    );
    let expected = [("guest", "bob"), ("holder", "alice"), ("rude", "bob")];
    let recorded = place.recorded();
    let recorded: Vec<_> = recorded.iter().map(|(mark, caller)| (mark.as_str(), caller.as_str())).collect();
    assert_eq!(recorded, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_holder_stays_while_others_need_it() {
    let place = Place::new().await;
    let mut first = Desk::open(&place.config(), ALICE, Era::Modern).await;
    let mut second = Desk::open(&place.config(), BOB, Era::Legacy).await;
    first.echo("first").await;
    second.echo("second").await;
    first.input = None;
    first.says("stays until").await;
    // Its client is gone altogether: nobody reads what it writes any more.
    let Desk { mut child, lines, errors, .. } = first;
    drop((lines, errors));
    second.echo("after").await;
    let mut third = Desk::open(&place.config(), ALICE, Era::Modern).await;
    third.echo("third").await;
    second.leave().await;
    third.echo("alone").await;
    assert_eq!(child.try_wait().expect("asked"), None, "it still serves one client");
    third.leave().await;
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").expect("waited for");
    assert_eq!(status.code(), Some(0));
    assert!(!place.socket().exists(), "it cleared up");
    assert_eq!(place.starts(), 1);
    let recorded = place.recorded();
    assert_eq!(recorded.keys().collect::<Vec<_>>(), ["after", "alone", "first", "second", "third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_holder_is_killed_the_others_fail_and_the_next_one_takes_over() {
    let place = Place::new().await;
    let mut answered = BTreeSet::new();
    for round in 0..3 {
        let mut holder = Desk::open(&place.config(), ALICE, Era::Modern).await;
        let desks: Vec<_> = [Era::Modern, Era::Legacy]
            .into_iter()
            .enumerate()
            .map(|(number, era)| {
                let config = place.config();
                let (told, ready) = tokio::sync::oneshot::channel();
                let task = tokio::spawn(async move {
                    let mut desk = Desk::open(&config, BOB, era).await;
                    let (mut open, mut answered) = (BTreeMap::new(), BTreeSet::new());
                    let mut told = Some(told);
                    // Four calls are always under way.
                    for call in 0.. {
                        let mark = format!("{round}-{number}-{call}");
                        let Ok(id) = desk.ask("github__echo", json!({"mark": mark})).await else { break };
                        open.insert(id, mark);
                        if open.len() < 4 {
                            continue;
                        }
                        let Some(answer) = desk.answer().await else { break };
                        let id = answer["id"].as_u64().expect("an id");
                        assert!(answer["result"].is_object(), "{answer}");
                        answered.insert(open.remove(&id).expect("asked once"));
                        if answered.len() == 20
                            && let Some(told) = told.take()
                        {
                            told.send(()).expect("waited for");
                        }
                    }
                    let (rest, code, said) = desk.ended().await;
                    answered.extend(
                        rest.iter()
                            .filter_map(|answer| answer["id"].as_u64().and_then(|id| open.remove(&id))),
                    );
                    assert!(
                        code == Some(1) && said.contains("is gone; start this one again"),
                        "{code:?}: {said}"
                    );
                    answered
                });
                (task, ready)
            })
            .collect();
        let (tasks, ready): (Vec<_>, Vec<_>) = desks.into_iter().unzip();
        for ready in ready {
            tokio::time::timeout(PATIENCE, ready).await.expect("in time").expect("it works");
        }
        holder.child.kill().await.expect("killed");
        for task in tasks {
            answered.extend(task.await.expect("it fails in order"));
        }
        assert!(place.socket().exists(), "a killed process leaves its socket behind");
    }
    let mut next = Desk::open(&place.config(), ALICE, Era::Modern).await;
    next.echo("next").await;
    let mut beside = Desk::open(&place.config(), BOB, Era::Legacy).await;
    beside.echo("beside").await;
    beside.leave().await;
    next.leave().await;
    assert_eq!(place.starts(), 4);
    answered.extend(["next".to_owned(), "beside".to_owned()]);
    let recorded: BTreeSet<_> = place.recorded().into_keys().collect();
    assert!(answered.len() > 100, "only {} calls were answered", answered.len());
    assert_eq!(
        answered.difference(&recorded).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "answered, not recorded"
    );
}
