//! What is small on its way and large where it arrives, and what never arrives: it is refused, costs
//! its sender alone, and the next honest call works.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::raw::{head, modern, post, say, say_and_leave, tools_call};
use super::server::{Server, answer, response, result, tools};
use crate::world::{ALICE, STAFF_MAY_ALL, World, ecosystem};

/// A call of `echo` and 64 MiB of spaces, as gzip has them: some 64 KiB.
async fn packed() -> Vec<u8> {
    let python = ecosystem::folder().join("python-sdk-2/bin/python");
    let pack =
        "import gzip, sys; sys.stdout.buffer.write(gzip.compress(sys.argv[1].encode() + b' ' * (64 << 20)))";
    let call = tools_call("github__echo", json!({}));
    let packed = Command::new(python).args(["-c", pack, &call]).output().await.expect("it runs").stdout;
    assert!(packed.starts_with(b"\x1f\x8b") && packed.len() < 1 << 20);
    packed
}

async fn works(world: &World) {
    let body = tools_call("github__echo", json!({}));
    let bytes = post(world.address(), "/mcp", &modern("tools/call", "github__echo"), &body);
    let statuses: Vec<_> =
        say_and_leave(world.address(), bytes.as_bytes()).await.iter().map(|it| it.status).collect();
    assert_eq!(statuses, [200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_unpacked() {
    let (world, packed) = (World::start(&["github"], STAFF_MAY_ALL).await, packed().await);
    for coding in
        ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "compress", "identity", "gzip, gzip", "x", ""]
    {
        let headers = format!(
            "{}content-encoding: {coding}\r\ncontent-length: {}\r\n",
            modern("tools/call", "github__echo"),
            packed.len()
        );
        let bytes = [head(world.address(), "/mcp", &headers).as_bytes(), &packed].concat();
        let answers = say_and_leave(world.address(), &bytes).await;
        assert_eq!(answers[0].summary(), "415 -32600", "{coding}");
    }
    // Whoever does not say so is not understood.
    let headers = format!("{}content-length: {}\r\n", modern("tools/call", "github__echo"), packed.len());
    let bytes = [head(world.address(), "/mcp", &headers).as_bytes(), &packed].concat();
    assert_eq!(say_and_leave(world.address(), &bytes).await[0].summary(), "400 -32700");
    // Nor is a coding of the way: only chunks are.
    for coding in ["gzip, chunked", "gzip", "deflate, chunked"] {
        let headers = format!("{}transfer-encoding: {coding}\r\n", modern("tools/call", "github__echo"));
        let chunk = [format!("{:x}\r\n", packed.len()).as_bytes(), &packed, b"\r\n0\r\n\r\n"].concat();
        let bytes = [head(world.address(), "/mcp", &headers).as_bytes(), &chunk].concat();
        let answers = say_and_leave(world.address(), &bytes).await;
        // What stands behind it is read by nobody: the connection ends.
        let [answer] = &answers[..] else { panic!("{coding}: {answers:?}") };
        assert_eq!(answer.status, if coding == "gzip" { 400 } else { 501 }, "{coding}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    works(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_deep_too_many_or_too_long_is_refused_by_its_size() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let address = world.address();
    let call = |arguments: &str| tools_call("github__echo", json!({"a": "@"})).replace("\"@\"", arguments);
    let id = |id: &str| tools_call("github__echo", json!({})).replace("\"id\":1", &format!("\"id\":{id}"));
    let keys: Vec<_> = (0..100_001).map(|number| format!("\"k{number}\":0")).collect();
    let bodies = [
        (call(&format!("{}{}", "[".repeat(200), "]".repeat(200))), "200 request-bounds", "depth"),
        (call(&"[".repeat(1_000_000)), "400 -32700", "depth without end"),
        (
            call(&format!("{}1{}", "{\"a\":".repeat(200_000), "}".repeat(200_000))),
            "400 -32700",
            "depth of objects",
        ),
        (call(&format!("[{}0]", "0,".repeat(200_000))), "200 request-bounds", "values"),
        (call(&format!("{{{}}}", keys.join(","))), "200 request-bounds", "keys"),
        (call(&"9".repeat(400_000)), "400 -32700", "digits"),
        (call(&format!("1e{}", "9".repeat(400_000))), "400 -32700", "an exponent"),
        (id(&format!("\"{}\"", "x".repeat(257))), "400 -32600", "an id"),
        (id(&format!("\"{}\"", "x".repeat(1_000_000))), "400 -32600", "a long id"),
        (id(&"1".repeat(400)), "400 -32700", "an id of digits"),
        (
            tools_call("github__echo", json!({})).replace("tools/call", &"m".repeat(129)),
            "400 -32600",
            "a method",
        ),
        (call(&format!("\"{}\"", "x".repeat(5 << 20))), "413 -32600", "a body"),
    ];
    for (body, expected, what) in bodies {
        let bytes = post(address, "/mcp", &modern("tools/call", "github__echo"), &body);
        let answers = say_and_leave(address, bytes.as_bytes()).await;
        assert_eq!(answers[0].summary(), expected, "{what}");
    }
    let name = "n".repeat(5_000);
    let bytes = post(address, "/mcp", &modern("tools/call", &name), &tools_call(&name, json!({})));
    assert_eq!(say_and_leave(address, bytes.as_bytes()).await[0].summary(), "200 -32602", "a name");
    // Of headers there may be so many, and so much; what is beyond is read by nobody.
    for (what, headers) in [
        ("headers", "x-a: b\r\n".repeat(200)),
        ("a value", format!("x-a: {}\r\n", "b".repeat(200_000))),
        ("a name", format!("{}: b\r\n", "x".repeat(100_000))),
        ("values", format!("x-a: {}\r\n", "b".repeat(2_500)).repeat(80)),
    ] {
        let body = tools_call("github__echo", json!({}));
        let bytes = post(address, "/mcp", &(modern("tools/call", "github__echo") + &headers), &body);
        let answers = say(address, bytes.as_bytes()).await;
        assert!(
            answers.len() <= 1 && answers.iter().all(|it| matches!(it.status, 400 | 431)),
            "{what}: {answers:?}"
        );
    }
    let bytes = post(address, &format!("/{}", "m".repeat(200_000)), "", "");
    let answers = say(address, bytes.as_bytes()).await;
    assert!(answers.iter().all(|it| matches!(it.status, 400 | 414 | 431)), "a path: {answers:?}");
    assert_eq!(world.received(), Vec::<String>::new());
    works(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_things_slowly_keeps_nobody_waiting_and_is_not_waited_for() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let address = world.address();
    let body = tools_call("github__echo", json!({}));
    let whole = post(address, "/mcp", &modern("tools/call", "github__echo"), &body);
    let mut slow = Vec::new();
    // In the first line, in the head, before the body, in the body, and in a chunk.
    let chunked = head(address, "/mcp", "transfer-encoding: chunked\r\n") + "ffff\r\n{";
    let until = whole.len() - 1;
    for bytes in [&whole[..4], &whole[..60], &whole[..whole.len() - body.len()], &whole[..until], &chunked] {
        for _ in 0..40 {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(bytes.as_bytes()).await.expect("written");
            slow.push(stream);
        }
    }
    works(&world).await;
    assert_eq!(world.received(), ["github echo"]);
    // Half a minute is what each of them has.
    let ending = slow.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            let mut heard = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(50), stream.read_to_end(&mut heard)).await;
            read.expect("the gateway hangs up").map(|_| String::from_utf8_lossy(&heard).into_owned())
        })
    });
    for ended in ending.collect::<Vec<_>>() {
        let heard = ended.await.expect("ended").unwrap_or_default();
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 408"), "{heard}");
    }
    assert_eq!(world.received(), ["github echo"], "what was never whole reached nobody");
    works(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_packs_is_not_unpacked_and_what_it_piles_up_is_an_error() {
    let said = move |message: &Value| {
        let with = |text: &str| {
            let plain = response(
                message,
                &json!({"content": [], "structuredContent": {"a": "@"}, "resultType": "complete"}),
            );
            answer("200 OK", "application/json", &plain.replace("\"@\"", text))
        };
        match message["params"]["name"].as_str().unwrap_or_default() {
            "gzip" => answer("200 OK", "application/json\r\ncontent-encoding: gzip", "\u{1f}\u{8b}\u{8}\0"),
            "deep" => with(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            "many" => with(&format!("[{}0]", "0,".repeat(4_000_001))),
            "headers" => {
                answer("200 OK", &format!("application/json\r\n{}x-b: c", "x-a: b\r\n".repeat(10_000)), "{}")
            }
            "header" => {
                answer("200 OK", &format!("application/json\r\nx-a: {}", "b".repeat(10_000_000)), "{}")
            }
            "length" => format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{}",
                "x".repeat(1_000)
            ),
            "event" => answer("200 OK", "text/event-stream", &format!("data: {}\n\n", "[".repeat(1_000_000))),
            _ => result(message, json!({"content": [], "resultType": "complete"})),
        }
    };
    let names = ["gzip", "deep", "many", "headers", "header", "length", "event", "fine"];
    for is_modern in [true, false] {
        let server = Server::start(is_modern, move |_, message| match message["method"] == "tools/list" {
            true => result(message, tools(&names)),
            false => said(message),
        })
        .await;
        let world =
            World::start(&[], &format!("servers:\n{}{STAFF_MAY_ALL}", server.section("github"))).await;
        for client in [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await] {
            for name in names {
                let answer = client.call(&format!("github__{name}"), json!({})).await;
                let json = answer.json();
                assert_eq!((answer.status, &json["id"]), (200, &json!(1)), "{name}");
                assert_eq!(json["result"]["isError"] == true, name != "fine", "{name}: {}", answer.text());
            }
        }
        assert_eq!(server.calls().len(), names.len() * 2, "each once");
        assert_eq!(world.records().len(), names.len() * 2);
        world.stop().await;
    }
}
