//! The public conformance suite of MCP, against our fixture and through the gateway to it.
//!
//! What the fixture passes by itself (`conformance/checks.txt`) has to pass through
//! the gateway too, but for what `conformance/{known,unreachable,absent}.txt` name. These files
//! may only get better: an entry that passes fails the test like a new failure.

mod expectation;
mod hop;
mod suite;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use doorward::runtime::{self, Running};
use doorward_everything::{Eras, Everything, http};
use hyper::Method;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::balancer::Balancer;
use crate::world::redis::Redis;
use crate::world::{Client, Recorder, Speaks, binary, eventually, system};
use expectation::{CLIENT, Report};
use hop::Names;
use suite::{ClientSuite, Requirement, Suite};

use Requirement::{Everything as All, Frozen, Skills};

const EVERY: [Requirement; 4] =
    [Frozen("2025-11-25"), Frozen("2026-07-28"), All("2025-06-18"), All("2025-03-26")];
const LEGACY: [Requirement; 3] = [Frozen("2025-11-25"), All("2025-06-18"), All("2025-03-26")];
const MODERN: [Requirement; 1] = [Frozen("2026-07-28")];

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_by_itself_passes_everything() {
    conforms("direct", &EVERY, |_| Place::direct()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_the_gateway_passes_what_it_passes_alone() {
    conforms("http", &EVERY, |_| Place::behind_gateway(Eras::Both)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdio_server_behind_the_gateway_passes_what_it_passes_alone() {
    conforms("stdio", &EVERY, |_| Place::before_pipes("both")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_servers_on_the_aggregate_passes_what_it_passes_alone() {
    conforms("aggregate", &EVERY, |_| Place::among_others()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skills_pass_through_the_endpoint_of_their_server() {
    conforms("direct", &[Skills], |_| Place::direct()).await;
    conforms("http", &[Skills], |_| Place::behind_gateway(Eras::Both)).await;
    conforms("stdio", &[Skills], |_| Place::before_pipes("modern")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_sessions_get_everything_of_a_server_without() {
    conforms("to-modern", &LEGACY, |_| Place::behind_gateway(Eras::Modern)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_sessions_get_everything_of_a_server_with_them() {
    conforms("to-legacy", &MODERN, |_| Place::behind_gateway(Eras::Legacy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_sessions_get_everything_of_a_server_with_them() {
    conforms("to-equals", &LEGACY, |_| Place::behind_gateway(Eras::Legacy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_without_affinity_pass_it_too_over_streams_that_break() {
    let cut = conforms("replicas", &EVERY, |requirement| {
        // Where client and server have sessions, replicas have most to share.
        Place::spread(if LEGACY.contains(&requirement) { Eras::Legacy } else { Eras::Both })
    })
    .await;
    assert!(cut > 0, "no stream broke");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_carry_a_call_of_a_client_without_sessions_from_one_to_the_other() {
    conforms("replicas-to-legacy", &MODERN, |_| Place::spread(Eras::Legacy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_a_good_client_of_its_servers() {
    let mut reports = Vec::new();
    for revision in ["2025-11-25", "2026-07-28"] {
        let command = format!("{} {}", binary("walker").display(), binary("doorward").display());
        let checks = ClientSuite { command, revision }.run().await;
        reports.push(Report { surface: CLIENT, revision, checks });
    }
    expectation::hold(&reports);
}

/// Runs each suite in a place of its own, all at once: they mostly wait. Yields how many
/// connections were cut on the way.
///
/// The suite waits by the clock, for some messages no longer than 600 ms, which a machine that
/// does something else as well may not keep. So what did not pass among others is run once more,
/// alone; what does not pass then does not pass.
async fn conforms<F>(
    surface: &'static str,
    requirements: &[Requirement],
    place: impl Fn(Requirement) -> F,
) -> usize
where
    F: Future<Output = Place>,
{
    let mut runs = JoinSet::new();
    for requirement in requirements.iter().copied() {
        runs.spawn(place(requirement).await.run(surface, requirement));
    }
    let (mut reports, mut cut) = (Vec::new(), 0);
    for (requirement, mut report, cut_here) in runs.join_all().await {
        cut += cut_here;
        let surprises = expectation::surprises(&report);
        if !surprises.is_empty() {
            eprintln!("once more, alone:\n{surprises}");
            report = place(requirement).await.run(surface, requirement).await.1;
        }
        reports.push(report);
    }
    expectation::hold(&reports);
    cut
}

/// Where the suite finds a server.
struct Place {
    url: String,
    gateways: Vec<Running>,
    /// What the gateways stand on.
    ground: Option<(TempDir, Option<(Redis, Balancer)>)>,
}

impl Place {
    /// Runs one suite here. Yields how many connections were cut as well.
    async fn run(self, surface: &'static str, requirement: Requirement) -> (Requirement, Report, usize) {
        let checks = Suite { url: self.url.clone(), requirement }.run().await;
        let report = Report { surface, revision: requirement.revision(), checks };
        (requirement, report, self.leave().await)
    }

    async fn direct() -> Self {
        let url = format!("http://{}{}", fixture(Eras::Both).await, http::PATH);
        Self { url, gateways: Vec::new(), ground: None }
    }

    async fn behind_gateway(eras: Eras) -> Self {
        let address = fixture(eras).await;
        Self::gateway(&format!("url: \"http://{address}{}\"", http::PATH)).await
    }

    async fn before_pipes(eras: &str) -> Self {
        let program = binary("everything");
        Self::gateway(&format!("command: \"{}\", args: [--stdio, --era, {eras}]", program.display())).await
    }

    /// On the aggregate, with names and URIs mapped on the way.
    async fn among_others() -> Self {
        let address = fixture(Eras::Both).await;
        let (old, new) =
            (Recorder::start("old", Speaks::Legacy).await, Recorder::start("new", Speaks::Modern).await);
        let others = [&old, &new]
            .map(|other| format!("\n  - {{id: {}, url: \"{}\", enabled: true}}", other.name, other.url()));
        let mut place = Self::servers(&format!(
            "{{id: everything, url: \"http://{address}{}\", enabled: true}}{}",
            http::PATH,
            others.concat()
        ))
        .await;
        let gateway = place.gateways[0].address();
        place.url = format!("http://{}/mcp", hop::start(gateway, Names::Aggregate).await);
        place
    }

    /// Two replicas, each of which gets every other request.
    async fn spread(eras: Eras) -> Self {
        let (address, redis) = (fixture(eras).await, Redis::start().await);
        let server = format!("{{id: everything, url: \"http://{address}{}\", enabled: true}}", http::PATH);
        let folder = tempfile::tempdir().expect("a folder");
        let shared =
            format!("{}audit: {{keyDir: {}}}\n", redis.section(), folder.path().join("keys").display());
        let mut gateways = Vec::new();
        for name in ["a", "b"] {
            let running = gateway(&folder.path().join(name), &server, &shared).await;
            let client = Client::modern(running.address(), "/readyz", "");
            eventually("the replica reaches Redis", async || {
                client.raw(Method::GET, &client.headers(), Default::default()).await.body == "ready\n"
            })
            .await;
            gateways.push(running);
        }
        let balancer = Balancer::cutting_streams(gateways.iter().map(Running::address).collect()).await;
        let hop = hop::start(balancer.address, Names::Same).await;
        let url = format!("http://{hop}/mcp/everything");
        Self { url, gateways, ground: Some((folder, Some((redis, balancer)))) }
    }

    /// A gateway that lets everybody do everything with one server.
    async fn gateway(server: &str) -> Self {
        Self::servers(&format!("{{id: everything, {server}, enabled: true}}")).await
    }

    async fn servers(servers: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let running = gateway(folder.path(), servers, "").await;
        let url = format!("http://{}/mcp/everything", running.address());
        Self { url, gateways: vec![running], ground: Some((folder, None)) }
    }

    /// Stops everything; yields how many connections were cut on the way.
    async fn leave(self) -> usize {
        for running in self.gateways {
            running.stop().await;
        }
        let balancer = self.ground.and_then(|(_, shared)| shared);
        balancer.map_or(0, |(_, balancer)| balancer.cut())
    }
}

/// Starts a gateway that lives in a folder; `rest` is more of its configuration.
async fn gateway(folder: &Path, servers: &str, rest: &str) -> Running {
    std::fs::create_dir_all(folder).expect("a folder");
    let config = format!(
        "dataDir: {}\nauth: {{type: none}}\nrateLimit: {{enabled: false}}\nservers:\n  - {servers}\npolicies:\n  - {{id: all, name: All, roles: [\"*\"], rules: [{{action: allow}}]}}\n{rest}",
        folder.join("data").display(),
    );
    let path = folder.join("gateway.yaml");
    std::fs::write(&path, config).expect("written");
    runtime::start(&path, system()).await.expect("the gateway starts")
}

/// A fixture in this process.
async fn fixture(eras: Eras) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(http::serve(listener, Arc::new(Everything::new(eras))));
    address
}
