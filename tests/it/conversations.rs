//! Random conversations of both eras with servers of both eras, against a model of what
//! each party must hear: answers, refusals, cancellations, lost connections, and what
//! somebody else tries in between. Nothing may be left of them at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorward::runtime::Surroundings;
use doorward_everything::{Eras, Everything, http};
use doorward_model::ServerId;
use doorward_model::clock::Fixed;
use hyper::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::http::Events;
use crate::world::{ALICE, Answer, BOB, Client, Speaks, World, entries, eventually, system};

/// Conversations tried, each of a few calls.
const CONVERSATIONS: u32 = 5_000;
/// How many go on at once.
const AT_ONCE: usize = 10;
const SERVERS: [&str; 2] = ["old", "new"];
const REVISIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];

/// Something a server can ask, and the tool that asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Form,
    Model,
    Folders,
}

impl Kind {
    fn capability(self) -> &'static str {
        match self {
            Self::Form => "elicitation",
            Self::Model => "sampling",
            Self::Folders => "roots",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Form => "elicitation/create",
            Self::Model => "sampling/createMessage",
            Self::Folders => "roots/list",
        }
    }

    fn tool(self) -> &'static str {
        match self {
            Self::Form => "test_input_required_result_elicitation",
            Self::Model => "test_input_required_result_sampling",
            Self::Folders => "test_input_required_result_list_roots",
        }
    }

    /// An answer, and what the tool then says.
    fn answered(self) -> (Value, &'static str) {
        match self {
            Self::Form => (json!({"action": "accept", "content": {"name": "Ana"}}), "Hello, Ana!"),
            Self::Model => (
                json!({"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"}),
                "Paris",
            ),
            Self::Folders => (json!({"roots": [{"uri": "file:///a"}]}), "Roots: file:///a"),
        }
    }
}

/// What the client does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    Answers,
    /// Says no, in the words that forms have for it.
    Declines,
    /// Answers with an error; only sessions can.
    Refuses,
    /// Withdraws the call.
    Withdraws,
    /// Is gone, and never comes back.
    Vanishes,
    /// Comes back a second time with what it has used already.
    Repeats,
    /// Somebody else tries to answer first.
    IsRobbed,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Plain,
    Unknown,
    List,
    Garbage,
    Asked(Kind, Reaction),
}

#[derive(Clone, Debug)]
struct Conversation {
    revision: &'static str,
    server: &'static str,
    can: Vec<Kind>,
    steps: Vec<Step>,
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let kind = prop::sample::select(vec![Kind::Form, Kind::Model, Kind::Folders]);
    let reaction = prop::sample::select(vec![
        Reaction::Answers,
        Reaction::Answers,
        Reaction::Declines,
        Reaction::Refuses,
        Reaction::Withdraws,
        Reaction::Vanishes,
        Reaction::Repeats,
        Reaction::IsRobbed,
    ]);
    let step = prop_oneof![
        2 => Just(Step::Plain),
        1 => Just(Step::Unknown),
        1 => Just(Step::List),
        1 => Just(Step::Garbage),
        4 => (kind, reaction).prop_map(|(kind, reaction)| Step::Asked(kind, reaction)),
    ];
    let kinds = vec![Kind::Form, Kind::Model, Kind::Folders];
    (
        prop::sample::select(REVISIONS.to_vec()),
        prop::sample::select(SERVERS.to_vec()),
        prop::sample::subsequence(kinds, 0..=3),
        prop::collection::vec(step, 1..5),
    )
        .prop_map(|(revision, server, can, steps)| Conversation { revision, server, can, steps })
}

/// What the conversations did, as far as it must show up elsewhere.
#[derive(Default)]
struct Tally {
    calls: AtomicUsize,
    /// Calls that were turned down, whose one entry is their end as well.
    refused: AtomicUsize,
    /// Calls that a client was asked about and never came back to.
    abandoned: AtomicUsize,
}

#[test]
fn whatever_is_said_both_sides_hear_what_they_must_and_nothing_is_left() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let clock = Arc::new(Fixed::new(1));
    let world = runtime.block_on(start(Arc::clone(&clock)));
    let cases = CONVERSATIONS.div_ceil(AT_ONCE as u32);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let tally = Arc::<Tally>::default();
    let all = prop::collection::vec(conversation(), AT_ONCE);
    let tried = TestRunner::new_with_rng(config, rng).run(&all, |conversations| {
        let tried = conversations.into_iter().enumerate().map(|(at, conversation)| {
            let (address, tally) = (world.address(), Arc::clone(&tally));
            runtime.spawn(async move {
                let mut talk = Talk::open(address, &conversation).await;
                for (step, at) in conversation.steps.iter().zip(100 + at * 10..) {
                    talk.step(*step, at as u32, &tally)
                        .await
                        .map_err(|problem| format!("{step:?}: {problem}, in {conversation:?}"))?;
                }
                talk.close().await
            })
        });
        for tried in tried.collect::<Vec<_>>() {
            runtime
                .block_on(tried)
                .map_err(|error| TestCaseError::fail(error.to_string()))?
                .map_err(TestCaseError::fail)?;
        }
        // Nobody comes back to what was abandoned; there is room for so much of it only.
        clock.advance(Duration::from_secs(11 * 60));
        runtime.block_on(Arc::clone(world.gateway()).sweep());
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
    runtime.block_on(nothing_is_left(&world, &clock, &tally));
    let World { folder, running, .. } = world;
    runtime.block_on(running.stop());
    let entries = entries(folder.path());
    let of = |kind: &str| entries.iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!(of("decision"), tally.calls.load(Ordering::Relaxed), "every call leaves one record");
    let ended = of("outcome") + tally.refused.load(Ordering::Relaxed);
    assert_eq!(of("decision"), ended, "and every record has an end");
}

/// A gateway in front of a server of each era, in a time that stands still.
async fn start(clock: Arc<Fixed>) -> World {
    let mut servers = String::from("rateLimit: {enabled: false}\nservers:\n");
    for (id, eras) in SERVERS.into_iter().zip([Eras::Legacy, Eras::Modern]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(http::serve(listener, Arc::new(Everything::new(eras))));
        servers += &format!("  - {{id: {id}, url: \"http://{address}{}\", enabled: true}}\n", http::PATH);
    }
    let rules = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";
    let surroundings = Surroundings { clock, ..system() };
    World::start_surrounded(&[], Speaks::Legacy, &(servers + rules), surroundings).await
}

/// Time passes; then nobody is waited for any more.
async fn nothing_is_left(world: &World, clock: &Fixed, tally: &Tally) {
    let gauge = async |name: &str| {
        let metrics = world.modern("/metrics", ALICE);
        let text = metrics.raw(Method::GET, &metrics.headers(), Default::default()).await.body;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).map(str::to_owned);
        line.expect("a gauge").parse::<usize>().expect("a number")
    };
    let abandoned = tally.abandoned.load(Ordering::Relaxed);
    assert_eq!(gauge("doorward_sessions").await, 0, "every session was ended");
    assert!(gauge("doorward_suspended_calls").await <= abandoned, "{abandoned} calls were abandoned");
    clock.advance(Duration::from_secs(3 * 60 * 60));
    Arc::clone(world.gateway()).sweep().await;
    assert_eq!(gauge("doorward_suspended_calls").await, 0);
    eventually("the sessions with servers end with those they were opened for", async || {
        let id = ServerId::try_from("old").expect("valid");
        world.gateway().upstreams().session_count(&id).is_some_and(|count| count <= 1)
    })
    .await;
}

/// One side of a conversation.
struct Talk {
    client: Client,
    other: Client,
    has_session: bool,
    /// Whether the server keeps calls waiting: it is of the legacy era.
    suspends: bool,
    can: Vec<Kind>,
}

impl Talk {
    async fn open(address: std::net::SocketAddr, conversation: &Conversation) -> Self {
        let path = format!("/mcp/{}", conversation.server);
        let capabilities: Value =
            conversation.can.iter().map(|kind| (kind.capability().to_owned(), json!({}))).collect();
        let has_session = conversation.revision != "2026-07-28";
        let revision = conversation.revision;
        let (client, other) = if has_session {
            let other = Client::modern(address, &path, BOB);
            (Client::legacy_able(address, &path, ALICE, revision, capabilities).await, other)
        } else {
            let other = Client::modern(address, &path, BOB).able(capabilities.clone());
            (Client::modern(address, &path, ALICE).able(capabilities), other)
        };
        let (suspends, can) = (conversation.server == "old", conversation.can.clone());
        Self { client, other, has_session, suspends, can }
    }

    async fn close(self) -> Result<(), String> {
        if !self.has_session {
            return Ok(());
        }
        let ended = self.client.raw(Method::DELETE, &self.client.headers(), Default::default()).await;
        check("the session ends", ended.status, 204)
    }

    async fn step(&mut self, step: Step, id: u32, tally: &Tally) -> Result<(), String> {
        match step {
            Step::Plain => {
                tally.calls.fetch_add(1, Ordering::Relaxed);
                let text = self.client.call("test_simple_text", json!({})).await.text();
                check("an answer", text, "This is a simple text response for testing.".to_owned())
            }
            Step::Unknown => {
                tally.calls.fetch_add(1, Ordering::Relaxed);
                tally.refused.fetch_add(1, Ordering::Relaxed);
                check(
                    "no such tool",
                    self.client.call("none", json!({})).await.summary(),
                    "200 -32602".to_owned(),
                )
            }
            Step::List => check("a list", self.client.tools().await.is_empty(), false),
            Step::Garbage => {
                let answer = self.client.raw(Method::POST, &self.client.headers(), "{".into()).await;
                check("no JSON", answer.summary(), "400 -32700".to_owned())
            }
            Step::Asked(kind, reaction) if !self.can.contains(&kind) => {
                self.unasked(kind, reaction, tally).await
            }
            Step::Asked(kind, reaction) if self.has_session => self.streamed(kind, reaction, id, tally).await,
            Step::Asked(kind, reaction) => self.rounds(kind, reaction, tally).await,
        }
    }

    /// A client that cannot be asked hears that the call failed, whatever it would have done.
    async fn unasked(&self, kind: Kind, _: Reaction, tally: &Tally) -> Result<(), String> {
        tally.calls.fetch_add(1, Ordering::Relaxed);
        let json = self.client.call(kind.tool(), json!({})).await.json();
        let is_failure = json["error"].is_object() || json["result"]["isError"] == true;
        check("the call fails", is_failure, true)
    }

    /// The question comes on the stream of the call.
    async fn streamed(&self, kind: Kind, reaction: Reaction, id: u32, tally: &Tally) -> Result<(), String> {
        tally.calls.fetch_add(1, Ordering::Relaxed);
        let params = json!({"name": kind.tool(), "arguments": {}});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let mut stream: Events = self.client.events(Method::POST, &call).await;
        let question = stream.next().await;
        check("the question", question["method"].clone(), json!(kind.method()))?;
        let (answer, text) = kind.answered();
        let reply = async |member: &str, body: Value| {
            let message = json!({"jsonrpc": "2.0", "id": question["id"], member: body});
            self.client.post(&message).await.status
        };
        match reaction {
            Reaction::Declines if kind == Kind::Form => {
                reply("result", json!({"action": "decline"})).await;
                let last = stream.next().await;
                check(
                    "a greeting of nobody",
                    last["result"]["content"][0]["text"].clone(),
                    json!("No name: \"decline\""),
                )
            }
            Reaction::Refuses => {
                reply("error", json!({"code": -1, "message": "no"})).await;
                let last = stream.next().await;
                check("an end", last["id"].clone(), json!(id))
            }
            Reaction::Withdraws => {
                let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
                check("it is taken", self.client.post(&cancel).await.status, 202)?;
                let last = stream.next().await;
                check(
                    "the question is taken back",
                    last["params"]["requestId"].clone(),
                    question["id"].clone(),
                )
            }
            Reaction::Vanishes => {
                drop(stream);
                // A lost connection is no cancellation here: the answer may come later.
                check("the answer is taken", reply("result", answer).await, 202)
            }
            Reaction::IsRobbed => {
                let theirs = self.client.with_key(BOB);
                let message = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "cancel"}});
                check("it is not theirs", theirs.post(&message).await.status, 404)?;
                reply("result", answer).await;
                check("the answer", stream.next().await["result"]["content"][0]["text"].clone(), json!(text))
            }
            Reaction::Answers | Reaction::Declines | Reaction::Repeats => {
                check("the answer is taken", reply("result", answer.clone()).await, 202)?;
                let last = stream.next().await;
                check("the answer", last["result"]["content"][0]["text"].clone(), json!(text))?;
                check("one too many is ignored", reply("result", answer).await, 202)
            }
        }
    }

    /// The question is the answer, and the call is made again.
    async fn rounds(&self, kind: Kind, reaction: Reaction, tally: &Tally) -> Result<(), String> {
        tally.calls.fetch_add(1, Ordering::Relaxed);
        let first = self.client.call(kind.tool(), json!({})).await.json();
        let result = &first["result"];
        if result["resultType"] != "input_required" {
            return Err(format!("no question: {first}"));
        }
        let requests = result["inputRequests"].as_object().cloned().unwrap_or_default();
        let Some((key, question)) = requests.into_iter().next() else { return Err("no question".to_owned()) };
        check("the question", question["method"].clone(), json!(kind.method()))?;
        let (answer, text) = kind.answered();
        let again = async |client: &Client, answer: &Value| -> Answer {
            tally.calls.fetch_add(1, Ordering::Relaxed);
            let responses = json!({ key.clone(): answer });
            let params = json!({
                "name": kind.tool(), "arguments": {}, "requestState": result["requestState"], "inputResponses": responses,
            });
            client.request("tools/call", params).await
        };
        match reaction {
            Reaction::Withdraws | Reaction::Vanishes | Reaction::Refuses => {
                tally.abandoned.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Reaction::Declines if kind == Kind::Form => {
                let declined = again(&self.client, &json!({"action": "decline"})).await;
                check("a greeting of nobody", declined.text(), "No name: \"decline\"".to_owned())
            }
            Reaction::IsRobbed => {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                check(
                    "it is not theirs",
                    again(&self.other, &answer).await.summary(),
                    "200 -32602".to_owned(),
                )?;
                check("the answer", again(&self.client, &answer).await.text(), text.to_owned())
            }
            Reaction::Repeats => {
                check("the answer", again(&self.client, &answer).await.text(), text.to_owned())?;
                let second = again(&self.client, &answer).await.text();
                check("a second time", second.contains("expired"), self.suspends)
            }
            Reaction::Answers | Reaction::Declines => {
                check("the answer", again(&self.client, &answer).await.text(), text.to_owned())
            }
        }
    }
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen:?} instead of {expected:?}")) }
}
