//! Links over HTTP against real sockets: what is sent, what is accepted as an
//! answer, and what is left behind.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{
    Board, INITIALIZED, Mock, Reply, Seen, World, echo, events, json, legacy, modern, quick, result, status,
    within,
};
use doorward_model::room::Room;
use doorward_model::{Audience, CapabilityKind, Secret, Shared};
use doorward_upstream::{
    Call, Credential, Event, Listing, Protocol, ServerSpec, Settings, State, Transport, UpstreamError,
};
use doorward_wire::Era;
use doorward_wire::log::Logs;
use tokio::sync::mpsc;
use tokio::time::Instant;

#[tokio::test]
async fn a_stateless_server_is_found_and_called_on_one_connection() {
    let mock = Mock::modern(|seen| result(seen, r#"{"content":[]}"#)).await;
    let world = World::http(&mock);
    assert_eq!(world.status().state, State::Registered);
    assert!(mock.log().is_empty(), "nothing is reached before it is needed");
    for _ in 0..3 {
        assert_eq!(world.echo().await.expect("answered"), r#"{"content":[]}"#);
    }
    let headers = [("Mcp-Param-Region".to_owned(), "ü".to_owned())];
    let call = Call {
        target: Some("doc://é"),
        extra_headers: &headers,
        client_info: r#"{"name":"c"}"#,
        capabilities: r#"{"roots":{}}"#,
        meta: r#""traceparent":"00-1""#,
        ..echo()
    };
    let answer = world.call(call).await.expect("answered");
    assert_eq!((answer.status, answer.bytes), (Some(200), answer.message.bytes().len()));

    let log = mock.log();
    assert_eq!(mock.methods(), ["server/discover", "tools/call", "tools/call", "tools/call", "tools/call"]);
    assert!(log.iter().all(|seen| seen.connection == 0 && seen.header("mcp-session-id").is_empty()));
    assert_eq!(log[0].header("mcp-protocol-version"), "2026-07-28");
    let last = &log[4];
    assert_eq!(last.header("mcp-method"), "tools/call");
    assert_eq!(last.header("mcp-name"), "=?base64?ZG9jOi8vw6k=?=");
    assert_eq!(last.header("mcp-param-region"), "=?base64?w7w=?=");
    assert_eq!(last.header("accept"), "application/json, text/event-stream");
    assert_eq!(last.header("content-type"), "application/json");
    assert_eq!(
        last.body,
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{{"name":"echo","arguments":{{"a":1}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{"roots":{{}}}},"io.modelcontextprotocol/clientInfo":{{"name":"c"}},"traceparent":"00-1"}}}}}}"#,
            last.id()
        )
    );
    let status = world.status();
    assert_eq!((status.state, status.era), (State::Connected, Some(Era::Modern)));
    assert_eq!(status.protocol_version.as_deref(), Some("2026-07-28"));
    assert!(status.last_ok_at.is_some() && status.uptime.is_some() && status.pid.is_none());
}

#[tokio::test]
async fn every_caller_has_a_session_of_its_own_with_an_older_server() {
    let mock = Mock::legacy(|seen| result(seen, &format!("{:?}", seen.header("mcp-session-id")))).await;
    let world = World::http(&mock);
    let mut sessions = Vec::new();
    for affinity in ["alice", "bob", "alice", "bob"] {
        let answer = world.call(Call { affinity, ..echo() }).await.expect("answered");
        sessions.push(answer.message.root().get("result").expect("a result").raw().to_owned());
    }
    assert_eq!(sessions, [r#""s-1""#, r#""s-2""#, r#""s-1""#, r#""s-2""#]);
    mock.wait("GET", 1).await;
    let log = mock.log();
    let of = |method: &str| log.iter().filter(|seen| seen.rpc() == method).collect::<Vec<_>>();
    assert_eq!(of("initialize").len(), 3, "one for the gateway itself");
    assert_eq!(of("notifications/initialized").len(), 3);
    assert!(of("initialize").iter().all(|seen| seen.header("mcp-session-id").is_empty()));
    assert_eq!(of("GET").len(), 1, "only the gateway's own session listens");
    let call = of("tools/call")[0];
    assert_eq!(call.header("mcp-protocol-version"), "2025-11-25");
    assert!(call.header("mcp-method").is_empty());
    assert!(!call.body.contains("_meta"), "{}", call.body);
    assert_eq!(world.upstreams.session_count(&world.id), Some(3));

    within(world.upstreams.shutdown()).await;
    let ended: Vec<_> = mock.log().into_iter().filter(|seen| seen.method == "DELETE").collect();
    assert_eq!(ended.len(), 3);
    assert_eq!(world.status().state, State::Disabled);
    assert!(matches!(world.echo().await, Err(UpstreamError::Unavailable { .. })));
}

#[tokio::test]
async fn many_first_calls_open_one_session() {
    let mock = Mock::legacy(|seen| result(seen, "{}")).await;
    let world = Arc::new(World::http(&mock));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let world = Arc::clone(&world);
        calls.spawn(async move { world.echo().await.expect("answered") });
    }
    while let Some(call) = calls.join_next().await {
        call.expect("no panic");
    }
    assert_eq!((mock.count("initialize"), mock.count("tools/call")), (2, 40));
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_and_the_call_repeated_once() {
    let forgotten = || {
        let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#;
        Reply::Full(400, "content-type: application/json\r\n".into(), body.into())
    };
    for by_rule in [true, false] {
        let mock = Mock::legacy(move |seen| match seen.header("mcp-session-id") {
            "s-1" if by_rule => status(404),
            "s-1" => forgotten(),
            _ => result(seen, "{}"),
        })
        .await;
        let world = World::http(&mock);
        assert_eq!(world.echo().await.expect("answered"), "{}");
        assert_eq!((mock.count("initialize"), mock.count("tools/call")), (3, 2));
        assert_eq!(world.echo().await.expect("answered"), "{}");
        assert_eq!(mock.count("initialize"), 3);
    }

    let mock = Mock::legacy(|_| status(404)).await;
    let world = World::http(&mock);
    let error = world.echo().await.expect_err("lost twice");
    assert!(matches!(error, UpstreamError::Status { status: 404, .. }), "{error}");
    assert_eq!(mock.count("tools/call"), 2);
}

#[tokio::test]
async fn after_a_restart_of_the_server_sessions_are_opened_again_a_few_at_a_time() {
    const CALLERS: usize = 112;
    let (is_restarted, sessions) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (forgets, opening, at_once) = (Arc::clone(&is_restarted), Arc::clone(&open), Arc::clone(&most));
    let mock = Mock::new(move |seen| {
        let known = seen.header("mcp-session-id").trim_start_matches("s-").parse::<usize>();
        match seen.rpc().as_str() {
            "initialize" => {
                at_once.fetch_max(opening.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
            // The last request of an opening.
            "notifications/initialized" => {
                opening.fetch_sub(1, Ordering::SeqCst);
            }
            "tools/call" if forgets.load(Ordering::SeqCst) && known.is_ok_and(|it| it <= CALLERS) => {
                return status(404);
            }
            _ => {}
        }
        legacy(seen, &sessions).unwrap_or_else(|| result(seen, "{}"))
    })
    .await;
    let world = Arc::new(World::http(&mock));
    let everybody_calls = async || {
        let mut calls = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let world = Arc::clone(&world);
            calls.spawn(async move {
                let affinity = format!("caller-{caller}");
                world.call(Call { affinity: &affinity, ..echo() }).await.expect("answered");
            });
        }
        while let Some(call) = calls.join_next().await {
            call.expect("no panic");
        }
    };
    everybody_calls().await;
    assert_eq!(mock.count("initialize"), CALLERS + 1, "one is the gateway's own");
    is_restarted.store(true, Ordering::SeqCst);
    most.store(0, Ordering::SeqCst);
    everybody_calls().await;
    assert_eq!(mock.count("initialize"), 2 * CALLERS + 1, "everybody has a session again");
    assert_eq!(mock.count("tools/call"), 3 * CALLERS, "and each call was sent again once");
    let most = most.load(Ordering::SeqCst);
    assert!((1..=8).contains(&most), "{most} at once");
}

#[tokio::test]
async fn a_session_that_is_only_ever_refused_is_left_for_another() {
    for shared in [None, Some(Arc::new(Board::default()))] {
        let (is_known, sessions) = (Arc::new(AtomicBool::new(true)), AtomicUsize::new(0));
        let knows = Arc::clone(&is_known);
        let mock = Mock::new(move |seen| match seen.header("mcp-session-id") {
            "s-1" if !knows.load(Ordering::SeqCst) => {
                let body = "Bad Request: No valid session ID provided";
                Reply::Full(400, "content-type: text/plain\r\n".into(), body.into())
            }
            _ => legacy(seen, &sessions).unwrap_or_else(|| result(seen, "{}")),
        })
        .await;
        let shared = shared.map(|board| board as Arc<dyn Shared>);
        let settings = Settings { shared, ..quick() };
        let world = World::new(Transport::Http { url: mock.url.clone() }, settings, |_| {});
        assert_eq!(world.echo().await.expect("answered"), "{}");
        is_known.store(false, Ordering::SeqCst);
        let error = world.echo().await.expect_err("refused");
        assert!(matches!(error, UpstreamError::Status { status: 400, .. }), "{error}");
        assert_eq!(mock.count("tools/call"), 2, "it may have been looked at, and is not sent again");
        assert_eq!(world.echo().await.expect("answered"), "{}");
        let of = |method: &str| -> Vec<_> {
            let log = mock.log().into_iter().filter(|seen| seen.rpc() == method);
            log.map(|seen| seen.header("mcp-session-id").to_owned()).collect()
        };
        assert_eq!(of("tools/call"), ["s-1", "s-1", "s-2"]);
        assert_eq!(of("ping"), ["s-1", "s-0"], "in that session, and in the gateway's own");
        assert_eq!(mock.count("initialize"), 3);
    }
}

#[tokio::test]
async fn a_shared_session_is_gone_on_in_only_where_and_as_whom_it_was_opened() {
    let server = || Mock::legacy(|seen| result(seen, &format!("{:?}", seen.header("mcp-session-id"))));
    let (here, there) = (server().await, server().await);
    let board = Arc::new(Board::default());
    let settings = Settings { shared: Some(Arc::clone(&board) as Arc<dyn Shared>), ..quick() };
    let world = World::new(Transport::Http { url: here.url.clone() }, settings, |_| {});
    assert_eq!(world.echo().await.expect("answered"), r#""s-1""#);
    let bearer = || Credential::Bearer(Secret::new("sesame"));
    let header = |value: &str| Credential::Headers(vec![("x-key".into(), Secret::new(value))]);
    let cases = [
        // server, shown    session  sessions ever opened there    because
        (&there, Credential::None, "s-1", 2, "it is another server"),
        (&here, Credential::None, "s-1", 3, "it was opened there before, and only the gateway's is new"),
        (&here, bearer(), "s-4", 5, "it is somebody else"),
        (&here, header("sesame"), "s-6", 7, "it is shown elsewhere"),
        (&here, header("other"), "s-8", 9, "it is another"),
        (&here, bearer(), "s-4", 10, "it was opened so before"),
    ];
    for (mock, credential, session, opened, because) in cases {
        let mut spec = ServerSpec::new(world.id.clone(), Transport::Http { url: mock.url.clone() });
        spec.credential = credential;
        world.upstreams.configure(vec![spec]);
        assert_eq!(world.echo().await.expect("answered"), format!("{session:?}"), "{because}");
        assert_eq!(mock.count("initialize"), opened, "{because}");
    }
    let keys = board.keys();
    assert_eq!(keys.len(), 5);
    assert!(!keys.iter().any(|key| key.contains("sesame") || key.contains("127.0.0.1")), "{keys:?}");
}

#[tokio::test]
async fn a_streamed_answer_brings_news_and_questions_along() {
    let mock = Mock::legacy(|seen| {
        let id = seen.id();
        events(&[
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":1}}}}"#),
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":999,"progress":1}}"#.into(),
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#.into(),
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.into(),
            r#"{"jsonrpc":"2.0","id":"q1","method":"ping"}"#.into(),
            r#"{"jsonrpc":"2.0","id":"q2","method":"sampling/createMessage","params":{}}"#.into(),
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#),
        ])
    })
    .await;
    let mut world = World::http(&mock);
    let (notify, mut notes) = mpsc::channel(8);
    let call = Call { notify: Some(notify), logs: Logs::Any, progress_token: Some("\"mine\""), ..echo() };
    let answer = world.call(call).await.expect("answered");
    assert_eq!(answer.message.root().get("result").expect("a result").raw(), r#"{"content":[]}"#);
    let mut heard = Vec::new();
    while let Some(note) = notes.recv().await {
        heard.push(String::from_utf8(note.to_vec()).expect("text"));
    }
    assert_eq!(
        heard,
        [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#,
        ]
    );
    let changed = Event::CatalogChanged(world.id.clone(), CapabilityKind::Tool);
    world.event(|event| *event == changed).await;
    let replies: Vec<_> = mock.log().into_iter().filter(|seen| seen.rpc().is_empty()).collect();
    assert_eq!(replies[0].body, r#"{"jsonrpc":"2.0","id":"q1","result":{}}"#);
    assert!(replies[1].body.contains(r#""id":"q2","error":{"code":-32601"#), "{}", replies[1].body);
    assert!(replies.iter().all(|seen| seen.header("mcp-session-id") == "s-1"));
    let sent = mock.log().into_iter().find(|seen| seen.rpc() == "tools/call").expect("sent");
    assert!(sent.body.contains(&format!(r#""_meta":{{"progressToken":{}}}"#, sent.id())), "{}", sent.body);
}

#[tokio::test]
async fn streamed_answers_use_one_connection_again() {
    let mock =
        Mock::modern(|seen| events(&[format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, seen.id())]))
            .await;
    let world = World::http(&mock);
    for _ in 0..30 {
        assert_eq!(world.echo().await.expect("answered"), "{}");
        tokio::task::yield_now().await;
    }
    let connections = mock.log().iter().map(|seen| seen.connection).max().expect("some");
    assert!(connections < 15, "{connections} connections for 30 calls");
}

#[tokio::test]
async fn a_question_on_a_stateless_stream_fails_the_call() {
    let mock = Mock::modern(|_| {
        let (sender, receiver) = mpsc::unbounded_channel();
        sender
            .send("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}\n\n".into())
            .expect("open");
        // The stream stays open: without the rule this call would hang.
        std::mem::forget(sender);
        Reply::Stream(receiver)
    })
    .await;
    let world = World::http(&mock);
    let error = world.echo().await.expect_err("a violation");
    assert!(error.to_string().contains("which revision 2026-07-28 does not have"), "{error}");
    mock.wait("closed", 1).await;
}

#[tokio::test]
async fn a_notification_that_cannot_be_read_costs_no_call_its_answer() {
    let unreadable = [
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progresstoken":2}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":NaN}}"#,
    ];
    let stream = move |seen: &Seen| {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"a":1}}}}"#, seen.id());
        events(&[unreadable[0].to_owned(), unreadable[1].to_owned(), answer])
    };
    for mock in [Mock::modern(stream).await, Mock::legacy(stream).await] {
        let world = World::http(&mock);
        assert_eq!(world.echo().await.expect("answered"), r#"{"a":1}"#);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_and_never_a_hang() {
    let protocol = |error: &UpstreamError| matches!(error, UpstreamError::Protocol { .. });
    let unreachable = |error: &UpstreamError| matches!(error, UpstreamError::Unreachable { .. });
    type Case = (&'static str, fn(&Seen) -> Reply, fn(&UpstreamError) -> bool);
    let cases: Vec<Case> = vec![
        ("another id", |_| json(r#"{"jsonrpc":"2.0","id":"x","result":{}}"#), protocol),
        ("another number", |_| json(r#"{"jsonrpc":"2.0","id":999,"result":{}}"#), protocol),
        ("no JSON", |_| json("oops"), protocol),
        ("nothing", |_| json(""), protocol),
        (
            "two values",
            |seen| json(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}{{}}"#, seen.id())),
            protocol,
        ),
        (
            "a key twice",
            |seen| json(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}},"result":1}}"#, seen.id())),
            protocol,
        ),
        (
            "a batch",
            |seen| json(format!(r#"[{{"jsonrpc":"2.0","id":{},"result":{{}}}}]"#, seen.id())),
            protocol,
        ),
        (
            "a request",
            |seen| json(format!(r#"{{"jsonrpc":"2.0","id":{},"method":"x"}}"#, seen.id())),
            protocol,
        ),
        ("accepted only", |_| status(202), protocol),
        ("a page", |_| Reply::Full(200, "content-type: text/html\r\n".into(), "<p>hi".into()), protocol),
        ("an empty stream", |_| events(&[]), protocol),
        (
            "an answer on a stream that cannot be read",
            |seen| events(&[format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"a":NaN}}}}"#, seen.id())]),
            protocol,
        ),
        ("a stream of something else", |_| events(&["oops".into()]), protocol),
        ("a stream for another", |_| events(&[r#"{"jsonrpc":"2.0","id":999,"result":{}}"#.into()]), protocol),
        (
            "a redirect",
            |_| Reply::Full(307, "location: http://127.0.0.1:1/\r\n".into(), String::new()),
            |error| matches!(error, UpstreamError::Status { status: 307, .. }),
        ),
        ("trouble", |_| status(503), |error| matches!(error, UpstreamError::Status { status: 503, .. })),
        ("hanging up", |_| Reply::Hangup, unreachable),
        ("half a stream", |_| Reply::Cut("data: {".into()), unreachable),
    ];
    for (case, handle, expected) in cases {
        for modern in [true, false] {
            let mock = if modern { Mock::modern(handle).await } else { Mock::legacy(handle).await };
            let world = World::http(&mock);
            let error = world.echo().await.expect_err(case);
            assert!(expected(&error), "{case}: {error:?}");
            assert_eq!(mock.count("tools/call"), 1, "{case}: a call is never sent twice");
            assert!(world.status().last_error.is_some(), "{case}");
        }
    }
}

#[tokio::test]
async fn who_lets_everybody_wait_is_spared_and_one_call_finds_out_when_it_is_back() {
    let hangs = Arc::new(AtomicBool::new(true));
    let of_server = Arc::clone(&hangs);
    let mock = Mock::modern(move |seen| {
        if of_server.load(Ordering::SeqCst) { Reply::Silence } else { result(seen, r#"{"content":[]}"#) }
    })
    .await;
    let transport = Transport::Http { url: mock.url.clone() };
    let world = World::new(transport, quick(), |spec| spec.timeout = Duration::from_millis(30));
    for _ in 0..5 {
        let error = world.echo().await.expect_err("silence");
        assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
    }
    let error = world.echo().await.expect_err("spared");
    assert!(matches!(error, UpstreamError::Silent { .. }), "{error:?}");
    assert!(!error.may_have_run());
    assert_eq!(mock.count("tools/call"), 5, "it got no more");
    assert_eq!(world.status().state, State::Degraded);

    let rest = Duration::from_secs(10);
    world.clock.skip(rest);
    let error = world.echo().await.expect_err("silence");
    assert!(matches!(error, UpstreamError::Timeout { .. }), "one tries: {error:?}");
    let error = world.echo().await.expect_err("spared");
    assert!(matches!(error, UpstreamError::Silent { .. }), "it is as it was: {error:?}");

    hangs.store(false, Ordering::SeqCst);
    world.clock.skip(rest);
    for _ in 0..3 {
        world.echo().await.expect("it is back");
    }
    assert_eq!(mock.count("tools/call"), 9);
    assert_eq!(world.status().state, State::Connected);
}

#[tokio::test]
async fn errors_of_the_server_are_answers_whatever_their_status() {
    for code in [200, 400, 404, 500] {
        let mock = Mock::modern(move |seen| {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32602,"message":"no"}}}}"#, seen.id());
            Reply::Full(code, "content-type: Application/JSON;charset=utf-8\r\n".into(), body)
        })
        .await;
        let world = World::http(&mock);
        let answer = world.call(echo()).await.expect("an answer");
        assert_eq!(answer.status, Some(code));
        assert!(answer.message.root().get("error").is_some());
        assert_eq!(world.status().state, State::Connected);
    }
}

#[tokio::test]
async fn a_404_that_answers_the_request_is_no_end_of_a_session() {
    let refusal = |id: String, code: i32| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"no"}}}}"#);
        Reply::Full(404, "content-type: application/json\r\n".into(), body)
    };
    let cases = [
        // names it  code  sent  because
        (true, -32601, 1, "the server has judged it"),
        (true, -32002, 1, "the server has judged it"),
        (true, -32000, 2, "servers say so that a session is gone"),
        (true, -32001, 2, "servers say so that a session is gone"),
        (false, -32600, 2, "nothing was judged"),
    ];
    for (names_it, code, sent, because) in cases {
        let mock = Mock::legacy(move |seen| match seen.header("mcp-session-id") {
            "s-1" => refusal(if names_it { seen.id() } else { r#""server-error""#.into() }, code),
            _ => result(seen, "{}"),
        })
        .await;
        let world = World::http(&mock);
        let answer = world.call(echo()).await.expect("an answer");
        assert_eq!(mock.count("tools/call"), sent, "{because}: {code}");
        let error = answer.message.root().get("error").and_then(|error| error.get("code")?.as_i64());
        assert_eq!(error, (sent == 1).then_some(i64::from(code)), "{because}: {code}");
        assert_eq!(world.status().state, State::Connected);
    }
}

#[tokio::test]
async fn a_server_that_wants_a_credential_says_so_in_its_state() {
    for code in [401, 403] {
        let mock = Mock::new(move |seen| match seen.header("authorization") {
            "Bearer sesame" => modern(seen).unwrap_or_else(|| result(seen, "{}")),
            _ => Reply::Full(code, "www-authenticate: Bearer realm=\"x\"\r\n".into(), String::new()),
        })
        .await;
        let world = World::http(&mock);
        let error = world.echo().await.expect_err("refused");
        assert!(
            matches!(&error, UpstreamError::AuthRequired { challenge: Some(text), .. } if text == "Bearer realm=\"x\""),
            "{error:?}"
        );
        assert!(!error.may_have_run());
        assert_eq!(world.status().state, State::AuthRequired);

        let mut spec = ServerSpec::new(world.id.clone(), Transport::Http { url: mock.url.clone() });
        spec.credential = Credential::Bearer(Secret::new("sesame"));
        world.upstreams.configure(vec![spec]);
        assert_eq!(world.echo().await.expect("let in"), "{}");
        assert_eq!(world.status().state, State::Connected);
    }
}

#[tokio::test]
async fn the_rest_of_a_broken_stream_is_asked_for() {
    let pending = Arc::new(Mutex::new(String::new()));
    let calls = Arc::clone(&pending);
    let sessions = AtomicUsize::new(0);
    let mock = Mock::new(move |seen| match seen.rpc().as_str() {
        "GET" if seen.header("last-event-id") == "e1" => events(&[format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"late":true}}}}"#,
            calls.lock().expect("set")
        )]),
        "tools/call" => {
            *calls.lock().expect("set") = seen.id();
            Reply::Cut("id: e1\nretry: 10\ndata:\n\n".into())
        }
        _ => legacy(seen, &sessions).expect("handled"),
    })
    .await;
    let world = World::http(&mock);
    assert_eq!(world.echo().await.expect("answered"), r#"{"late":true}"#);
    assert_eq!(mock.count("tools/call"), 1);
    drop(pending);
}

#[tokio::test]
async fn a_late_answer_is_a_timeout_and_the_server_is_told() {
    let mock = Mock::legacy(|_| Reply::Silence).await;
    let world = World::http(&mock);
    let call = Call { deadline: Some(Duration::from_millis(80)), ..echo() };
    let error = world.call(call).await.expect_err("late");
    assert_eq!(error.to_string(), "MCP request timeout after 80ms: tools/call");
    assert_eq!(world.status().state, State::Degraded);
    let cancelled = mock.wait("notifications/cancelled", 1).await;
    let call = mock.wait("tools/call", 1).await;
    assert!(cancelled.body.contains(&format!(r#""requestId":{},"#, call.id())), "{}", cancelled.body);
    assert_eq!(cancelled.header("mcp-session-id"), "s-1");

    let mock = Mock::modern(|_| Reply::Silence).await;
    let world = World::http(&mock);
    let call = Call { deadline: Some(Duration::from_millis(80)), ..echo() };
    assert!(matches!(world.call(call).await, Err(UpstreamError::Timeout { .. })));
    mock.wait("closed", 1).await;
    assert_eq!(mock.count("notifications/cancelled"), 0, "closing is how this revision cancels");
}

#[tokio::test]
async fn a_dropped_call_is_withdrawn() {
    let mock = Mock::legacy(|_| Reply::Silence).await;
    let world = Arc::new(World::http(&mock));
    let caller = Arc::clone(&world);
    let call = tokio::spawn(async move { caller.echo().await });
    mock.wait("tools/call", 1).await;
    call.abort();
    mock.wait("notifications/cancelled", 1).await;
}

#[tokio::test]
async fn progress_does_not_extend_the_deadline() {
    let mock = Mock::modern(|seen| {
        let (sender, receiver) = mpsc::unbounded_channel();
        let id = seen.id();
        tokio::spawn(async move {
            let note = format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{id},\"progress\":1}}}}\n\n");
            while sender.send(note.clone()).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Reply::Stream(receiver)
    })
    .await;
    let world = World::http(&mock);
    let call = Call { deadline: Some(Duration::from_millis(100)), ..echo() };
    assert!(matches!(world.call(call).await, Err(UpstreamError::Timeout { .. })));
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_refused() {
    let settings = Settings { max_answer: 1000, ..quick() };
    let long =
        |seen: &Seen| format!(r#"{{"jsonrpc":"2.0","id":{},"result":{:?}}}"#, seen.id(), "x".repeat(2000));
    let as_json = Mock::modern(move |seen| json(long(seen))).await;
    let as_stream = Mock::modern(move |seen| events(&[long(seen)])).await;
    for mock in [as_json, as_stream] {
        let world = World::new(Transport::Http { url: mock.url.clone() }, settings.clone(), |_| {});
        let error = world.echo().await.expect_err("too long");
        assert!(matches!(error, UpstreamError::TooLarge { limit: 1000, .. }), "{error}");
    }
}

fn lists(seen: &Seen, changed: &AtomicUsize) -> Option<Reply> {
    let page = |items: &str, more: &str| Some(result(seen, &format!("{{{items}{more}}}")));
    match (seen.rpc().as_str(), seen.body.contains("cursor"), seen.body.contains(r#""cursor":"""#)) {
        ("tools/list", false, _) => {
            let name =
                format!(r#""tools":[{{"name":"a-{}","inputSchema":{{}}}}]"#, changed.load(Ordering::SeqCst));
            page(&name, r#","nextCursor":"""#)
        }
        ("tools/list", _, true) => page(r#""tools":[{"name":"b"},{"nameless":1}]"#, r#","nextCursor":"x""#),
        ("tools/list", _, false) => page(r#""tools":[{"name":"c", "x":9007199254740993}]"#, ""),
        ("resources/list", ..) => page(r#""resources":[{"uri":"a:b","name":"n"}]"#, ""),
        ("resources/templates/list", ..) => Some(json(format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"x"}}}}"#,
            seen.id()
        ))),
        _ => None,
    }
}

const WITH_LISTS: &str = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{}},"serverInfo":{"name":"m"},"instructions":"read me"}"#;

#[tokio::test]
async fn everything_offered_is_listed_once_until_it_changes() {
    let changed = Arc::new(AtomicUsize::new(0));
    let (tell, stream) = mpsc::unbounded_channel();
    let stream = Mutex::new(Some(stream));
    let counter = Arc::clone(&changed);
    let mock = Mock::new(move |seen| match seen.rpc().as_str() {
        "server/discover" => status(400),
        "initialize" => result(seen, WITH_LISTS),
        "GET" => stream.lock().expect("set").take().map_or_else(|| status(405), Reply::Stream),
        method if method.starts_with("notifications/") => status(202),
        _ => lists(seen, &counter).expect("a list"),
    })
    .await;
    let mut world = World::http(&mock);
    let upstreams = world.upstreams.clone();
    let (one, two) = tokio::join!(upstreams.catalog(&world.id, ""), upstreams.catalog(&world.id, ""));
    let ((audience, one), (_, two)) = (one.expect("listed"), two.expect("listed"));
    assert_eq!(audience, Audience::Everybody, "without sessions, it knows nobody");
    assert!(Arc::ptr_eq(&one, &two), "asked for once");
    let found: Vec<_> = one.definitions.iter().map(|it| format!("{:?} {}", it.kind, it.name)).collect();
    assert_eq!(found, ["Tool a-0", "Tool b", "Tool c", "Resource a:b"]);
    assert_eq!(&one.definitions[2].raw[..], br#"{"name":"c", "x":9007199254740993}"#);
    assert_eq!((one.instructions.as_deref(), &*one.protocol_version), (Some("read me"), "2025-06-18"));
    assert_eq!(&one.server_info[..], br#"{"name":"m"}"#);
    assert_eq!(mock.count("tools/list"), 3);
    assert!(Arc::ptr_eq(&one, &upstreams.catalog(&world.id, "{}").await.expect("kept").1));
    assert_eq!(mock.count("prompts/list"), 0, "not declared");

    mock.wait("GET", 1).await;
    changed.store(1, Ordering::SeqCst);
    tell.send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n".into())
        .expect("open");
    let expected = Event::CatalogChanged(world.id.clone(), CapabilityKind::Tool);
    world.event(|event| *event == expected).await;
    let (_, new) = upstreams.catalog(&world.id, "").await.expect("listed");
    assert_eq!(&*new.definitions[0].name, "a-1");
}

/// The names and the gaps of what is offered.
async fn listed(world: &World) -> (Vec<String>, Vec<(CapabilityKind, String, bool)>) {
    let (_, catalog) = within(world.upstreams.catalog(&world.id, "")).await.expect("listed");
    let names = catalog.definitions.iter().map(|definition| definition.name.to_string()).collect();
    let gaps = catalog.gaps.iter().map(|gap| (gap.kind, gap.why.to_string(), gap.is_passing)).collect();
    (names, gaps)
}

#[tokio::test]
async fn of_pages_that_never_end_what_was_read_is_kept_once_each() {
    // What each page has, and where it leads; what is missing in the end, after how many pages.
    type Page = fn(usize) -> (String, String);
    let cases: [(Page, &[&str], &str, usize); 4] = [
        (|page| (format!("{page}"), "again".to_owned()), &["0", "1"], "lead in a circle", 2),
        (|page| (format!("{page}"), format!("c{}", page % 3)), &["0", "1", "2", "3"], "lead in a circle", 4),
        (|page| ("same".to_owned(), format!("c{page}")), &["same"], "repeat themselves", 2),
        (
            |page| (format!("{page}"), format!("c{page}")),
            &["0", "1", "2", "3", "4", "5", "6"],
            "too many pages",
            7,
        ),
    ];
    for (page, names, why, pages) in cases {
        let asked = AtomicUsize::new(0);
        let mock = Mock::modern(move |seen| {
            let (name, next) = page(asked.fetch_add(1, Ordering::SeqCst));
            result(seen, &format!(r#"{{"tools":[{{"name":"{name}"}}],"nextCursor":"{next}"}}"#))
        })
        .await;
        let listing = Listing { pages: 7, ..Settings::default().listing };
        let world =
            World::new(Transport::Http { url: mock.url.clone() }, Settings { listing, ..quick() }, |_| {});
        let (found, gaps) = listed(&world).await;
        assert_eq!(found, names, "{why}");
        let [(CapabilityKind::Tool, said, false)] = &gaps[..] else { panic!("{gaps:?}") };
        assert!(said.contains(why), "{said}");
        assert_eq!(mock.count("tools/list"), pages, "{why}");
    }
}

#[tokio::test]
async fn a_list_that_fails_takes_nothing_away_from_the_others_and_is_asked_for_again() {
    let is_down = Arc::new(AtomicUsize::new(1));
    let down = Arc::clone(&is_down);
    let mock = Mock::new(move |seen| match (seen.rpc().as_str(), down.load(Ordering::SeqCst)) {
        ("server/discover", _) => status(400),
        ("initialize", _) => result(
            seen,
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"prompts":{},"resources":{}},"serverInfo":{"name":"m"}}"#,
        ),
        ("tools/list", _) => result(seen, r#"{"tools":[{"name":"t"}]}"#),
        ("prompts/list", 1) => json(format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32603,"message":"database is down"}}}}"#,
            seen.id()
        )),
        ("resources/list", 1) => status(500),
        ("prompts/list", _) => result(seen, r#"{"prompts":[{"name":"p"}]}"#),
        (method, _) if method.starts_with("resources/") => {
            result(seen, r#"{"resources":null,"resourceTemplates":[7,{"uriTemplate":null}]}"#)
        }
        _ => status(202),
    })
    .await;
    let world = World::http(&mock);
    let nameless = "2 of its entries cannot be read, or have no name".to_owned();
    let (names, gaps) = listed(&world).await;
    assert_eq!(names, ["t"]);
    let said = "server `one` broke the protocol: it refused to list what it offers: database is down";
    assert_eq!(
        gaps,
        [
            (CapabilityKind::Resource, "server `one` answered with HTTP status 500".to_owned(), true),
            (CapabilityKind::ResourceTemplate, nameless.clone(), false),
            (CapabilityKind::Prompt, said.to_owned(), true),
        ]
    );
    is_down.store(0, Ordering::SeqCst);
    let (names, gaps) = listed(&world).await;
    assert_eq!(
        (names, gaps),
        (vec!["t".to_owned(), "p".to_owned()], vec![(CapabilityKind::ResourceTemplate, nameless, false)])
    );
    listed(&world).await;
    assert_eq!(mock.count("prompts/list"), 2, "what is whole is not asked for again");
}

#[tokio::test]
async fn an_id_that_comes_back_as_text_is_the_same_id() {
    let text = |seen: &Seen, result: &str| {
        json(format!(r#"{{"jsonrpc":"2.0","id":"{}","result":{result},"error":null}}"#, seen.id()))
    };
    let mock = Mock::new(move |seen| match seen.rpc().as_str() {
        "server/discover" => status(400),
        "initialize" => text(seen, INITIALIZED),
        "tools/call" => text(seen, r#"{"content":[{"type":"text","text":"ok"}]}"#),
        _ => status(202),
    })
    .await;
    let world = World::http(&mock);
    world.echo().await.expect("understood");
}

#[tokio::test]
async fn a_server_that_is_a_slash_away_is_found_and_nobody_is_followed_elsewhere() {
    for (location, expected) in [("/mcp/", true), ("/login", false), ("http://127.0.0.1:9/", false)] {
        let mock = Mock::new(move |seen| match seen.path.as_str() {
            "/mcp" => Reply::Full(307, format!("location: {location}\r\n"), String::new()),
            _ => modern(seen).unwrap_or_else(|| result(seen, r#"{"content":[],"resultType":"complete"}"#)),
        })
        .await;
        let world = World::http(&mock);
        assert_eq!(world.call(echo()).await.is_ok(), expected, "{location}");
        assert_eq!(world.call(echo()).await.is_ok(), expected, "{location}");
        let asked_for = |seen: &Seen| (seen.method == "POST").then(|| seen.path.clone());
        let paths: Vec<_> = mock.log().iter().filter_map(asked_for).collect();
        let asked = paths.iter().filter(|path| *path == "/mcp").count();
        assert!(if expected { asked == 1 } else { asked == paths.len() }, "{paths:?}");
    }
}

#[tokio::test]
async fn what_is_there_is_offered_while_a_list_hangs() {
    let (say, waiting) = mpsc::unbounded_channel();
    let waiting = Mutex::new(Some(waiting));
    let mock = Mock::new(move |seen| match seen.rpc().as_str() {
        "server/discover" => {
            result(seen, r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{}}}"#)
        }
        "tools/list" => result(seen, r#"{"tools":[{"name":"t"}]}"#),
        _ => waiting.lock().expect("set").take().map_or_else(|| status(500), Reply::Stream),
    })
    .await;
    let listing = Listing { patience: Duration::from_millis(100), ..Settings::default().listing };
    let world =
        World::new(Transport::Http { url: mock.url.clone() }, Settings { listing, ..quick() }, |_| {});
    let (_, part) = within(world.upstreams.catalog_soon(&world.id, "")).await.expect("a part");
    assert_eq!((&*part.definitions[0].name, part.definitions.len(), part.is_partial()), ("t", 1, true));
    let id = mock.wait("prompts/list", 1).await.id();
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"prompts":[{{"name":"p"}}]}}}}"#);
    let whole = world.upstreams.catalog(&world.id, "");
    say.send(format!("data: {answer}\n\n")).expect("it waits");
    let (_, whole) = within(whole).await.expect("all of it");
    assert_eq!((whole.definitions.len(), whole.gaps.len()), (2, 0));
    assert_eq!((mock.count("tools/list"), mock.count("prompts/list")), (1, 1), "asked for once");
}

#[tokio::test]
async fn a_stateless_server_is_subscribed_to() {
    let (tell, stream) = mpsc::unbounded_channel();
    let stream = Mutex::new(Some(stream));
    let mock = Mock::new(move |seen| match seen.rpc().as_str() {
        "server/discover" => result(
            seen,
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"prompts":{"listChanged":true}}}"#,
        ),
        "subscriptions/listen" => stream.lock().expect("set").take().map_or_else(|| status(404), Reply::Stream),
        _ => result(seen, "{}"),
    })
    .await;
    let mut world = World::http(&mock);
    world.echo().await.expect("answered");
    let listen = mock.wait("subscriptions/listen", 1).await;
    assert!(listen.body.contains(r#""notifications":{"toolsListChanged":true,"promptsListChanged":true}"#));
    tell.send(
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/prompts/list_changed\",\"params\":{}}\n\n"
            .into(),
    )
    .expect("open");
    let expected = Event::CatalogChanged(world.id.clone(), CapabilityKind::Prompt);
    world.event(|event| *event == expected).await;
}

/// A server of either era that offers news, and how its stream is asked for; `streams` says what
/// is answered to each request for one, given how many there were before.
async fn server_with_news(
    era: Era,
    streams: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> (Mock, &'static str) {
    let (sessions, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mock = Mock::new(move |seen| match (era, seen.rpc().as_str()) {
        (Era::Legacy, "GET") | (Era::Modern, "subscriptions/listen") => {
            streams(asked.fetch_add(1, Ordering::SeqCst))
        }
        (Era::Modern, "server/discover") => result(
            seen,
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}}}"#,
        ),
        (_, "tools/list") => result(seen, r#"{"tools":[]}"#),
        (Era::Modern, _) => result(seen, "{}"),
        (Era::Legacy, _) => legacy(seen, &sessions).unwrap_or_else(|| result(seen, "{}")),
    })
    .await;
    (mock, if era == Era::Legacy { "GET" } else { "subscriptions/listen" })
}

/// A stream on which the server acknowledges a subscription, and goes on to say what `tell` sends.
fn news() -> (mpsc::UnboundedSender<String>, Reply) {
    let (tell, stream) = mpsc::unbounded_channel();
    let acknowledged = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{}}}"#;
    tell.send(format!("data: {acknowledged}\n\n")).expect("open");
    (tell, Reply::Stream(stream))
}

/// A stream ends, is refused once when it is asked for again, and then says something.
async fn news_is_heard_after(era: Era, refusal: u16) {
    let (tell, stream) = news();
    let stream = Mutex::new(Some(stream));
    let (mock, asks) = server_with_news(era, move |before| match before {
        0 => news().1,
        1 => status(refusal),
        _ => stream.lock().expect("set").take().unwrap_or(Reply::Silence),
    })
    .await;
    let mut world = World::http(&mock);
    world.echo().await.expect("answered");
    mock.wait(asks, 3).await;
    let changed = Event::CatalogChanged(world.id.clone(), CapabilityKind::Tool);
    world.event(|event| *event == changed).await;
    // What is said from here on is news again.
    within(world.upstreams.catalog(&world.id, "")).await.expect("listed");
    tell.send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n".into())
        .expect("open");
    world.event(|event| *event == changed).await;
    assert_eq!(world.status().state, State::Connected, "{refusal}");
}

#[tokio::test]
async fn one_refusal_does_not_end_the_stream_of_a_session() {
    let heard = |refusal| news_is_heard_after(Era::Legacy, refusal);
    tokio::join!(heard(401), heard(429), heard(502), heard(503));
}

#[tokio::test]
async fn one_refusal_does_not_end_a_stateless_subscription() {
    let heard = |refusal| news_is_heard_after(Era::Modern, refusal);
    tokio::join!(heard(401), heard(429), heard(502), heard(503));
}

#[tokio::test]
async fn a_server_that_refuses_its_stream_is_asked_after_meanwhile() {
    for (era, asks_after) in [(Era::Legacy, "ping"), (Era::Modern, "server/discover")] {
        let (mock, asks) =
            server_with_news(era, |before| if before == 0 { news().1 } else { status(503) }).await;
        let settings = Settings { health_every: Some(Duration::from_millis(50)), ..quick() };
        let world = World::new(Transport::Http { url: mock.url.clone() }, settings, |_| {});
        world.echo().await.expect("answered");
        mock.wait(asks, 2).await;
        let before = mock.count(asks_after);
        mock.wait(asks_after, before + 2).await;
        assert_eq!(world.status().state, State::Connected, "{era:?}: it refuses nothing else");
    }
}

#[tokio::test]
async fn whoever_subscribes_has_a_stream_that_was_refused_asked_for_again() {
    let (tell, stream) = news();
    let stream = Mutex::new(Some(stream));
    let (sessions, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let subscribes = INITIALIZED.replace(r#""tools""#, r#""resources":{"subscribe":true},"tools""#);
    let mock = Mock::new(move |seen| match seen.rpc().as_str() {
        "GET" if asked.fetch_add(1, Ordering::SeqCst) == 0 => status(404),
        "GET" => stream.lock().expect("set").take().unwrap_or(Reply::Silence),
        "initialize" => {
            let head = "content-type: application/json\r\nMcp-Session-Id: s\r\n";
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{subscribes}}}"#, seen.id());
            Reply::Full(200, head.into(), body)
        }
        _ => legacy(seen, &sessions).unwrap_or_else(|| result(seen, "{}")),
    })
    .await;
    let mut world = World::http(&mock);
    let subscription = within(world.upstreams.subscribe(&world.id, "a:b")).await.expect("agreed");
    mock.wait("GET", 2).await;
    tell.send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"a:b\"}}\n\n".into())
        .expect("open");
    let updated = Event::ResourceUpdated(world.id.clone(), "a:b".into());
    world.event(|event| *event == updated).await;
    drop(subscription);
}

/// A server of 2024-11-05: answers come on the stream that a GET opened.
async fn event_stream_server(endpoint: &'static str) -> Mock {
    event_stream_server_but(endpoint, |_, _, _| None).await
}

/// The same with habits of its own: what is posted, with the stream of the moment, and how many
/// there have been.
async fn event_stream_server_but(
    endpoint: &'static str,
    habit: impl Fn(&Seen, &mpsc::UnboundedSender<String>, usize) -> Option<Reply> + Send + Sync + 'static,
) -> Mock {
    let streams: Arc<Mutex<Vec<mpsc::UnboundedSender<String>>>> = Arc::default();
    let posted = move |seen: &Seen, streams: &[mpsc::UnboundedSender<String>]| {
        streams.last().and_then(|last| habit(seen, last, streams.len()))
    };
    Mock::new(move |seen| match (seen.method.as_str(), seen.rpc().as_str()) {
        ("GET", _) => {
            let (sender, receiver) = mpsc::unbounded_channel();
            sender.send(format!("event: endpoint\ndata: {endpoint}\n\n")).expect("open");
            streams.lock().expect("set").push(sender);
            Reply::Stream(receiver)
        }
        ("POST", _) if seen.path == "/mcp" => status(405),
        ("POST", method) => {
            let streams = streams.lock().expect("set");
            if let Some(reply) = posted(seen, &streams) {
                return reply;
            }
            let answer = match method {
                "initialize" => {
                    r#"{"protocolVersion":"2024-11-05","capabilities":{},"serverInfo":{"name":"old"}}"#
                }
                "tools/call" => r#"{"old":true}"#,
                _ => return status(202),
            };
            let text = format!(
                "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{answer}}}\n\n",
                seen.id()
            );
            streams.last().expect("a stream").send(text).expect("open");
            status(202)
        }
        _ => status(405),
    })
    .await
}

#[tokio::test]
async fn the_oldest_transport_is_spoken_when_asked_for_or_when_nothing_else_is_there() {
    for transport in [|url| Transport::Sse { url }, |url| Transport::Http { url }] {
        let mock = event_stream_server("/messages?session=7").await;
        let world = World::new(transport(mock.url.clone()), quick(), |_| {});
        assert_eq!(world.echo().await.expect("answered"), r#"{"old":true}"#);
        assert_eq!(world.status().protocol_version.as_deref(), Some("2024-11-05"));
        let call = mock.wait("tools/call", 1).await;
        assert_eq!(call.path, "/messages?session=7");
    }
}

#[tokio::test]
async fn a_stream_that_died_without_a_word_is_left_for_another() {
    let mock = event_stream_server_but("/messages", |seen, _, streams| {
        (seen.rpc() == "tools/call" && streams == 1).then(|| status(202))
    })
    .await;
    let transport = Transport::Sse { url: mock.url.clone() };
    let world = World::new(transport, quick(), |spec| spec.timeout = Duration::from_millis(50));
    for _ in 0..5 {
        let error = world.echo().await.expect_err("silence");
        assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
    }
    world.clock.skip(Duration::from_secs(10));
    assert_eq!(world.echo().await.expect("answered"), r#"{"old":true}"#);
    assert_eq!(mock.count("GET"), 2);
}

#[tokio::test]
async fn what_a_server_does_not_take_is_let_go_of_and_bounded() {
    let mock = event_stream_server_but("/messages", |seen, stream, _| match seen.rpc().as_str() {
        "tools/call" => {
            for number in 0..200 {
                let ping = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"ping"}}"#);
                stream.send(format!("data: {ping}\n\n")).expect("open");
            }
            Some(status(202))
        }
        "" => Some(Reply::Silence),
        _ => None,
    })
    .await;
    let world = World::new(Transport::Sse { url: mock.url.clone() }, quick(), |_| {});
    let bound = async {
        mock.wait("", 64).await;
        mock.wait("closed", 64).await;
        assert_eq!(mock.count(""), 64);
    };
    tokio::select! {
        outcome = world.echo() => panic!("it never answers: {outcome:?}"),
        () = bound => {}
    }
}

#[tokio::test]
async fn an_endpoint_elsewhere_gets_nothing() {
    let elsewhere = Mock::new(|_| status(202)).await;
    let endpoint: &'static str = String::leak(elsewhere.url.clone());
    let mock = event_stream_server(endpoint).await;
    let world = World::new(Transport::Sse { url: mock.url.clone() }, quick(), |_| {});
    let error = world.echo().await.expect_err("refused");
    assert!(error.to_string().contains("another origin"), "{error}");
    assert!(elsewhere.log().is_empty());
}

#[tokio::test]
async fn unchanged_servers_keep_their_links_and_changed_ones_are_left_in_order() {
    let mock = Mock::legacy(|seen| result(seen, "{}")).await;
    let world = World::http(&mock);
    world.echo().await.expect("answered");
    let spec = |seconds| {
        let mut spec = ServerSpec::new(world.id.clone(), Transport::Http { url: mock.url.clone() });
        spec.timeout = Duration::from_secs(seconds);
        spec.start_timeout = Duration::from_secs(10);
        spec
    };
    world.upstreams.configure(vec![spec(10)]);
    world.echo().await.expect("answered");
    assert_eq!(mock.count("initialize"), 2, "the same link");
    world.upstreams.configure(vec![spec(11)]);
    mock.wait("DELETE", 2).await;
    world.echo().await.expect("answered");
    assert_eq!(mock.count("initialize"), 4);
    world.upstreams.configure(Vec::new());
    mock.wait("DELETE", 4).await;
    assert!(world.upstreams.status(&world.id).is_none());
}

#[tokio::test]
async fn sessions_are_bounded_in_number_and_in_time() {
    let mock = Mock::legacy(|seen| result(seen, "{}")).await;
    let settings = Settings { max_sessions: 3, session_idle: Duration::from_secs(300), ..quick() };
    let world = World::new(Transport::Http { url: mock.url.clone() }, settings, |_| {});
    for affinity in ["a", "b", "c", "d", "e"] {
        world.call(Call { affinity, ..echo() }).await.expect("answered");
        assert!(world.upstreams.session_count(&world.id).expect("configured") <= 3);
        world.clock.skip(Duration::from_secs(61));
    }
    world.clock.skip(Duration::from_secs(300));
    mock.wait("DELETE", 5).await;
    assert_eq!(world.upstreams.session_count(&world.id), Some(1), "the gateway's own stays");
}

#[tokio::test]
async fn nobody_is_put_out_who_was_here_lately_or_has_something_to_come_back_to() {
    let mock = Mock::legacy(|seen| result(seen, "{}")).await;
    let settings = Settings { max_sessions: 3, session_idle: Duration::from_secs(300), ..quick() };
    let world = World::new(Transport::Http { url: mock.url.clone() }, settings, |_| {});
    let calls = async |affinity, keeps| world.call(Call { affinity, keeps, ..echo() }).await;
    calls("keeper", Some(Duration::from_secs(3600))).await.expect("answered");
    world.clock.skip(Duration::from_secs(61));
    calls("a", None).await.expect("answered");
    world.clock.skip(Duration::from_secs(59));
    let refused = calls("b", None).await.expect_err("one session too many");
    assert_eq!(refused.code(), "upstream-busy");
    world.clock.skip(Duration::from_secs(2));
    calls("b", None).await.expect("answered");
    assert_eq!(mock.wait("DELETE", 1).await.header("mcp-session-id"), "s-2", "that of `a`");
    calls("keeper", None).await.expect("answered");
    assert_eq!(mock.count("initialize"), 4, "which the one that was kept needed no other for");
}

#[tokio::test]
async fn a_session_in_which_something_is_to_be_found_again_does_not_end_of_idleness() {
    let mock = Mock::legacy(|seen| result(seen, "{}")).await;
    let settings = Settings { session_idle: Duration::from_millis(50), ..quick() };
    let world = World::new(Transport::Http { url: mock.url.clone() }, settings, |_| {});
    let keeps = Some(Duration::from_secs(3600));
    for (affinity, keeps) in [("a", keeps), ("b", None)] {
        world.call(Call { affinity, keeps, ..echo() }).await.expect("answered");
    }
    mock.wait("DELETE", 1).await;
    let log = mock.log();
    let ended: Vec<_> = log.iter().filter(|seen| seen.rpc() == "DELETE").collect();
    assert_eq!(ended[0].header("mcp-session-id"), "s-2", "that of `b`, which was used later");
    assert_eq!(world.upstreams.session_count(&world.id), Some(2), "the gateway's own, and that of `a`");
}

#[tokio::test]
async fn what_one_caller_opened_is_ended_when_it_leaves_and_nothing_else() {
    let mock = Mock::legacy(|seen| result(seen, "{}")).await;
    let world = World::http(&mock);
    let roots = r#"{"roots":{}}"#;
    for (affinity, capabilities) in [("a", ""), ("a", roots), ("ab", ""), ("ab", roots)] {
        world.call(Call { affinity, capabilities, ..echo() }).await.expect("answered");
    }
    world.upstreams.end("a", "");
    world.upstreams.end("nobody", "");
    world.upstreams.end("", "");
    mock.wait("DELETE", 2).await;
    let log = mock.log();
    let mut ended: Vec<_> = log.iter().filter(|seen| seen.rpc() == "DELETE").collect();
    ended.sort_by_key(|seen| seen.header("mcp-session-id").to_owned());
    let ended: Vec<_> = ended.iter().map(|seen| seen.header("mcp-session-id")).collect();
    assert_eq!(ended, ["s-1", "s-2"], "the gateway's own is the first, numbered 0");
    assert_eq!(world.upstreams.session_count(&world.id), Some(3));
}

#[tokio::test]
async fn a_silent_server_is_asked_after_and_its_end_noticed() {
    let mock =
        Mock::modern(|seen| if seen.body.contains("kill") { Reply::Hangup } else { result(seen, "{}") })
            .await;
    let settings = Settings { health_every: Some(Duration::from_millis(50)), ..quick() };
    let mut world = World::new(Transport::Http { url: mock.url.clone() }, settings, |_| {});
    world.echo().await.expect("answered");
    mock.wait("server/discover", 3).await;
    assert_eq!(world.status().state, State::Connected);
    let down = Event::StateChanged(world.id.clone(), State::Error);
    let call = Call { meta: r#""kill":1"#, ..echo() };
    assert!(world.call(call).await.is_err());
    world.event(|event| *event == down).await;
    let up = Event::StateChanged(world.id.clone(), State::Connected);
    world.event(|event| *event == up).await;
}

#[tokio::test]
async fn nobody_at_home_and_no_way_there_are_told_apart() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/mcp", free.local_addr().expect("bound"));
    drop(free);
    let world = World::new(Transport::Http { url }, quick(), |_| {});
    let error = world.echo().await.expect_err("nobody");
    assert!(matches!(error, UpstreamError::Unreachable { .. }) && !error.may_have_run(), "{error:?}");
    assert_eq!(error.to_string(), "server `one` cannot be reached");
    assert_eq!(world.status().state, State::Error);

    let far = Transport::Http { url: "http://api.example/mcp".into() };
    let error = World::new(far, quick(), |_| {}).echo().await.expect_err("unencrypted");
    assert!(error.to_string().contains("may only be reached over https"), "{error}");
}

#[tokio::test]
async fn an_era_that_is_prescribed_is_not_probed() {
    let old = Mock::legacy(|seen| result(seen, "{}")).await;
    World::http_as(&old, Protocol::Legacy).echo().await.expect("answered");
    assert_eq!(old.count("server/discover"), 0);

    let error = World::http_as(&old, Protocol::Modern).echo().await.expect_err("too old");
    assert!(error.to_string().contains("does not speak revision 2026-07-28"), "{error}");
    assert_eq!(old.count("initialize"), 2);
}

#[tokio::test]
async fn a_server_that_changes_its_era_is_found_out() {
    let upgraded = Arc::new(AtomicUsize::new(0));
    let (era, sessions) = (Arc::clone(&upgraded), AtomicUsize::new(0));
    let mock = Mock::new(move |seen| match era.load(Ordering::SeqCst) {
        0 => legacy(seen, &sessions).unwrap_or_else(|| result(seen, "{}")),
        _ if seen.header("mcp-protocol-version") == "2026-07-28" => {
            modern(seen).unwrap_or_else(|| result(seen, r#"{"new":1}"#))
        }
        _ => status(404),
    })
    .await;
    let world = World::http(&mock);
    assert_eq!(world.echo().await.expect("answered"), "{}");
    upgraded.store(1, Ordering::SeqCst);
    let error = world.echo().await.expect_err("neither session nor transport");
    assert!(matches!(error, UpstreamError::Status { status: 404, .. }), "{error}");
    assert_eq!(world.echo().await.expect("answered"), r#"{"new":1}"#);
}

#[tokio::test]
async fn what_one_caller_is_told_ends_nobody_elses_session() {
    let mock = Mock::legacy(|seen| match seen.body.contains("teapot") {
        true => status(400),
        false => result(seen, "{}"),
    })
    .await;
    let world = World::http(&mock);
    world.echo().await.expect("answered");
    let members = r#""name":"teapot","arguments":{}"#.into();
    let error = world.call(Call { members, affinity: "bob", ..echo() }).await.expect_err("refused");
    assert!(matches!(error, UpstreamError::Status { status: 400, .. }), "{error}");
    assert_eq!(mock.count("ping"), 2, "it was asked whether it knows bob, and is what it was");
    world.echo().await.expect("answered");
    assert_eq!((mock.count("initialize"), mock.count("DELETE")), (3, 0), "one for each, and the gateway's");
    assert_eq!(world.status().state, State::Connected);
}

#[tokio::test]
async fn a_stream_is_not_opened_again_as_often_as_its_server_likes() {
    let (sessions, opened) = (AtomicUsize::new(0), Arc::<Mutex<Vec<Instant>>>::default());
    let times = Arc::clone(&opened);
    let mock = Mock::new(move |seen| match seen.rpc().as_str() {
        "GET" => {
            times.lock().expect("no panic").push(Instant::now());
            let (sender, receiver) = mpsc::unbounded_channel();
            sender.send("retry: 0\n\n".to_owned()).expect("open");
            Reply::Stream(receiver)
        }
        _ => legacy(seen, &sessions).unwrap_or_else(|| result(seen, "{}")),
    })
    .await;
    let world = World::http(&mock);
    world.echo().await.expect("answered");
    mock.wait("GET", 4).await;
    let opened = opened.lock().expect("no panic").clone();
    let pauses: Vec<_> = opened.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(
        pauses.len() > 1 && pauses.iter().all(|pause| *pause >= Duration::from_millis(100)),
        "{pauses:?}"
    );
}

#[tokio::test]
async fn news_without_end_are_not_waited_for() {
    const ANNOUNCES: &str =
        r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}}}"#;
    for (stream_of, length) in [("GET", 5 << 20), ("subscriptions/listen", 2 << 20)] {
        let (sessions, (tell, stream)) = (AtomicUsize::new(0), mpsc::unbounded_channel());
        tell.send(format!("data: {}", "x".repeat(length))).expect("open");
        let stream = Mutex::new(Some(stream));
        let mock = Mock::new(move |seen| match seen.rpc().as_str() {
            of if of == stream_of => {
                stream.lock().expect("no panic").take().map_or_else(|| status(405), Reply::Stream)
            }
            "server/discover" if stream_of != "GET" => result(seen, ANNOUNCES),
            _ => legacy(seen, &sessions).unwrap_or_else(|| result(seen, "{}")),
        })
        .await;
        let room = Room::new(64 << 20);
        let mut settings = quick();
        settings.egress.room = Some(Arc::clone(&room));
        let world = World::new(Transport::Http { url: mock.url.clone() }, settings, |_| {});
        world.echo().await.expect("answered");
        mock.wait(stream_of, 2).await;
        assert_eq!(room.used(), 0, "{stream_of}");
        drop(tell);
    }
}

#[tokio::test]
async fn a_server_without_session_ids_is_opened_once_for_all() {
    let mock = Mock::new(|seen| match seen.rpc().as_str() {
        "server/discover" => status(400),
        "initialize" => result(seen, INITIALIZED),
        "GET" => status(405),
        "tools/call" => result(seen, "{}"),
        _ => status(202),
    })
    .await;
    let world = World::http(&mock);
    for affinity in ["a", "b", "c"] {
        world.call(Call { affinity, ..echo() }).await.expect("answered");
    }
    assert_eq!(mock.count("initialize"), 1);
    within(world.upstreams.shutdown()).await;
    assert_eq!(mock.count("DELETE"), 0);
}
