//! `doorward doctor`: it finds what is wrong, says what to do, and disturbs nobody.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::oidc::Issuer;
use crate::program::{Program, free_port};
use crate::world::redis::Redis;
use crate::world::{
    ALICE, Client, Ran, Recorder, STAFF_MAY_ALL, Speaks, binary, configuration, doorward, entries, eventually,
};

/// A configuration on a port of its own.
struct Place {
    folder: TempDir,
    port: u16,
}

impl Place {
    fn new(recorders: &[Recorder], rest: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder"), port: free_port() };
        let text = configuration(place.folder.path(), recorders, rest);
        fs::write(place.config(), format!("port: {}\n{text}", place.port)).expect("written");
        place
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn examine(&self, arguments: &[&str]) -> Findings {
        Findings::of(&doorward(&self.config(), &[&["doctor", "--json"], arguments].concat()).await)
    }

    async fn serve(&self) -> Program {
        Program::start_on(self.port, &[], &self.config(), &self.path("log"), &[]).await
    }
}

/// What the doctor said.
#[derive(Debug)]
struct Findings {
    code: Option<i32>,
    answer: Value,
}

impl Findings {
    fn of(ran: &Ran) -> Self {
        let answer: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("JSON: {ran:?}"));
        let failed = answer["failed"].as_u64().expect("a number");
        assert_eq!(ran.code, Some(i32::from(failed > 0)), "{ran:?}");
        assert_eq!(answer["ok"], failed == 0);
        for finding in answer["checks"].as_array().expect("findings") {
            assert_eq!(finding["status"] != "ok", finding["remedy"].is_string(), "{finding}");
        }
        Self { code: ran.code, answer }
    }

    /// `status: message` of each finding of a check; `check:subject` names one of several.
    fn all(&self, check: &str) -> Vec<String> {
        let (check, subject) = check.split_once(':').unwrap_or((check, ""));
        let found = self.answer["checks"].as_array().into_iter().flatten().filter(|finding| {
            finding["check"] == check && (subject.is_empty() || finding["subject"] == subject)
        });
        let text = |finding: &Value, key: &str| finding[key].as_str().expect("a text").to_owned();
        found.map(|finding| format!("{}: {}", text(finding, "status"), text(finding, "message"))).collect()
    }

    /// Whether a check said something that begins and goes on like this.
    #[track_caller]
    fn says(&self, check: &str, status: &str, words: &str) {
        let all = self.all(check);
        let found = all.iter().any(|text| text.starts_with(status) && text.contains(words));
        assert!(found, "{check} should say {status}: …{words}…, and says {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_running_gateway_all_is_found_well_and_nothing_is_touched() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let everything = binary("everything");
    let rest = format!(
        "  - {{id: child, command: \"{}\", args: [--stdio, --era, legacy], enabled: true}}\n{STAFF_MAY_ALL}",
        everything.display()
    );
    let place = Place::new(std::slice::from_ref(&recorder), &rest);
    let program = place.serve().await;
    let client = Client::modern(program.address, "/mcp", ALICE);
    assert_eq!(client.call("github__echo", serde_json::json!({"message": "hi"})).await.summary(), "200 ok");

    let recorded = || entries(place.folder.path()).len();
    // Started, decided, ended.
    eventually("the call has ended", async || recorded() == 3).await;
    let found = place.examine(&[]).await;
    assert_eq!(found.code, Some(0), "{found:#?}");
    found.says("config", "warn", "is valid, with 2 warnings");
    found.says("policies", "ok", "1 with role rules");
    found.says("dataDir", "ok", "can be written");
    found.says("keyDir", "ok", "private");
    found.says("ledger", "ok", "entries");
    found.says("index", "ok", "");
    found.says("port", "ok", "is ours: process");
    found.says("gateway", "ok", "is ready");
    found.says("server:github", "ok", "2026-07-28 (era modern), 5 tools");
    found.says("server:child", "ok", "(era legacy)");
    found.says("clock", "ok", "");

    assert_eq!(recorder.calls(), ["echo"], "no tool was called");
    assert_eq!(recorded(), 3, "nothing was recorded");
    assert_eq!(client.call("github__echo", serde_json::json!({"message": "hi"})).await.summary(), "200 ok");
    program.stop().await;
    let alone = place.examine(&["--offline"]).await;
    alone.says("port", "ok", "is free");
    assert_eq!(alone.all("gateway"), Vec::<String>::new());
    alone.says("server:github", "ok", "not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_else_has_is_told_from_ours() {
    let place = Place::new(&[], STAFF_MAY_ALL);
    let stranger = TcpListener::bind(("127.0.0.1", place.port)).await.expect("free");
    place.examine(&["--offline"]).await.says("port", "fail", "another program listens");
    drop(stranger);

    let other = Place::new(&[], STAFF_MAY_ALL);
    let program = Program::start_on(place.port, &[], &other.config(), &other.path("log"), &[]).await;
    place.examine(&["--offline"]).await.says("port", "fail", "a gateway of another configuration");
    other.examine(&["--offline"]).await.says("port", "warn", "is free, though process");
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_that_cannot_serve_is_named_with_its_reason() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed = free_port();
    let guarded = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let guarded_at = guarded.local_addr().expect("an address");
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = guarded.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let rest = format!(
        "servers:\n  - {{id: silent, url: \"http://{}/mcp\", enabled: true}}\n  - {{id: closed, url: \"http://127.0.0.1:{closed}/mcp\", enabled: true}}\n  - {{id: guarded, url: \"http://{guarded_at}/mcp\", enabled: true}}\n  - {{id: unset, url: \"http://127.0.0.1:{closed}/mcp\", credential: {{kind: bearer, token: \"${{DOORWARD_NOT_SET}}\"}}, enabled: true}}\n  - {{id: nowhere, command: no-such-program-anywhere, enabled: true}}\n  - {{id: crashes, command: sh, args: [-c, \"echo out of luck >&2; exit 3\"], enabled: true}}\n  - {{id: off, command: no-such-program-anywhere, enabled: false}}\n{STAFF_MAY_ALL}",
        silent.local_addr().expect("an address"),
    );
    let place = Place::new(&[], &rest);
    let found = place.examine(&["--timeout", "2"]).await;
    found.says("server:silent", "fail", "does not answer within 2 s");
    found.says("server:closed", "fail", "cannot be reached");
    found.says("server:guarded", "fail", "requires authorization");
    found.says("server:unset", "fail", "DOORWARD_NOT_SET is not set");
    found.says("server:nowhere", "fail", "no program `no-such-program-anywhere`");
    found.says("server:crashes", "fail", "out of luck");
    assert_eq!(found.all("server:off"), Vec::<String>::new());
    // Without reaching anybody, what is at hand is found all the same.
    let found = place.examine(&["--offline"]).await;
    found.says("server:unset", "fail", "DOORWARD_NOT_SET is not set");
    found.says("server:nowhere", "fail", "no program");
    found.says("server:closed", "ok", "not asked");
}

/// Writes a self-signed certificate for `name` that ends on a day, and its key.
fn certificate(place: &Place, name: &str, end: (i32, u8, u8)) {
    let mut wanted = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
    let key = rcgen::KeyPair::generate().expect("a key");
    fs::write(place.path("tls.crt"), wanted.self_signed(&key).expect("signed").pem()).expect("written");
    private(&place.path("tls.key"), &key.serialize_pem());
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_read_matched_and_its_end_foretold() {
    let tls = "tls: {cert: tls.crt, key: tls.key}\nallowedHosts: [mcp.corp.example]\n";
    let place = Place::new(&[], &format!("{tls}{STAFF_MAY_ALL}"));
    certificate(&place, "mcp.corp.example", (2999, 1, 1));
    let found = place.examine(&["--offline"]).await;
    assert_eq!(found.all("tls").len(), 1, "{found:?}");
    found.says("tls", "ok", "the certificate is for mcp.corp.example and fits its key");

    certificate(&place, "elsewhere.example", (2021, 1, 1));
    let found = place.examine(&["--offline"]).await;
    found.says("tls", "fail", "has expired on 2021-01-01");
    found.says("tls", "warn", "is not for mcp.corp.example");

    fs::set_permissions(place.path("tls.key"), fs::Permissions::from_mode(0o644)).expect("set");
    place.examine(&["--offline"]).await.says("tls", "warn", "others on this machine may read the key");

    private(&place.path("tls.key"), &rcgen::KeyPair::generate().expect("a key").serialize_pem());
    place.examine(&["--offline"]).await.says("tls", "fail", "do not go together");
    fs::write(place.path("tls.crt"), "nothing").expect("written");
    place.examine(&["--offline"]).await.says("tls", "fail", "cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_no_gateway_would_go_on_with_is_found() {
    let place = Place::new(&[], STAFF_MAY_ALL);
    place.serve().await.stop().await;
    place.examine(&["--offline"]).await.says("ledger", "ok", "all of them were read and hold");

    let data = place.path("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("set");
    let key = data.join("keys/ledger-signing.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("set");
    let found = place.examine(&["--offline"]).await;
    found.says("dataDir", "warn", "can be entered by other users");
    found.says("keyDir", "fail", "others may read");

    let aside = place.path("aside.key");
    fs::rename(&key, &aside).expect("moved");
    place.examine(&["--offline"]).await.says("ledger", "fail", "signed with another key");
    fs::rename(&aside, &key).expect("moved back");

    let segments = data.join("audit/segments");
    let segment = fs::read_dir(&segments).expect("segments").next().expect("one").expect("readable").path();
    let text = fs::read_to_string(&segment).expect("text");
    for (before, after) in [("shut down in order", "shut down in ordeR"), ("started", "starteD")] {
        fs::write(&segment, text.replace(before, after)).expect("written");
        place.examine(&["--offline"]).await.says("ledger", "fail", "");
    }
    assert!(!data.join("audit/index.db").metadata().expect("there").permissions().readonly());
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_and_shared_store_are_asked_and_their_clocks_compared() {
    let (issuer, mut redis) = (Issuer::start().await, Redis::start().await);
    let place = Place::new(&[], "");
    let text = |issuer: &str| {
        format!(
            "port: {}\ndataDir: {}\n{}auth: {{type: oidc, oidc: {{issuerUrl: \"http://{issuer}\", clientId: desk}}}}\n{STAFF_MAY_ALL}",
            place.port,
            place.path("data").display(),
            redis.section(),
        )
    };
    fs::write(place.config(), text(&issuer.address.to_string())).expect("written");
    let nobody = text(&format!("127.0.0.1:{}", free_port()));
    let found = place.examine(&[]).await;
    found.says("issuer", "ok", "offers 1 usable keys");
    found.says("shared", "ok", "Redis");
    found.says("clock", "ok", "agrees with the shared store");

    redis.kill().await;
    fs::write(place.config(), nobody).expect("written");
    let found = place.examine(&["--timeout", "3"]).await;
    found.says("issuer", "fail", "cannot be fetched");
    found.says("shared", "fail", "cannot be reached");
    let offline = place.examine(&["--offline"]).await;
    assert_eq!(offline.all("issuer").len() + offline.all("shared").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_does_not_hold_fails_line_by_line() {
    let place = Place::new(&[], "limits: 7\n");
    let found = place.examine(&[]).await;
    assert_eq!(found.code, Some(1));
    found.says("config", "fail", "limits");
    found.says("descriptors", "", "");
    let rego = "regoPolicies:\n  - {name: broken, source: \"package p\\nallow if {\"}\n";
    let place = Place::new(&[], rego);
    let found = place.examine(&["--offline"]).await;
    found.says("policies", "fail", "broken");
    found.says("memory", "", "MiB of messages");
    let shown = doorward(&place.config(), &["doctor", "--offline"]).await;
    let lines: Vec<_> = shown.out.lines().filter(|line| line.starts_with("fail policies")).collect();
    assert_eq!(lines.len(), 1, "one line a check: {shown:?}");
    assert!(lines[0].contains("; mend it"), "{lines:?}");
    assert_eq!(doorward(&place.config(), &["doctor", "--timeout", "0"]).await.code, Some(2));
}
