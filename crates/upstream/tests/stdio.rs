//! Managed children, with real processes: their start, their habits, their end.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{World, echo, quick, within};
use doorward_model::room::Room;
use doorward_model::{Caller, CapabilityKind, Departure, Grant, GrantKind, Secret};
use doorward_upstream::{
    Call, Event, Protocol, ServerSpec, Settings, State, Transport, UpstreamError, inherited,
};
use doorward_wire::Era;
use doorward_wire::log::Logs;
use tokio::sync::mpsc;
use tokio::time::Instant;

fn child(habits: &[&str]) -> Transport {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/child.py");
    Transport::Stdio {
        command: "python3".into(),
        args: ["-S", "-u", script].iter().chain(habits).map(|arg| (*arg).to_owned()).collect(),
        env: vec![("TOKEN".into(), Secret::new("s3cr3t-t0ken"))],
        cwd: None,
        max_memory: None,
    }
}

fn settings() -> Settings {
    Settings { environment: inherited(std::env::vars_os()), probe_timeout: Duration::from_secs(5), ..quick() }
}

fn world(habits: &[&str], adjust: impl FnOnce(&mut ServerSpec)) -> World {
    World::new(child(habits), settings(), |spec| {
        spec.secrets = vec![Secret::new("s3cr3t-t0ken")];
        adjust(spec);
    })
}

fn tool(name: &'static str) -> Call<'static> {
    Call { members: Bytes::from(format!(r#""name":"{name}","arguments":{{}}"#)), ..echo() }
}

async fn ask(world: &World, name: &'static str) -> String {
    let answer = world.call(tool(name)).await.expect("answered");
    answer.message.root().get("result").expect("a result").raw().to_owned()
}

fn runs(pid: u32) -> bool {
    // A zombie has ended, and merely waits to be collected by whoever started it.
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

async fn gone(pid: u32) {
    within(async {
        while runs(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn number_after(text: &str, key: &str) -> u32 {
    let rest = text.split(key).nth(1).expect(key).trim_start_matches([' ', ':']);
    rest.split(|c: char| !c.is_ascii_digit()).next().expect("digits").parse().expect("a number")
}

#[tokio::test]
async fn a_child_is_started_when_needed_and_spoken_to_in_its_era() {
    for (habits, era) in [(&[][..], Era::Legacy), (&["modern"][..], Era::Modern)] {
        let world = world(habits, |_| {});
        assert_eq!(world.status().pid, None);
        assert_eq!(world.echo().await.expect("answered"), r#"{"a": 1}"#);
        let status = world.status();
        assert_eq!((status.state, status.era), (State::Connected, Some(era)));
        let received = ask(&world, "received").await;
        let expected = match era {
            Era::Legacy => {
                r#"["server/discover", "initialize", "notifications/initialized", "tools/call", "tools/call"]"#
            }
            Era::Modern => r#"["server/discover", "tools/call", "tools/call"]"#,
        };
        assert!(received.contains(expected), "{received}");
        let pid = status.pid.expect("running");
        within(world.upstreams.shutdown()).await;
        assert!(!runs(pid));
    }
}

#[tokio::test]
async fn the_first_child_is_started_for_who_needs_it_first() {
    let world = world(&[], |_| {});
    let able = r#"{"elicitation":{}}"#;
    let who = async |capabilities: &'static str| {
        let answer = world.call(Call { capabilities, ..tool("who") }).await.expect("answered");
        let result = answer.message.root().get("result").expect("a result").raw().to_owned();
        (number_after(&result, "pid\""), result)
    };
    let (first, result) = who(able).await;
    assert!(result.contains(r#""declared": [{"elicitation": {}}]"#), "{result}");
    assert_eq!(world.status().pid, Some(first), "no other was started to learn its era");
    let (second, result) = who("").await;
    assert!(result.contains(r#""declared": [{}]"#) && second != first, "{result}");
    assert_eq!((who(able).await.0, who("").await.0), (first, second));

    let listed = async |declared: &str| {
        let (_, catalog) = world.upstreams.catalog(&world.id, declared).await.expect("listed");
        number_after(std::str::from_utf8(&catalog.definitions[0].raw).expect("UTF-8"), "by ")
    };
    assert_eq!((listed(able).await, listed("").await), (first, second));
}

#[tokio::test]
async fn what_is_kept_of_a_server_takes_no_room_from_messages() {
    for habits in [&["verbose"][..], &["verbose", "modern"]] {
        let room = Room::new(1 << 20);
        let mut settings = settings();
        settings.egress.room = Some(Arc::clone(&room));
        let world = World::new(child(habits), settings, |_| {});
        let (_, catalog) = world.upstreams.catalog(&world.id, "").await.expect("listed");
        let kept = catalog.definitions[0].raw.len() + catalog.capabilities.len() + catalog.server_info.len();
        assert!(kept > 50 && catalog.instructions.is_some(), "{kept} bytes");
        assert_eq!(room.used(), 0, "{habits:?}");
    }
}

#[tokio::test]
async fn a_child_makes_room_for_another_when_nobody_needs_it_any_more() {
    let world = world(&[], |_| {});
    let able: Vec<String> = (0..18).map(|number| format!(r#"{{"a{number}":{{}}}}"#)).collect();
    let who = async |at: usize, keeps| {
        let answer = world.call(Call { capabilities: &able[at], keeps, ..tool("who") }).await?;
        Ok::<_, UpstreamError>(number_after(answer.message.root().raw(), "pid\""))
    };
    who(0, None).await.expect("the first one, which is no twin");
    let keeps = Some(Duration::from_secs(3600));
    let kept = who(1, keeps).await.expect("answered");
    let mut others = Vec::new();
    for at in 2..17 {
        others.push(who(at, None).await.expect("answered"));
    }
    let refused = who(17, None).await.expect_err("one too many");
    assert_eq!(refused.code(), "upstream-busy");
    world.clock.skip(Duration::from_secs(61));
    let second = who(3, None).await.expect("answered");
    let new = who(17, None).await.expect("answered");
    gone(others[0]).await;
    assert_eq!((second, who(3, None).await.expect("answered")), (others[1], others[1]), "used just before");
    assert_eq!(who(1, None).await.expect("answered"), kept, "something in it is to be found again");
    assert!(runs(others[14]) && runs(new));
}

#[tokio::test]
async fn one_child_serves_all_callers_at_once() {
    let world = Arc::new(world(&[], |_| {}));
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let world = Arc::clone(&world);
        calls.spawn(async move {
            let members = format!("\"name\":\"echo\",\n\"arguments\":{{\r\n\"n\":{number}}}");
            let answer = world.call(Call { members: members.into(), ..echo() }).await.expect("answered");
            let result = answer.message.root().get("result").expect("a result").raw().to_owned();
            assert_eq!(result, format!(r#"{{"n": {number}}}"#), "an answer went to the wrong caller");
        });
    }
    while let Some(call) = calls.join_next().await {
        call.expect("no panic");
    }
    assert_eq!(world.status().restarts, 0);
}

#[tokio::test]
async fn a_child_gets_its_arguments_and_little_of_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().canonicalize().expect("real");
    let Transport::Stdio { command, mut args, env, max_memory, .. } = child(&["$HOME", "a b", "*"]) else {
        unreachable!("a child")
    };
    args.push("; exit".into());
    let transport = Transport::Stdio { command, args, env, cwd: Some(path.clone()), max_memory };
    let world = World::new(transport, settings(), |spec| spec.secrets = vec![Secret::new("s3cr3t-t0ken")]);
    let seen = ask(&world, "environment").await;
    assert!(seen.contains(r#""argv": ["$HOME", "a b", "*", "; exit"]"#), "{seen}");
    // That it has the token shows, and not which.
    assert!(seen.contains(r#""TOKEN": "[secret]""#) && seen.contains("\"PATH\""), "{seen}");
    assert!(seen.contains(&format!(r#""cwd": "{}""#, path.display())), "{seen}");
    assert!(!seen.contains("CARGO"), "{seen}");
}

#[tokio::test]
async fn a_crash_fails_what_waits_at_once_and_the_child_comes_back() {
    let mut world = world(&[], |_| {});
    let (_, first) = world.upstreams.catalog(&world.id, "").await.expect("listed");
    let before = world.status().pid.expect("running");
    let started = Instant::now();
    let (silent, crash) = tokio::join!(world.call(tool("silence")), world.call(tool("crash")));
    for outcome in [silent, crash] {
        assert!(matches!(outcome, Err(UpstreamError::Exited { .. })), "{outcome:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(3), "nobody waits for the timeout");
    world.event(|event| matches!(event, Event::StateChanged(_, State::Error))).await;
    let stderr = world.upstreams.stderr(&world.id).expect("configured");
    assert!(stderr.contains("going down"), "{stderr}");
    let why = world.status().last_error.expect("a reason");
    assert!(why.contains("exited") && !why.contains("going down"), "{why}");

    world.event(|event| matches!(event, Event::StateChanged(_, State::Connected))).await;
    let status = world.status();
    assert_eq!(status.restarts, 1);
    assert_ne!(status.pid, Some(before));
    let (_, again) = world.upstreams.catalog(&world.id, "").await.expect("listed");
    assert_ne!(first.definitions[0].raw, again.definitions[0].raw, "the new child was asked anew");
    assert_eq!(world.echo().await.expect("answered"), r#"{"a": 1}"#);
}

#[tokio::test]
async fn a_child_killed_from_outside_is_noticed_and_started_again() {
    let mut world = world(&[], |_| {});
    world.echo().await.expect("answered");
    let pid = i32::try_from(world.status().pid.expect("running")).expect("small");
    let pid = rustix::process::Pid::from_raw(pid).expect("positive");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    let started = Instant::now();
    world.event(|event| matches!(event, Event::StateChanged(_, State::Error))).await;
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(world.status().last_error.expect("a reason").contains("signal 9"));
    assert_eq!(world.echo().await.expect("waited for the restart"), r#"{"a": 1}"#);
}

#[tokio::test]
async fn a_child_that_crashes_again_and_again_is_left_alone() {
    let mut world = world(&["crashes"], |_| {});
    assert!(matches!(world.echo().await, Err(UpstreamError::Exited { .. })));
    world.event(|event| matches!(event, Event::StateChanged(_, State::Error))).await;
    // Each attempt waits out the delay after the one before, until that is too long.
    for attempt in 0.. {
        let error = world.echo().await.expect_err("crashed");
        if matches!(error, UpstreamError::Restarting { .. }) {
            assert!(!error.may_have_run());
            break;
        }
        assert!(attempt < 5, "{error:?}");
    }
}

#[tokio::test]
async fn what_a_child_started_ends_with_it() {
    // It ignores the end of its input and the request to end: it has to be killed.
    for habits in [&[][..], &["ignores-eof"][..]] {
        let world = world(habits, |_| {});
        let grandchild = number_after(&ask(&world, "spawn").await, "\"pid\"");
        let pid = world.status().pid.expect("running");
        assert!(runs(pid) && runs(grandchild));
        within(world.upstreams.shutdown()).await;
        assert!(!runs(pid), "{habits:?}");
        gone(grandchild).await;
    }
    // A crash takes it along as well.
    let world = world(&[], |_| {});
    let grandchild = number_after(&ask(&world, "spawn").await, "\"pid\"");
    world.call(tool("crash")).await.expect_err("crashed");
    gone(grandchild).await;
}

/// The processes that this one has started and not collected, and its open files.
fn left_over() -> (Vec<String>, usize) {
    let own = std::process::id();
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("processes") {
        let stat = std::fs::read_to_string(entry.expect("listed").path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        if parent == Some(own) {
            processes.push(stat);
        }
    }
    (processes, std::fs::read_dir("/proc/self/fd").expect("files").count())
}

#[tokio::test]
async fn children_that_come_and_go_leave_nothing_behind() {
    // As `cargo xtask soak` does it, there are ten thousand.
    let cycles = if std::env::var_os("DOORWARD_FULL").is_some() { 10_000 } else { 40 };
    let mut files = 0;
    for cycle in 0..cycles {
        let world = world(&[], |_| {});
        let grandchild = number_after(&ask(&world, "spawn").await, "pid\"");
        let child = world.status().pid.expect("running");
        if cycle % 2 == 0 {
            let child = i32::try_from(child).ok().and_then(rustix::process::Pid::from_raw);
            let signal = rustix::process::Signal::KILL;
            rustix::process::kill_process(child.expect("a process id"), signal).expect("it runs");
        }
        within(world.upstreams.shutdown()).await;
        gone(child).await;
        gone(grandchild).await;
        if cycle == 1 {
            files = left_over().1;
        }
    }
    let (processes, now) = left_over();
    println!("{cycles} children came and went: {} left, {files} files then, {now} now", processes.len());
    assert!(processes.is_empty(), "{processes:?}");
    assert!(now <= files, "{files} files, now {now}");
}

#[tokio::test]
async fn a_child_ends_with_its_gateway_even_without_farewell() {
    let (pid, grandchild) = {
        let world = world(&[], |_| {});
        let grandchild = number_after(&ask(&world, "spawn").await, "\"pid\"");
        (world.status().pid.expect("running"), grandchild)
    };
    gone(pid).await;
    gone(grandchild).await;
}

#[tokio::test]
async fn neither_chatter_nor_cut_characters_nor_long_lines_disturb_it() {
    let world = world(&[], |_| {});
    assert_eq!(ask(&world, "chatter").await, "{}");
    assert_eq!(ask(&world, "split").await, r#"{"text": "€uro 😀"}"#);
    let members = r#""name":"long","arguments":{"length":10485760}"#.into();
    let answer = world.call(Call { members, ..echo() }).await.expect("answered");
    assert!(answer.bytes > 10 << 20);
    let stderr = world.upstreams.stderr(&world.id).expect("configured");
    assert!(stderr.len() <= 64 << 10, "{} bytes kept", stderr.len());
}

#[tokio::test]
async fn a_line_beyond_the_limit_fails_its_call_and_no_other() {
    let world = World::new(child(&[]), Settings { max_answer: 1 << 20, ..settings() }, |_| {});
    let members: Bytes = r#""name":"long","arguments":{"length":2000000}"#.into();
    let error = world.call(Call { members, ..echo() }).await.expect_err("too long");
    assert!(matches!(error, UpstreamError::TooLarge { .. }), "{error}");
    assert_eq!(world.echo().await.expect("answered"), r#"{"a": 1}"#);
}

#[tokio::test]
async fn secrets_stay_out_of_what_is_kept() {
    let world = world(&[], |_| {});
    ask(&world, "leak").await;
    let stderr = within(async {
        loop {
            let text = world.upstreams.stderr(&world.id).expect("configured");
            if text.contains('\n') {
                return text;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(stderr.contains("the token is [secret]") && !stderr.contains("s3cr3t"), "{stderr}");
    let seen = world.call(tool("environment")).await.expect("answered");
    let seen = String::from_utf8_lossy(seen.message.bytes()).into_owned();
    assert!(seen.contains("[secret]") && !seen.contains("s3cr3t-t0ken"), "{seen}");
}

#[tokio::test]
async fn progress_reaches_its_caller_and_questions_are_declined() {
    let mut world = world(&[], |_| {});
    let (notify, mut notes) = mpsc::channel(8);
    let call = Call { notify: Some(notify), progress_token: Some("42"), ..tool("progress") };
    world.call(call).await.expect("answered");
    let note = notes.recv().await.expect("progress");
    assert!(String::from_utf8_lossy(&note).contains(r#""progressToken": 42"#), "{note:?}");
    let changed = Event::CatalogChanged(world.id.clone(), CapabilityKind::Tool);
    world.event(|event| *event == changed).await;
    let received = ask(&world, "received").await;
    assert!(received.contains("answer q -32601"), "{received}");
}

#[tokio::test]
async fn a_log_message_of_a_child_that_several_callers_use_reaches_none_of_them() {
    let caller = |id: &str| {
        let grant = Grant {
            id: id.to_owned(),
            kind: GrantKind::Key,
            issuer: None,
            claims: Default::default(),
            roles: Vec::new(),
            servers: None,
            scopes: Vec::new(),
            expires_at: None,
            rate_limit: None,
        };
        Arc::new(Caller { grant, person: None, agent: None })
    };
    let world = world(&[], |_| {});
    let (ana, ben) = (caller("ana"), caller("ben"));
    // Whether the caller's only call heard it, by then: it comes before the answer.
    let heard = async |caller: &Arc<Caller>, affinity: &str| {
        let (notify, mut notes) = mpsc::channel(8);
        let logs = Logs::Any;
        let call = Call { notify: Some(notify), caller: Some(caller), affinity, logs, ..tool("logs") };
        world.call(call).await.expect("answered");
        notes.try_recv().is_ok()
    };
    assert!(heard(&ana, "one session").await);
    assert!(heard(&caller("ana"), "another session").await, "the same caller");
    assert!(!heard(&ben, "third session").await, "it may be about what ana's calls left behind");
    assert!(!heard(&ana, "one session").await, "or about what ben's did");
}

#[tokio::test]
async fn a_timeout_and_a_dropped_call_are_told_to_the_child() {
    let world = Arc::new(world(&[], |_| {}));
    let call = Call { deadline: Some(Duration::from_millis(50)), ..tool("silence") };
    let error = world.call(call).await.expect_err("late");
    assert_eq!(error.to_string(), "MCP request timeout after 50ms: tools/call");
    let caller = Arc::clone(&world);
    let call = tokio::spawn(async move { caller.call(tool("silence")).await });
    within(async {
        while ask(&world, "received").await.matches("\"tools/call\"").count() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    call.abort();
    within(async {
        while ask(&world, "received").await.matches("notifications/cancelled").count() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Stops the child in its tracks, or lets it go on.
fn signal(world: &World, signal: rustix::process::Signal) {
    let pid = i32::try_from(world.status().pid.expect("running")).expect("small");
    let pid = rustix::process::Pid::from_raw(pid).expect("positive");
    rustix::process::kill_process(pid, signal).expect("it runs");
}

#[tokio::test]
async fn what_was_given_up_before_a_child_read_it_never_reaches_it() {
    let world = world(&[], |_| {});
    world.echo().await.expect("answered");
    signal(&world, rustix::process::Signal::STOP);
    // More than the pipe takes: the first is stuck half way, the others wait behind it.
    let large = "x".repeat(1 << 20);
    let departures: [Arc<Departure>; 4] = Default::default();
    for departure in &departures {
        let members = Bytes::from(format!(r#""name":"silence","arguments":{{"a":"{large}"}}"#));
        let deadline = Some(Duration::from_millis(50));
        let call = Call { members, deadline, departure: Some(departure), ..echo() };
        let error = world.call(call).await.expect_err("nobody reads it");
        assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
    }
    signal(&world, rustix::process::Signal::CONT);
    let received = ask(&world, "received").await;
    let count = |method: &str| received.matches(method).count();
    assert_eq!(count("\"tools/call\""), 3, "the first, the one that was stuck, and this one: {received}");
    assert_eq!(count("\"notifications/cancelled\""), 1, "only that one is taken back: {received}");
    let left: Vec<_> = departures.iter().map(|departure| !departure.call_off()).collect();
    assert_eq!(left, [true, false, false, false], "what nobody began to write has not left");
    let error = world.call(Call { departure: Some(&departures[1]), ..echo() }).await.expect_err("called off");
    assert!(matches!(error, UpstreamError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_idle_child_is_stopped_and_started_again_when_needed() {
    let mut world = world(&[], |spec| spec.idle_timeout = Some(Duration::from_millis(60)));
    world.echo().await.expect("answered");
    let pid = world.status().pid.expect("running");
    world.event(|event| matches!(event, Event::StateChanged(_, State::Registered))).await;
    gone(pid).await;
    assert_eq!(world.echo().await.expect("answered"), r#"{"a": 1}"#);
    assert_eq!(world.status().restarts, 0, "that was no crash");
}

#[tokio::test]
async fn a_child_in_which_something_is_to_be_found_again_is_not_idle() {
    let mut world = world(&[], |spec| spec.idle_timeout = Some(Duration::from_millis(60)));
    let (called, keeps) = (Instant::now(), Duration::from_millis(500));
    world.call(Call { keeps: Some(keeps), ..echo() }).await.expect("answered");
    world.event(|event| matches!(event, Event::StateChanged(_, State::Registered))).await;
    assert!(called.elapsed() >= keeps, "it was stopped after {:?}", called.elapsed());
}

#[tokio::test]
async fn older_children_survive_the_probe_or_are_started_without_it() {
    for habits in [&["exits-at-discover"][..], &["silent-at-discover"][..]] {
        let settings = Settings { probe_timeout: Duration::from_millis(300), ..settings() };
        let world = World::new(child(habits), settings, |_| {});
        assert_eq!(world.echo().await.expect("answered"), r#"{"a": 1}"#, "{habits:?}");
        assert_eq!(world.status().era, Some(Era::Legacy));
    }
}

#[tokio::test]
async fn a_child_of_both_eras_that_was_late_once_is_not_taken_for_an_older_one_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let Transport::Stdio { command, args, env, max_memory, .. } = child(&["modern", "late-at-first"]) else {
        unreachable!("a child")
    };
    let cwd = Some(folder.path().to_owned());
    let transport = Transport::Stdio { command, args, env, cwd, max_memory };
    let settings = Settings { probe_timeout: Duration::from_millis(300), ..settings() };
    let mut world = World::new(transport, settings, |_| {});
    world.echo().await.expect("answered");
    assert_eq!(world.status().era, Some(Era::Legacy), "it did not say otherwise in time");
    let _ = world.call(tool("crash")).await.expect_err("it crashed");
    world.event(|event| matches!(event, Event::StateChanged(_, State::Error))).await;
    world.echo().await.expect("answered");
    assert_eq!(world.status().era, Some(Era::Modern));
}

#[tokio::test]
async fn a_newer_child_that_starts_slowly_is_not_taken_for_an_older_one() {
    let settings = Settings { probe_timeout: Duration::from_millis(50), ..settings() };
    let world = World::new(child(&["modern", "slow"]), settings, |_| {});
    assert_eq!(world.echo().await.expect("answered"), r#"{"a": 1}"#);
    assert_eq!(world.status().era, Some(Era::Modern));
}

#[tokio::test]
async fn a_child_that_never_answers_or_does_not_exist_is_an_error() {
    let settings = Settings { stop_grace: Duration::from_millis(200), ..settings() };
    let silent = World::new(child(&["never-initializes"]), settings.clone(), |spec| {
        spec.start_timeout = Duration::from_millis(600);
        spec.protocol = Protocol::Legacy;
    });
    let error = silent.echo().await.expect_err("never answers");
    assert_eq!(error.to_string(), "MCP request timeout after 600ms: initialize");

    let missing = Transport::Stdio {
        command: "/nonexistent/server".into(),
        args: Vec::new(),
        env: Vec::new(),
        cwd: None,
        max_memory: None,
    };
    let world = World::new(missing, settings, |_| {});
    // However often: what never ran has not crashed.
    for _ in 0..7 {
        let error = world.echo().await.expect_err("not there");
        let said = "server `one` could not be started: its program, or the folder that it is to run in, is not there";
        assert_eq!(error.to_string(), said);
        let status = world.status();
        assert_eq!((status.state, status.uptime), (State::Error, None));
        let last = status.last_error.expect("said");
        assert!(last.contains("`/nonexistent/server`"), "{last}");
    }
}

#[tokio::test]
async fn a_last_line_counts_though_it_lacks_its_end() {
    let code = r#"
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "m"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
    if message["method"] == "tools/call":
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "last words"}]}}))
        sys.exit()
"#;
    let transport = Transport::Stdio {
        command: "python3".into(),
        args: vec!["-c".to_owned(), code.to_owned()],
        env: Vec::new(),
        cwd: None,
        max_memory: None,
    };
    let world = World::new(transport, settings(), |spec| spec.protocol = Protocol::Legacy);
    let answer = world.call(echo()).await.expect("answered");
    assert!(answer.message.root().raw().contains("last words"));
}

#[tokio::test]
async fn a_server_that_lacks_a_secret_is_never_started_and_says_which() {
    let mut world = World::new(child(&[]), settings(), |spec| spec.lacking = vec!["TOKEN".to_owned()]);
    let said = "server `one` is configured wrongly: missing secret TOKEN";
    assert_eq!(world.status().state, State::Error);
    assert_eq!(world.status().last_error.as_deref(), Some(said));
    assert_eq!(world.echo().await.expect_err("not started").to_string(), said);
    let listed = world.upstreams.catalog(&world.id, "").await.expect_err("nor asked");
    assert_eq!(listed.to_string(), said);
    let expected = Event::StateChanged(world.id.clone(), State::Error);
    world.event(|event| *event == expected).await;
    assert_eq!(world.status().pid, None);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_memory_limit_holds_for_what_is_used_and_not_for_what_is_reserved() {
    let Transport::Stdio { command, args, env, cwd, .. } = child(&["reserve"]) else {
        unreachable!("a child")
    };
    let transport = Transport::Stdio { command, args, env, cwd, max_memory: Some(512 << 20) };
    let world = World::new(transport, settings(), |_| {});
    let ask = async |bytes: u64| {
        let members = format!(r#""name":"memory","arguments":{{"bytes":{bytes}}}"#).into();
        let answer = world.call(Call { members, ..echo() }).await.expect("answered");
        answer.message.root().get("result").expect("a result").raw().to_owned()
    };
    assert_eq!(ask(1 << 20).await, r#"{"length": 1048576}"#);
    assert_eq!(ask(1 << 30).await, r#"{"length": -1}"#);
}

/// What the child is subscribed to, as it says.
async fn subscribed(world: &World, expected: &str) {
    within(async {
        while ask(world, "subscribed").await != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn touch(world: &World, uri: &str) {
    let members = Bytes::from(format!(r#""name":"touch","arguments":{{"uri":"{uri}"}}"#));
    world.call(Call { members, ..echo() }).await.expect("answered");
}

/// Waits for the next update and takes note of it.
async fn updated(world: &mut World) -> String {
    let event = world.event(|event| matches!(event, Event::ResourceUpdated(..))).await;
    let Event::ResourceUpdated(server, uri) = event else { unreachable!("waited for") };
    world.upstreams.seen(&server, &uri);
    uri
}

#[tokio::test]
async fn a_newer_child_is_subscribed_to_with_one_filter_after_another() {
    let mut world = world(&["modern", "subscribes"], |_| {});
    let one = within(world.upstreams.subscribe(&world.id, "a:1")).await.expect("agreed");
    let again = within(world.upstreams.subscribe(&world.id, "a:1")).await.expect("agreed");
    subscribed(&world, r#"{"listens": [["a:1"]], "session": []}"#).await;
    let two = within(world.upstreams.subscribe(&world.id, "a:2")).await.expect("agreed");
    // While the old one has not ended yet, nothing is heard twice.
    touch(&world, "a:1").await;
    assert_eq!(updated(&mut world).await, "a:1");
    subscribed(&world, r#"{"listens": [["a:1", "a:2"]], "session": []}"#).await;
    let refused = within(world.upstreams.subscribe(&world.id, "a:unwelcome")).await;
    assert!(matches!(refused, Err(UpstreamError::Refused { .. })), "{refused:?}");
    touch(&world, "a:2").await;
    assert_eq!(updated(&mut world).await, "a:2");
    drop((one, again));
    subscribed(&world, r#"{"listens": [["a:2"]], "session": []}"#).await;
    drop(two);
    subscribed(&world, r#"{"listens": [], "session": []}"#).await;
}

#[tokio::test]
async fn subscriptions_outlive_a_child_of_either_era() {
    for habits in [&["modern", "subscribes"][..], &["subscribes"]] {
        let mut world = world(habits, |_| {});
        let held = within(world.upstreams.subscribe(&world.id, "a:1")).await.expect("agreed");
        let refused = within(world.upstreams.subscribe(&world.id, "a:unwelcome")).await;
        assert!(matches!(refused, Err(UpstreamError::Refused { .. })), "{refused:?}");
        touch(&world, "a:1").await;
        assert_eq!(updated(&mut world).await, "a:1");
        let _ = world.call(tool("crash")).await;
        // What it said while it was gone, nobody knows.
        assert_eq!(updated(&mut world).await, "a:1", "{habits:?}");
        touch(&world, "a:1").await;
        assert_eq!(updated(&mut world).await, "a:1", "{habits:?}");
        drop(held);
        subscribed(&world, r#"{"listens": [], "session": []}"#).await;
    }
}

#[tokio::test]
async fn a_child_that_somebody_is_subscribed_to_is_not_idle() {
    let mut world = world(&["subscribes"], |spec| spec.idle_timeout = Some(Duration::from_millis(100)));
    let held = within(world.upstreams.subscribe(&world.id, "a:1")).await.expect("agreed");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(world.status().state, State::Connected);
    drop(held);
    world.event(|event| matches!(event, Event::StateChanged(_, State::Registered))).await;
}

#[tokio::test]
async fn a_child_without_subscriptions_is_not_asked_for_any() {
    let world = world(&[], |_| {});
    let refused = within(world.upstreams.subscribe(&world.id, "a:1")).await;
    assert!(matches!(refused, Err(UpstreamError::NotOffered { .. })), "{refused:?}");
    assert!(!ask(&world, "received").await.contains("subscribe"));
}
