//! One request must be one request, whoever reads it: what two readers could take apart in two
//! ways is refused, or ends its connection.

use serde_json::json;

use super::raw::{head, modern, post, say_and_leave, tools_call};
use crate::world::{ALICE, BOB, STAFF_MAY_ALL, World, entries};

/// A call of `echo`, whole.
fn echo(world: &World) -> String {
    let body = tools_call("github__echo", json!({"a": 1}));
    post(world.address(), "/mcp", &modern("tools/call", "github__echo"), &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_whose_length_is_said_in_two_ways_hides_no_second_request() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let address = world.address();
    let (hidden, headers) = (echo(&world), modern("tools/call", "github__echo"));
    let framed = |framing: &str, body: &str| head(address, "/mcp", &format!("{headers}{framing}\r\n")) + body;
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let cases = [
        // One length is of the body alone, the other one of the body and what hides behind it.
        framed("content-length: 5\r\ntransfer-encoding: chunked", &format!("0\r\n\r\n{hidden}")),
        framed("transfer-encoding: chunked\r\ncontent-length: 5", &format!("0\r\n\r\n{hidden}")),
        framed("content-length: 4\r\ntransfer-encoding: chunked", &chunk),
        framed(&format!("content-length: 0\r\ncontent-length: {}", hidden.len()), &hidden),
        framed("content-length: 0, 5", &hidden),
        framed("content-length: +0", &hidden),
        framed("content-length: -1", &hidden),
        framed("content-length: 0x0", &hidden),
        framed("content-length: ", &hidden),
        framed("content-length: 18446744073709551616", &hidden),
        framed("transfer-encoding: identity\r\ncontent-length: 0", &hidden),
        framed("transfer-encoding: chunked, identity", &format!("0\r\n\r\n{hidden}")),
        framed("transfer-encoding: xchunked", &format!("0\r\n\r\n{hidden}")),
        framed("transfer-encoding: chunked\r\ntransfer-encoding: identity", &format!("0\r\n\r\n{hidden}")),
        framed("transfer-encoding:\u{b}chunked", &format!("0\r\n\r\n{hidden}")),
        framed("transfer-encoding: chunked", &format!("0x0\r\n\r\n{hidden}")),
        framed("transfer-encoding: chunked", &format!("fffffffffffffffff\r\n{hidden}")),
        framed("transfer-encoding: chunked", &format!("0\n\r\n{hidden}")),
        framed("transfer-encoding : chunked\r\ncontent-length: 0", &hidden),
        framed("content-length : 0", &hidden),
        framed("content-length: 0\r\n content-length: 5", &hidden),
    ];
    for case in cases {
        let answers = say_and_leave(address, case.as_bytes()).await;
        let shown = case.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n", " | ");
        assert!(answers.len() <= 1, "the connection ends with it: {shown}: {answers:?}");
        let refused = answers.iter().all(|answer| matches!(answer.status, 400 | 408));
        assert!(refused, "{shown}: {answers:?}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    assert_eq!(world.records().len(), 0);
    let answers = say_and_leave(address, hidden.as_bytes()).await;
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200]);
    assert_eq!(world.received(), ["github echo"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_two_to_some_readers_is_none() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let address = world.address();
    let honest = echo(&world);
    let named = "mcp-name: github__echo\r\n";
    let cases = [
        // A value that goes on in the next line, a space before the colon, and control characters.
        "mcp-name: github__delete_repository\r\n github__echo\r\n".to_owned(),
        "mcp-name: github__echo\r\n\tx\r\n".to_owned(),
        "mcp-name : github__echo\r\n".to_owned(),
        "mcp-name\t: github__echo\r\n".to_owned(),
        "mcp-name: github__echo\rx-a: b\r\n".to_owned(),
        "mcp-name: github__echo\0\r\n".to_owned(),
        "mcp-name\0: github__echo\r\n".to_owned(),
        "mcp-name github__echo\r\n".to_owned(),
        ": github__echo\r\n".to_owned(),
        "mcp\u{2d0}name: github__echo\r\n".to_owned(),
    ];
    for case in cases {
        let bytes = honest.replace(named, &case);
        assert_ne!(bytes, honest);
        let answers = say_and_leave(address, bytes.as_bytes()).await;
        assert!(answers.iter().all(|answer| answer.status == 400), "{case:?}: {answers:?}");
    }
    for (line, because) in [
        ("POST /mcp\r\n", "HTTP/0.9"),
        ("POST  /mcp HTTP/1.1\r\n", "two spaces"),
        ("POST /mcp HTTP/1.1 \r\n", "more behind the version"),
        ("POST /mcp HTTP/2.0\r\n", "another version"),
        ("PRI * HTTP/2.0\r\n", "the preface of HTTP/2"),
        ("POST /m\u{e7}p HTTP/1.1\r\n", "not ASCII"),
    ] {
        let bytes = honest.replace("POST /mcp HTTP/1.1\r\n", line);
        let answers = say_and_leave(address, bytes.as_bytes()).await;
        let refused = answers.first().is_none_or(|answer| matches!(answer.status, 400 | 404));
        assert!(refused, "{because}: {answers:?}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    assert_eq!(world.records().len(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_leads_where_it_says_or_nowhere() {
    let world = World::start(&["github", "gitlab"], STAFF_MAY_ALL).await;
    let body = tools_call("echo", json!({}));
    for path in [
        "/mcp/gitlab/../github",
        "/mcp/./github",
        "/mcp//github",
        "//mcp/github",
        "/mcp/github//",
        "/mcp/github/.",
        "/mcp/github/mcp",
        "/mcp/%67ithub",
        "/mcp/github%2f..%2fgitlab",
        "/mcp/github%00",
        "/mcp/github;x",
        "/MCP/github",
        "/mcp\\github",
        "/healthz/../mcp/github",
        "/mcp/_gateway/../github",
        "/mcp/__github",
    ] {
        let bytes = post(world.address(), path, &modern("tools/call", "echo"), &body);
        let answers = say_and_leave(world.address(), bytes.as_bytes()).await;
        assert!(matches!(answers[0].status, 400 | 404), "{path}: {answers:?}");
    }
    // An id has one spelling: with other capitals it is the id of a server that is not there.
    let absent = async |path: &str| {
        let bytes = post(world.address(), path, &modern("tools/call", "echo"), &body);
        let answer = say_and_leave(world.address(), bytes.as_bytes()).await.remove(0);
        (answer.status, answer.body)
    };
    assert_eq!(absent("/mcp/GITHUB").await, absent("/mcp/nobody").await);
    assert_eq!(absent("/mcp/GITHUB/").await, absent("/mcp/nobody").await);
    assert_eq!(world.received(), Vec::<String>::new());
    let bytes = post(world.address(), "/mcp/github?/mcp/gitlab", &modern("tools/call", "echo"), &body);
    assert_eq!(say_and_leave(world.address(), bytes.as_bytes()).await[0].status, 200);
    assert_eq!(world.received(), ["github echo"], "what stands behind the question mark says nothing");
    world.stop().await;
}

/// Headers that mean something to some gateway, or to what stands before it.
const OTHERS: [&str; 24] = [
    "mcp-init-host: evil.example",
    "x-mcp-virtualserver: gitlab",
    "x-mcp-servername: gitlab",
    "x-mcp-toolname: delete_repository",
    "mcp-server: gitlab",
    "mcp-param-tool: delete_repository",
    "x-forwarded-for: 203.0.113.9",
    "x-forwarded-host: evil.example",
    "x-forwarded-proto: https",
    "x-forwarded-user: root",
    "x-forwarded-prefix: /mcp/gitlab",
    "forwarded: for=203.0.113.9;host=evil.example",
    "x-real-ip: 203.0.113.9",
    "x-original-url: /mcp/gitlab",
    "x-rewrite-url: /mcp/gitlab",
    "x-http-method-override: DELETE",
    "x-auth-request-user: root",
    "x-remote-user: root",
    "x-user-id: root",
    "x-doorward-caller: root",
    "x-envoy-original-path: /mcp/gitlab",
    "cookie: session=stolen",
    "proxy-authorization: Bearer stolen",
    "x-github-token: stolen",
];

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_look_like_our_own_mean_nothing_and_go_no_further() {
    let rules =
        "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{tool: echo, action: allow}]}\n";
    let world = World::start(&["github", "gitlab"], rules).await;
    let body = tools_call("github__echo", json!({"a": 1}));
    let headers = modern("tools/call", "github__echo");
    for other in OTHERS {
        let bytes = post(world.address(), "/mcp", &format!("{headers}{other}\r\n"), &body);
        let answers = say_and_leave(world.address(), bytes.as_bytes()).await;
        assert_eq!(answers[0].status, 200, "{other}: {answers:?}");
        assert!(answers[0].body.contains(r#"{\"a\":1}"#), "{other}: {answers:?}");
        // Nor do they make anybody of nobody.
        let stranger = String::from_utf8_lossy(bytes.as_bytes()).replace(ALICE, "gw_nobody");
        assert_eq!(say_and_leave(world.address(), stranger.as_bytes()).await[0].status, 401, "{other}");
    }
    assert_eq!(world.received(), vec!["github echo"; OTHERS.len()]);
    for received in world.recorders[0].received() {
        for other in OTHERS {
            let (name, value) = other.split_once(": ").expect("a header");
            let found = received.headers.iter().find(|(header, said)| header == name || said == value);
            assert!(found.is_none_or(|(header, _)| header == "host"), "{other}: {found:?}");
        }
    }
    let records = world.records();
    assert_eq!(records.len(), OTHERS.len());
    assert!(records.iter().all(|record| record["consumerId"] == "alice"));
    for entry in entries(world.folder.path()).iter().filter(|entry| entry["kind"] == "decision") {
        assert_eq!(entry["ip"], "127.0.0.1", "{entry}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_one_too_many() {
    let all = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";
    let world = World::start(&["github"], all).await;
    let honest = echo(&world);
    let own = format!("authorization: Bearer {ALICE}\r\n");
    let cases = [
        // which of them whoever stands in front looked at, nobody knows
        (format!("{own}authorization: Bearer {BOB}\r\n"), 401),
        (format!("{own}{own}"), 401),
        (format!("{own}authorization: Bearer {BOB}\r\nx-api-key: {ALICE}\r\n"), 401),
        (format!("{own}x-api-key: {BOB}\r\n"), 401),
        (format!("x-api-key: {ALICE}\r\nx-api-key: {BOB}\r\n"), 401),
        (format!("authorization: Bearer {ALICE}, Bearer {BOB}\r\n"), 401),
        (format!("authorization: Bearer {ALICE} {BOB}\r\n"), 401),
        ("authorization: Bearer\r\n".to_owned(), 401),
        (String::new(), 401),
        // the same one in both places is one
        (format!("{own}x-api-key: {ALICE}\r\n"), 200),
        (format!("x-api-key: {BOB}\r\n"), 200),
    ];
    let mut passed = Vec::new();
    for (case, status) in cases {
        let bytes = honest.replace(&own, &case);
        let answers = say_and_leave(world.address(), bytes.as_bytes()).await;
        assert_eq!(answers[0].status, status, "{case}");
        if status == 200 {
            passed.push(if case.contains(ALICE) { "alice" } else { "bob" });
        }
    }
    assert_eq!(world.received().len(), passed.len());
    let callers: Vec<_> = world.records().iter().map(|record| record["consumerId"].clone()).collect();
    assert_eq!(callers, passed);
    world.stop().await;
}
