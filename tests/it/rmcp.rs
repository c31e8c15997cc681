//! The official Rust SDK, `rmcp`, through `/mcp`, `/mcp/{server}` and stdio.

use std::collections::BTreeSet;

use doorward_everything::Eras;
use rmcp::model::{CallToolRequestParams, ClientConfig, ProtocolVersion};
use rmcp::service::RunningService;
use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpClientTransportConfig};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient, ServiceError};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::clients::world;
use crate::world::everything::Host;
use crate::world::{ALICE, BOB, STAFF_MAY_ALL, World, program, records_in};

type Rmcp = RunningService<RoleClient, ClientConfig>;

/// How the client opens a conversation, and the revision it should end up with.
fn lifecycles() -> [(ClientLifecycleMode, &'static str); 3] {
    let preferred = || vec![ProtocolVersion::V_2026_07_28];
    [
        (ClientLifecycleMode::Initialize, "2025-11-25"),
        (ClientLifecycleMode::Discover { preferred_versions: preferred() }, "2026-07-28"),
        (ClientLifecycleMode::Auto { preferred_versions: preferred(), legacy_version: None }, "2026-07-28"),
    ]
}

fn http(world: &World, path: &str, key: &str) -> StreamableHttpClientTransport<impl StreamableHttpClient> {
    let url = format!("http://{}{path}", world.address());
    StreamableHttpClientTransport::from_config(
        StreamableHttpClientTransportConfig::with_uri(url).auth_header(key),
    )
}

/// Calls a tool; `Ok` holds `isError` and the text, `Err` the code and the message.
async fn call(client: &Rmcp, tool: String, arguments: Value) -> Result<(bool, String), (i32, String)> {
    let arguments = arguments.as_object().expect("an object").clone();
    match client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await {
        Ok(result) => {
            let text = result.content[0].as_text().expect("a text").text.clone();
            Ok((result.is_error == Some(true), text))
        }
        Err(ServiceError::McpError(error)) => Err((error.code.0, error.message.into_owned())),
        Err(error) => panic!("{error}"),
    }
}

/// Lists, then makes one call that is allowed, one that is denied and one of a hidden tool.
async fn walk(client: &Rmcp, revision: &str, prefix: &str) {
    let peer = client.peer_info().expect("it introduced itself");
    assert_eq!(peer.protocol_version.as_str(), revision);
    let tools: BTreeSet<_> = client
        .list_all_tools()
        .await
        .expect("a list")
        .into_iter()
        .map(|tool| tool.name.into_owned())
        .collect();
    assert!(tools.contains(&format!("{prefix}echo")), "{tools:?}");
    assert!(!tools.contains(&format!("{prefix}get-sum")), "denied whatever the arguments");
    assert!(!tools.contains(&format!("{prefix}get-env")), "hidden");
    let echo = call(client, format!("{prefix}echo"), json!({"message": "grüße"})).await;
    assert_eq!(echo, Ok((false, "Echo: grüße".to_owned())));
    let denied = call(client, format!("{prefix}get-sum"), json!({"a": 1, "b": 2})).await;
    let said = "[POLICY DENIED] Denied by policy \"Staff\": get-sum on everything";
    assert_eq!(denied, Ok((true, said.to_owned())));
    let limited = call(client, format!("{prefix}echo"), json!({"message": "secret"})).await;
    assert_eq!(limited, Ok((true, said.replace("get-sum", "echo"))), "denied for its argument");
    let hidden = call(client, format!("{prefix}get-env"), json!({})).await;
    let unknown = call(client, format!("{prefix}no-such-tool"), json!({})).await;
    assert_eq!(hidden, Err((-32602, format!("Unknown tool: {prefix}get-env"))));
    assert_eq!(unknown, Err((-32602, format!("Unknown tool: {prefix}no-such-tool"))));
}

/// What one walk leaves in the log.
const LEFT: [&str; 5] =
    ["echo success", "get-sum denied", "echo denied", "get-env denied", "no-such-tool denied"];

fn said(records: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    records
        .iter()
        .map(|record| {
            format!("{} {}", text(&record["tool"]).replace("everything__", ""), text(&record["status"]))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_walks_the_aggregate_and_one_server_over_http_in_every_era() {
    let world = world().await;
    let mut walks = 0;
    for (path, prefix) in [("/mcp", "everything__"), ("/mcp/everything", "")] {
        for (lifecycle, revision) in lifecycles() {
            let client = ClientConfig::default()
                .serve_with_lifecycle(http(&world, path, ALICE), lifecycle)
                .await
                .expect("connected");
            walk(&client, revision, prefix).await;
            client.cancel().await.expect("closed");
            walks += 1;
        }
    }
    assert_eq!(said(&world.records()), LEFT.repeat(walks));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_comes_back_when_a_server_hangs_up_on_it() {
    let host = Host::start(Eras::Legacy).await;
    let world = World::start(&[], &format!("{STAFF_MAY_ALL}{}", host.section())).await;
    for (lifecycle, _) in lifecycles() {
        let transport = http(&world, "/mcp/every", ALICE);
        let client =
            ClientConfig::default().serve_with_lifecycle(transport, lifecycle).await.expect("connected");
        let resumed = call(&client, "test_reconnection".to_owned(), json!({})).await;
        assert_eq!(resumed, Ok((false, "Resumed".to_owned())));
        client.cancel().await.expect("closed");
    }
    assert_eq!(said(&world.records()), ["test_reconnection success"; 3]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_is_turned_away_without_a_valid_key_and_sees_nothing_without_rights() {
    let world = world().await;
    for (lifecycle, _) in lifecycles() {
        let stranger = http(&world, "/mcp", "gw_nobody_0123456789abcdef");
        let refused = ClientConfig::default().serve_with_lifecycle(stranger, lifecycle.clone()).await;
        let error = refused.map(|_| ()).expect_err("refused").to_string();
        assert!(error.to_lowercase().contains("auth"), "{error}");
        let bob = ClientConfig::default().serve_with_lifecycle(http(&world, "/mcp", BOB), lifecycle);
        let bob = bob.await.expect("connected");
        assert_eq!(bob.list_all_tools().await.expect("a list"), Vec::new());
        bob.cancel().await.expect("closed");
    }
    assert_eq!(world.records(), Vec::<Value>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_walks_the_gateway_over_stdio_in_every_era() {
    let World { folder, running, .. } = world().await;
    // The child holds the data directory, so the gateway of the world makes room.
    running.stop().await;
    for (lifecycle, revision) in lifecycles() {
        let mut command = Command::new(program());
        command.arg("--config").arg(folder.path().join("gateway.yaml")).args(["serve", "--stdio"]);
        command.env("MCP_GATEWAY_API_KEY", ALICE);
        let child = TokioChildProcess::new(command).expect("started");
        let client = ClientConfig::default().serve_with_lifecycle(child, lifecycle).await.expect("connected");
        walk(&client, revision, "everything__").await;
        client.cancel().await.expect("closed");
    }
    assert_eq!(said(&records_in(folder.path())), LEFT.repeat(lifecycles().len()));
}
