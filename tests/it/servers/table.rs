//! The servers: packages that people use, each started as its own page says, at what a test can
//! give it. Whatever they would look for elsewhere they are told to look for on this machine.

use std::path::PathBuf;

use serde_json::json;

use super::entry::{Entry, Package, Says, Start, Way};
use super::place::Place;
use crate::world::browser::chromium;
use crate::world::{ecosystem, site};

const NEW: &str = "2026-07-28";
const OLD: &str = "2025-11-25";

pub fn table(place: &Place) -> Vec<Entry> {
    [reference(place), databases(place), browsers(place), services(place)].into_iter().flatten().collect()
}

/// The servers of the protocol's own project.
fn reference(place: &Place) -> Vec<Entry> {
    let official = |name: &str| PathBuf::from(ecosystem::node_server(name));
    let everything = |id, way, revision, argument| Entry {
        id,
        package: Package::Npm("node", "@modelcontextprotocol/server-everything"),
        way,
        start: Start::node(&official("server-everything"), &[argument]),
        revision,
        tools: 13,
        calls: vec![("echo", json!({"message": "grüße"}))],
        says: Says::Result("Echo: grüße"),
        denied: "get-env",
    };
    let files = place.folder("files");
    std::fs::write(place.path("files/note"), "kept in a file").expect("written");
    vec![
        everything("everything", Way::Stdio, OLD, "stdio"),
        everything("everything-http", Way::Http("/mcp"), OLD, "streamableHttp"),
        everything("everything-sse", Way::Sse("/sse"), OLD, "sse"),
        Entry {
            id: "filesystem",
            package: Package::Npm("node", "@modelcontextprotocol/server-filesystem"),
            way: Way::Stdio,
            start: Start::node(&official("server-filesystem"), &[&files]),
            revision: OLD,
            tools: 14,
            calls: vec![("read_text_file", json!({"path": place.path("files/note")}))],
            says: Says::Result("kept in a file"),
            denied: "write_file",
        },
        // As people start it: a wrapper, whose grandchild is the server.
        Entry {
            id: "memory",
            package: Package::Npm("servers", "@modelcontextprotocol/server-memory"),
            way: Way::Stdio,
            start: Start::new(
                "npx",
                &["--offline", "--no", "--prefix", &place.servers(), "mcp-server-memory"],
            )
            .with("npm_config_update_notifier", "false")
            .with("MEMORY_FILE_PATH", place.path("memory")),
            revision: OLD,
            tools: 9,
            calls: vec![
                (
                    "create_entities",
                    json!({"entities": [{"name": "Ada", "entityType": "person", "observations": ["writes"]}]}),
                ),
                ("read_graph", json!({})),
            ],
            says: Says::Result("writes"),
            denied: "delete_entities",
        },
        Entry {
            id: "thinking",
            package: Package::Npm("servers", "@modelcontextprotocol/server-sequential-thinking"),
            way: Way::Stdio,
            start: Start::npm("mcp-server-sequential-thinking", &[]),
            revision: OLD,
            tools: 1,
            calls: vec![(
                "sequentialthinking",
                json!({"thought": "so", "nextThoughtNeeded": false, "thoughtNumber": 1, "totalThoughts": 1}),
            )],
            says: Says::Result("thoughtHistoryLength"),
            denied: "sequentialthinking",
        },
        Entry {
            id: "time",
            package: Package::PyPi("time-server", "mcp-server-time"),
            way: Way::Stdio,
            start: Start::python("time-server", "python", &["-m", "mcp_server_time"]),
            revision: NEW,
            tools: 2,
            calls: vec![(
                "convert_time",
                json!({"source_timezone": "Europe/Berlin", "time": "12:00", "target_timezone": "Asia/Tokyo"}),
            )],
            says: Says::Result("Asia/Tokyo"),
            denied: "get_current_time",
        },
        Entry {
            id: "fetch",
            package: Package::PyPi("servers-python-2", "mcp-server-fetch"),
            way: Way::Stdio,
            start: Start::python(
                "servers-python-2",
                "mcp-server-fetch",
                &["--ignore-robots-txt", "--allow-private-ips"],
            ),
            revision: NEW,
            tools: 1,
            calls: vec![("fetch", json!({"url": place.site.url()}))],
            says: Says::Result(site::TEXT),
            denied: "fetch",
        },
        Entry {
            id: "git",
            package: Package::PyPi("servers-python-2", "mcp-server-git"),
            way: Way::Stdio,
            start: Start::python("servers-python-2", "mcp-server-git", &[]),
            revision: NEW,
            tools: 12,
            calls: vec![("git_log", json!({"repo_path": place.path("repository")}))],
            says: Says::Result("A door is kept"),
            denied: "git_commit",
        },
    ]
}

fn databases(place: &Place) -> Vec<Entry> {
    let workbook = place.path("table.xlsx");
    let nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300";
    vec![
        Entry {
            id: "sqlite",
            package: Package::PyPi("servers-python-1", "mcp-server-sqlite"),
            way: Way::Stdio,
            start: Start::python(
                "servers-python-1",
                "mcp-server-sqlite",
                &["--db-path", &place.path("rows.db")],
            ),
            revision: OLD,
            tools: 6,
            calls: vec![("read_query", json!({"query": "SELECT 6 * 7 AS answer"}))],
            says: Says::Result("42"),
            denied: "write_query",
        },
        Entry {
            id: "motherduck",
            package: Package::PyPi("servers-python-2", "mcp-server-motherduck"),
            way: Way::Stdio,
            start: Start::python(
                "servers-python-2",
                "mcp-server-motherduck",
                &["--db-path", ":memory:", "--read-write"],
            ),
            revision: NEW,
            tools: 4,
            calls: vec![("execute_query", json!({"sql": "SELECT 6 * 7 AS answer"}))],
            says: Says::Result("42"),
            denied: "list_databases",
        },
        Entry {
            id: "excel",
            package: Package::PyPi("servers-python-2", "excel-mcp-server"),
            way: Way::Stdio,
            start: Start::python("servers-python-2", "excel-mcp-server", &["stdio"]),
            revision: NEW,
            tools: 46,
            calls: vec![
                ("create_workbook", json!({"path": workbook, "overwrite": true})),
                (
                    "write_range",
                    json!({"path": workbook, "sheet": "Sheet1", "at": "A1", "rows": [["=6*7", "kept in a cell"]]}),
                ),
                ("read_range", json!({"path": workbook, "sheet": "Sheet1"})),
            ],
            says: Says::Result("kept in a cell"),
            denied: "delete_sheet",
        },
        Entry {
            id: "postgres",
            package: Package::Npm("servers", "@modelcontextprotocol/server-postgres"),
            way: Way::Stdio,
            start: Start::npm("mcp-server-postgres", &[&place.postgres.url()]),
            revision: "2024-11-05",
            tools: 1,
            calls: vec![("query", json!({"sql": "SELECT 6 * 7 AS answer"}))],
            says: Says::Result("42"),
            denied: "query",
        },
        Entry {
            id: "mongodb",
            package: Package::Npm("servers", "mongodb-mcp-server"),
            way: Way::Stdio,
            start: Start::npm("mongodb-mcp-server", &["--connectionString", nowhere])
                .with("DO_NOT_TRACK", "1"),
            revision: NEW,
            tools: 27,
            calls: vec![(
                "count",
                json!({"connectionId": "preconfigured", "database": "a", "collection": "b"}),
            )],
            says: Says::Failure("Could not connect to MongoDB"),
            denied: "drop-database",
        },
    ]
}

fn browsers(place: &Place) -> Vec<Entry> {
    let chromium = chromium().display().to_string();
    let page = json!({"url": place.site.url()});
    vec![
        Entry {
            id: "playwright",
            package: Package::Npm("servers", "@playwright/mcp"),
            way: Way::Stdio,
            start: Start::npm(
                "playwright-mcp",
                &["--headless", "--no-sandbox", "--isolated", "--executable-path", &chromium],
            ),
            revision: OLD,
            tools: 25,
            calls: vec![
                ("browser_navigate", page.clone()),
                ("browser_evaluate", json!({"function": "() => document.body.innerText"})),
            ],
            says: Says::Result(site::TEXT),
            denied: "browser_run_code_unsafe",
        },
        Entry {
            id: "devtools",
            package: Package::Npm("servers", "chrome-devtools-mcp"),
            way: Way::Stdio,
            start: Start::npm(
                "chrome-devtools-mcp",
                &[
                    "--headless",
                    "--isolated",
                    "--no-usage-statistics",
                    "--chromeArg=--no-sandbox",
                    "--executablePath",
                    &chromium,
                ],
            )
            .with("CHROME_DEVTOOLS_MCP_NO_UPDATE_CHECKS", "1"),
            revision: OLD,
            tools: 32,
            calls: vec![("new_page", page)],
            says: Says::Result("A page"),
            denied: "evaluate_script",
        },
    ]
}

/// Servers that stand before a service, which here knows nobody.
fn services(place: &Place) -> Vec<Entry> {
    let (host, url) = (place.site.address.to_string(), place.site.url());
    let context7 = |id, way, arguments: &[&str]| Entry {
        id,
        package: Package::Npm("servers", "@upstash/context7-mcp"),
        way,
        start: Start::npm("context7-mcp", arguments)
            .with("CONTEXT7_API_URL", format!("{url}context7"))
            .port_as("--port"),
        revision: NEW,
        tools: 2,
        calls: vec![("resolve-library-id", json!({"query": "how", "libraryName": "tokio"}))],
        says: Says::Words(site::REFUSAL),
        denied: "query-docs",
    };
    vec![
        context7("context7", Way::Stdio, &[]),
        context7("context7-http", Way::Http("/mcp"), &["--transport", "http"]),
        Entry {
            id: "notion",
            package: Package::Npm("servers", "@notionhq/notion-mcp-server"),
            way: Way::Stdio,
            start: Start::npm("notion-mcp-server", &[])
                .with("NOTION_TOKEN", "ntn_0123456789")
                .with("BASE_URL", format!("{url}notion")),
            revision: OLD,
            tools: 24,
            calls: vec![("API-get-self", json!({}))],
            says: Says::Words(site::REFUSAL),
            denied: "API-delete-a-block",
        },
        Entry {
            id: "sentry",
            package: Package::Npm("servers", "@sentry/mcp-server"),
            way: Way::Stdio,
            start: Start::npm(
                "sentry-mcp",
                &["--access-token=sntryu_0123456789", "--insecure-http", &format!("--host={host}")],
            ),
            revision: OLD,
            tools: 9,
            calls: vec![("find_organizations", json!({}))],
            says: Says::Failure("Authorization Expired"),
            denied: "update_issue",
        },
        Entry {
            id: "gitlab",
            package: Package::Npm("servers", "@zereight/mcp-gitlab"),
            way: Way::Stdio,
            start: Start::npm("mcp-gitlab", &[])
                .with("GITLAB_PERSONAL_ACCESS_TOKEN", "glpat-0123456789")
                .with("GITLAB_API_URL", format!("{url}gitlab/api/v4")),
            revision: OLD,
            tools: 118,
            calls: vec![("list_branches", json!({"project_id": "1"}))],
            says: Says::Error("401"),
            denied: "delete_branch",
        },
    ]
}
