//! The program as people run it.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A working directory of its own.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn with(name: &str, text: &str) -> Self {
        let world = Self::new();
        std::fs::write(world.dir.path().join(name), text).expect("written");
        world
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect(name)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    #[allow(clippy::disallowed_methods, reason = "this is what is tested")]
    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
        command.args(arguments).current_dir(self.dir.path()).env_clear().envs(environment.iter().copied());
        Ran::from(command.output().expect("started"))
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

const CONFIG: &str = "\
# Ours, do not touch
auth:
  type: api-key
  keys:
    - id: key-1
      key: gw_mine  # to be hashed
      name: \"Production Agent\"
      consumerId: agent-prod
      roles: [reader, writer]
      enabled: true
    # switched off
    - {id: key-2, key: gw_other, name: Old, consumerId: agent-old, roles: [], enabled: false}

servers:
  - id: mcp-fred
    name: \"Federal Reserve\"
    command: node
    args: [\"./a b.js\", \"-v\"]
    enabled: true
  - {id: remote, url: \"https://api.example/mcp?key=S3CR3T\", enabled: false}
policies: []  # none yet
";

#[test]
fn keys_are_listed_in_columns_and_never_shown() {
    let world = World::with("gateway.yaml", CONFIG);
    let ran = world.run(&["keys", "list"]);
    let rule = "-".repeat(80);
    let expected = format!(
        "\nID           Name                 Consumer        Roles                Enabled\n{rule}\n\
         key-1        Production Agent     agent-prod      reader,writer        true\n\
         key-2        Old                  agent-old                            false\n"
    );
    assert_eq!((ran.out, ran.err, ran.code), (expected, String::new(), Some(0)));
    let json = world.run(&["keys", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(listed[0]["roles"], serde_json::json!(["reader", "writer"]));
    assert!(!json.out.contains("gw_"));
}

#[test]
fn servers_are_listed_in_columns_without_secrets() {
    let world = World::with("gateway.yaml", CONFIG);
    let ran = world.run(&["servers", "list"]);
    let rule = "-".repeat(90);
    let expected = format!(
        "\nID                   Name                           Enabled    Command\n{rule}\n\
         mcp-fred             Federal Reserve                true       node ./a b.js -v\n\
         remote               remote                         false      https://api.example/mcp\n"
    );
    assert_eq!((ran.out, ran.code), (expected, Some(0)));
    let json = world.run(&["servers", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(listed[1]["transport"], "http");
    assert!(!json.out.contains("S3CR3T"));
}

#[test]
fn servers_are_listed_as_they_are_written_and_not_as_they_are_filled() {
    let text = "auth: {type: none}\nservers:\n  - {id: child, command: tool, args: ['--api-key=${KEY}', -v], enabled: true}\n  - {id: remote, url: 'https://api.example/${KEY}/mcp?k=1', enabled: true}\n";
    let world = World::with("gateway.yaml", text);
    for (arguments, child) in [
        (&["servers", "list"][..], "tool --api-key=${KEY} -v"),
        (&["servers", "list", "--json"], "\"--api-key=${KEY}\""),
    ] {
        let ran = world.run_with(arguments, &[("KEY", "S3CR3T")]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(!ran.out.contains("S3CR3T") && !ran.err.contains("S3CR3T"), "{}", ran.out);
        assert!(ran.out.contains(child), "{}", ran.out);
        assert!(ran.out.contains("https://api.example/${KEY}/mcp"), "{}", ran.out);
    }
}

#[test]
fn a_key_is_created_shown_once_and_stored_as_a_hash() {
    let world = World::with("gateway.yaml", CONFIG);
    let ran = world.run(&["keys", "create", "My Agent", "agent-1", "reader,writer"]);
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines[..2], ["", "API Key Created:"]);
    let id = lines[2].strip_prefix("  ID:       ").expect("the id");
    let key = lines[3].strip_prefix("  Key:      ").expect("the key");
    assert_eq!(
        lines[4..],
        [
            "  Consumer: agent-1",
            "  Roles:    reader, writer",
            "",
            "⚠️  Save the key now — it won't be shown again."
        ]
    );
    assert!(id.strip_prefix("key-").is_some_and(|millis| millis.len() == 13), "{id}");
    assert!(key.len() == 67 && key.starts_with("gw_"), "{key}");
    let text = world.read("gateway.yaml");
    assert!(!text.contains(key));
    let (before, after) = text.split_once(&format!("    - id: \"{id}\"\n")).expect("added");
    let (entry, rest) = after.split_once("      enabled: true\n").expect("enabled");
    assert_eq!(format!("{before}{rest}"), CONFIG, "nothing else changed");
    assert!(entry.contains("key: \"sha256:"), "{entry}");
    let listed = world.run(&["keys", "list"]).out;
    assert!(
        listed.contains(&format!("{id} My Agent             agent-1         reader,writer        true\n")),
        "{listed}"
    );
    assert_eq!(world.run(&["check"]).code, Some(0));
}

#[test]
fn a_key_has_defaults_and_may_belong_to_a_person() {
    let world = World::with("gateway.yaml", CONFIG);
    let ran = world.run(&["keys", "create"]);
    assert!(ran.out.contains("  Consumer: default\n  Roles:    reader\n"), "{}", ran.out);
    let person = [
        "keys",
        "create",
        "Ana",
        "--person",
        "ana@corp.example",
        "--servers",
        "remote",
        "--scopes",
        "audit.read",
        "--expires",
        "2027-01-01",
        "--json",
    ];
    let created: serde_json::Value = serde_json::from_str(&world.run(&person).out).expect("JSON");
    assert_eq!(created["consumerId"], serde_json::Value::Null);
    let listed: serde_json::Value =
        serde_json::from_str(&world.run(&["keys", "list", "--json"]).out).expect("JSON");
    assert_eq!(listed[3]["person"], "ana@corp.example");
    assert_eq!(listed[3]["servers"], serde_json::json!(["remote"]));
    assert_eq!(listed[3]["expiresAt"], "2027-01-01T00:00:00.000000Z");
    let wrong = world.run(&["keys", "create", "--expires", "soon"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""));
}

#[test]
fn a_key_is_made_by_names_and_its_misspelt_role_is_named() {
    let policies = "policies:\n  - {id: w, roles: [writer], rules: [{action: allow}]}\n";
    let config = CONFIG.replace("policies: []  # none yet\n", policies);
    let world = World::with("gateway.yaml", &config);
    let by_name = [
        "keys", "create", "--name", "My Agent", "--agent", "agent-1", "--role", "writer", "--role", "writter",
    ];
    let ran = world.run(&by_name);
    assert!(ran.out.contains("  Consumer: agent-1\n  Roles:    writer, writter\n"), "{}", ran.out);
    assert_eq!(
        ran.err,
        "warning: no role policy names the role `writter`, so it allows nothing by itself; did you mean `writer`?\n"
    );
    let listed: serde_json::Value =
        serde_json::from_str(&world.run(&["keys", "list", "--json"]).out).expect("JSON");
    let key = ran.out.lines().find_map(|line| line.strip_prefix("  Key:      ")).expect("the key");
    let prefix = listed[2]["prefix"].as_str().expect("a prefix");
    assert!(key.starts_with(prefix) && prefix.len() == 9, "{key} {prefix}");
    assert_eq!(world.run(&["keys", "create", "A", "--name", "B"]).code, Some(2), "one name only");
}

#[test]
fn a_key_is_renewed_under_its_id_and_the_one_before_it_may_stay_for_a_while() {
    let world = World::with("gateway.yaml", CONFIG);
    let ran = world.run(&["keys", "rotate", "key-1", "--grace", "24h", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let renewed: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let text = world.read("gateway.yaml");
    assert!(!text.contains("gw_mine") && !text.contains(renewed["key"].as_str().expect("a key")), "{text}");
    let listed: serde_json::Value =
        serde_json::from_str(&world.run(&["keys", "list", "--json"]).out).expect("JSON");
    assert_eq!(listed[0]["previousUntil"], renewed["previousUntil"]);
    assert_eq!(listed[0]["roles"], serde_json::json!(["reader", "writer"]), "the same rights");
    let at_once = world.run(&["keys", "rotate", "key-1"]);
    assert!(at_once.out.contains("The key before it works no longer."), "{} {}", at_once.out, at_once.err);
    assert_eq!(world.run(&["check"]).code, Some(0));
    let unknown = world.run(&["keys", "rotate", "key-9"]);
    assert_eq!((unknown.out.as_str(), unknown.code), ("Key key-9 not found.\n", Some(1)));
    assert_eq!(world.run(&["keys", "rotate", "key-1", "--grace", "soon"]).code, Some(2));
}

#[test]
fn a_key_is_revoked_where_it_stands() {
    let world = World::with("gateway.yaml", CONFIG);
    let ran = world.run_with(&["keys", "revoke", "key-1"], &[("USER", "ana")]);
    assert_eq!((ran.out.as_str(), ran.code), ("Key key-1 revoked.\n", Some(0)));
    let listed: serde_json::Value =
        serde_json::from_str(&world.run(&["keys", "list", "--json"]).out).expect("JSON");
    assert_eq!((&listed[0]["enabled"], &listed[0]["revokedBy"]), (&false.into(), &"ana".into()));
    let at = listed[0]["revokedAt"].as_str().expect("a time");
    let revoked = format!("enabled: false\n      revokedAt: \"{at}\"\n      revokedBy: \"ana\"");
    assert_eq!(world.read("gateway.yaml"), CONFIG.replacen("enabled: true", &revoked, 1));
    let unknown = world.run(&["keys", "revoke", "key-9"]);
    assert_eq!((unknown.out.as_str(), unknown.code), ("Key key-9 not found.\n", Some(1)));
}

#[test]
fn what_no_gateway_takes_up_is_not_called_done() {
    let invalid = format!("{CONFIG}port: [1]\n");
    let rego = format!("{CONFIG}regoPolicies: [{{name: a, source: \"package a\\nallow if {{\"}}]\n");
    for (text, code) in [(invalid, "wrong-kind"), (rego, "rego")] {
        let world = World::with("gateway.yaml", &text);
        let revoked = world.run(&["keys", "revoke", "key-1"]);
        assert_eq!((revoked.out.as_str(), revoked.code), ("", Some(1)), "{code}");
        let said = "gateway.yaml: written, but a running gateway keeps the old configuration:\n";
        assert!(revoked.err.contains(said) && revoked.err.contains(&format!("[{code}]")), "{}", revoked.err);
        assert!(
            !world.read("gateway.yaml").contains("enabled: true\n    # switched"),
            "it is written all the same"
        );
        let created = world.run(&["keys", "create"]);
        assert!(created.code == Some(1) && created.err.contains(said), "{}", created.err);
        assert!(created.out.contains("  Key:      gw_"), "the key is shown: {}", created.out);
    }
}

#[test]
fn what_only_the_gateways_environment_knows_is_not_held_against_an_edit() {
    let world = World::with("gateway.yaml", &format!("{CONFIG}dataDir: ${{STATE}}/doorward\n"));
    let revoked = world.run(&["keys", "revoke", "key-1"]);
    assert_eq!((revoked.out.as_str(), revoked.code), ("Key key-1 revoked.\n", Some(0)));
    let said = "whether a running gateway takes it up cannot be told from here:";
    assert!(revoked.err.contains(said) && revoked.err.contains("[unset-variable]"), "{}", revoked.err);
}

#[cfg(unix)]
#[test]
fn an_edit_keeps_the_owner_or_is_not_made() {
    use std::os::unix::fs::{MetadataExt, chown};
    let world = World::with("gateway.yaml", CONFIG);
    let path = world.dir.path().join("gateway.yaml");
    // Only root may give files away; whoever else runs this test sees that theirs stay theirs.
    let given = chown(&path, Some(65_532), Some(65_532)).is_ok();
    let before = std::fs::metadata(&path).expect("there");
    assert_eq!(world.run(&["keys", "revoke", "key-1"]).code, Some(0));
    let after = std::fs::metadata(&path).expect("there");
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(given, after.uid() == 65_532);
}

#[cfg(unix)]
#[test]
fn an_edit_keeps_the_mode_of_the_file_and_what_links_point_to() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let world = World::with("real.yaml", CONFIG);
    let real = world.dir.path().join("real.yaml");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).expect("set");
    symlink("real.yaml", world.dir.path().join("gateway.yaml")).expect("linked");
    assert_eq!(world.run(&["keys", "revoke", "key-1"]).code, Some(0));
    assert!(world.read("real.yaml").contains("enabled: false"));
    assert!(world.dir.path().join("gateway.yaml").is_symlink());
    assert_eq!(std::fs::metadata(&real).expect("there").permissions().mode() & 0o777, 0o640);
    let left: Vec<_> = std::fs::read_dir(world.dir.path()).expect("listed").collect();
    assert_eq!(left.len(), 2, "nothing is left behind");
}

#[test]
fn init_writes_a_configuration_that_is_valid_and_never_over_another() {
    let world = World::new();
    let ran = world.run(&["init"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.starts_with("Created gateway.yaml from template\n\n  Key:      gw_"), "{}", ran.out);
    let written = world.read("gateway.yaml");
    assert!(written.starts_with("# yaml-language-server: $schema=./gateway.schema.json\n"));
    assert!(!written.contains("gw_"), "no key in the clear");
    let schema: serde_json::Value = serde_json::from_str(&world.read("gateway.schema.json")).expect("JSON");
    assert!(schema["properties"]["servers"].is_object());
    let checked = world.run(&["check"]);
    assert_eq!(
        (checked.out.as_str(), checked.code),
        ("gateway.yaml: valid (0 errors, 0 warnings)\n", Some(0))
    );

    let again = world.run(&["init", "--yes"]);
    assert_eq!((again.out.as_str(), again.code), ("gateway.yaml already exists\n", Some(1)));
    assert_eq!(world.read("gateway.yaml"), written, "untouched");
    let elsewhere = world.run(&["init", "--json", "--yes", "--config", "other.yaml"]);
    let answer: serde_json::Value = serde_json::from_str(&elsewhere.out).expect("JSON");
    assert_eq!((answer["created"].as_bool(), answer["config"].as_str()), (Some(true), Some("other.yaml")));
    assert!(answer["key"]["key"].as_str().is_some_and(|key| key.starts_with("gw_")));
}

#[test]
fn check_says_where_what_and_how() {
    let world = World::with("gateway.yaml", "port: 3100\nsrvers: []\nhost: 0.0.0.0\n");
    let ran = world.run(&["check"]);
    assert_eq!(ran.code, Some(1));
    let expected = "\
gateway.yaml: warning: auth: nobody can call: there is no `auth`; run `doorward keys create` [no-keys]
gateway.yaml: warning: policies: every call is refused: there is no policy that allows any; add a policy; `doorward init` writes a sample [no-policy]
gateway.yaml:2:1: error: srvers: unknown key `srvers`; did you mean `servers`? [unknown-key]
gateway.yaml:3:1: error: host: `0.0.0.0` can be reached by others, and there is no TLS; set `tls: {cert: …, key: …}`, name the proxy that ends TLS in `trustedProxies`, or bind 127.0.0.1 [open-bind]
gateway.yaml: not valid (2 errors, 2 warnings)
";
    assert_eq!(ran.out, expected);
    let json: serde_json::Value = serde_json::from_str(&world.run(&["check", "--json"]).out).expect("JSON");
    assert_eq!((json["valid"].as_bool(), json["errors"].as_u64()), (Some(false), Some(2)));
    assert_eq!(json["findings"][3]["code"], "open-bind");
    assert_eq!(json["findings"][3]["line"], 3);
}

#[test]
fn the_files_of_the_other_gateway_are_valid() {
    for name in ["readme-gateway.yaml", "example-gateway.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let ran =
            World::new().run_with(&["check", path.to_str().expect("UTF-8")], &[("STRIPE_SECRET_KEY", "sk")]);
        assert_eq!(ran.code, Some(0), "{}", ran.out);
        assert!(ran.out.contains("valid (0 errors, "), "{}", ran.out);
    }
}

#[test]
fn what_the_other_gateway_passes_over_is_passed_over_when_that_is_asked_for() {
    let text = "auth: {type: none}\nservers: [{id: a, command: x, enabled: true}]\npolicies:\n  - id: p\n    roles: ['*']\n    rules:\n      - {tool: t, action: alow}\n      - {tool: u, action: allow, conditions: [{param: x, operator: lt, value: 5}]}\n      - {action: allow}\n";
    let world = World::with("gateway.yaml", text);
    let strict = world.run(&["check"]);
    assert!(strict.code == Some(1) && strict.out.contains("did you mean `allow`?"), "{}", strict.out);
    for (arguments, environment) in
        [(&["check", "--compat"][..], &[][..]), (&["check"], &[("DOORWARD_COMPAT", "1")])]
    {
        let lenient = world.run_with(arguments, environment);
        assert!(lenient.code == Some(0) && lenient.out.contains("the rule never decides"), "{}", lenient.out);
    }
    // `lt` is ours: to the other gateway it never holds, so that the last rule decides.
    for (tool, arguments) in [("t", "{}"), ("u", r#"{"x":1}"#)] {
        let input = format!(r#"{{"backend":"a","tool":"{tool}","arguments":{arguments},"roles":["*"]}}"#);
        std::fs::write(world.dir.path().join("call.json"), input).expect("written");
        let ran = world.run(&["policy", "simulate", "--input", "call.json", "--compat"]);
        assert!(ran.out.contains("rules/p#/rules/2"), "{tool}: {} {}", ran.out, ran.err);
    }
}

#[test]
fn the_configuration_is_looked_for_in_order() {
    let world = World::with("b.yaml", CONFIG);
    let missing = world.run(&["keys", "list"]);
    assert_eq!(
        (missing.code, missing.err.as_str()),
        (Some(1), "Config not found: ./gateway.yaml; `doorward init` writes one\n")
    );
    assert_eq!(world.run(&["keys", "list", "--config", "b.yaml"]).code, Some(0));
    assert_eq!(world.run(&["--config", "b.yaml", "keys", "list"]).code, Some(0));
    assert_eq!(world.run_with(&["keys", "list"], &[("MCP_GATEWAY_CONFIG", "b.yaml")]).code, Some(0));
    std::fs::write(world.dir.path().join("gateway.yaml"), CONFIG).expect("written");
    let named = world.run_with(&["keys", "list"], &[("MCP_GATEWAY_CONFIG", "none.yaml")]);
    assert_eq!(
        (named.code, named.err.as_str()),
        (Some(1), "Config not found: none.yaml\n"),
        "never another one"
    );
}

#[test]
fn an_address_of_six_is_called_in_brackets() {
    let world = World::with("gateway.yaml", &format!("{CONFIG}host: \"::1\"\nport: 1\n"));
    let ran = world.run(&["call", "mcp-fred", "get_series"]);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.err.starts_with("no gateway answered at http://[::1]:1/mcp/mcp-fred: "), "{}", ran.err);
}

#[test]
fn a_key_comes_from_a_file_and_is_warned_of_on_the_command_line() {
    let world = World::with("gateway.yaml", &format!("{CONFIG}port: 1\n"));
    std::fs::write(world.dir.path().join("key"), "gw_key\n").expect("written");
    std::fs::write(world.dir.path().join("empty"), "\n").expect("written");
    let call = |option: &str, value: &str| world.run(&["call", "mcp-fred", "get_series", option, value]);
    let warned = call("--key", "gw_key");
    assert_eq!(warned.code, Some(3), "{}", warned.err);
    assert!(warned.err.starts_with("warning: every user of this machine can read `--key`"), "{}", warned.err);
    let from_file = call("--key-file", "key");
    assert_eq!(from_file.code, Some(3), "{}", from_file.err);
    assert!(from_file.err.starts_with("no gateway answered"), "{}", from_file.err);
    for (file, said) in [("none", "the key cannot be read from none"), ("empty", "empty holds no key")] {
        let ran = call("--key-file", file);
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        assert!(ran.err.starts_with(said), "{}", ran.err);
    }
}

#[test]
fn an_invalid_configuration_lists_nothing_and_says_why() {
    let world = World::with("gateway.yaml", "servers: [{id: A B, command: x}]\nallowedHosts: ['*']\n");
    let ran = world.run(&["servers", "list"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(
        ran.err.starts_with("gateway.yaml:1:12: error: servers[0].id: `A B` cannot be a server id"),
        "{}",
        ran.err
    );
    assert_eq!(ran.err.lines().count(), 1, "errors only: {}", ran.err);
}

#[test]
fn the_program_explains_itself() {
    let world = World::new();
    let version = world.run(&["version"]);
    assert_eq!((version.out.as_str(), version.code), ("doorward 0.1.0\n", Some(0)));
    let help = world.run(&[]);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("Usage: doorward"), "{}", help.out);
    for command in [
        &["init"][..],
        &["check"],
        &["keys", "list"],
        &["keys", "create"],
        &["keys", "rotate"],
        &["keys", "revoke"],
        &["servers", "list"],
        &["completions"],
    ] {
        let help = world.run(&[command, &["--help"]].concat());
        assert!(help.out.contains("Examples:"), "{command:?}: {}", help.out);
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = world.run(&["completions", shell]);
        assert!(script.code == Some(0) && script.out.contains("doorward"), "{shell}");
    }
    for wrong in [
        &["audit", "log", "--outcome", "bogus"][..],
        &["nonsense"],
        &["keys"],
        &["keys", "revoke"],
        &["check", "--nonsense"],
    ] {
        assert_eq!(world.run(wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn serve_refuses_telemetry_it_cannot_do_and_shows_no_header() {
    let world = World::with("gateway.yaml", CONFIG);
    let ran = world.run_with(
        &["serve", "--port", "0"],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20planted"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ],
    );
    assert_eq!(ran.code, Some(1));
    let expected = "OTEL_EXPORTER_OTLP_PROTOCOL: `grpc` is not supported: use http/protobuf";
    assert!(ran.err.ends_with(&format!("{expected}\n")), "{}", ran.err);
    assert!(!(ran.out + &ran.err).contains("planted"));
}

#[test]
fn a_policy_decides_a_recorded_call_as_the_gateway_did() {
    let policies =
        "auth: {type: none}\npolicies:\n  - {id: all, name: All, roles: ['*'], rules: [{action: allow}]}\n";
    let world = World::with("gateway.yaml", policies);
    // As deep as arguments may be, which makes their input document a little deeper.
    let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    for value in ["9007199254740993", "-12345678901234567890123", &deep] {
        let input = format!(r#"{{"backend":"exact","tool":"t","arguments":{{"a":{value}}},"roles":["*"]}}"#);
        std::fs::write(world.dir.path().join("call.json"), input).expect("written");
        let ran = world.run(&["policy", "simulate", "--input", "call.json"]);
        assert!(ran.code == Some(0) && ran.out.contains("\"allow\""), "{} {}", ran.out, ran.err);
    }
    let conditions = policies
        .replace("{action: allow}", "{action: allow, conditions: [{param: a, operator: gt, value: 1}]}");
    std::fs::write(world.dir.path().join("gateway.yaml"), conditions).expect("written");
    std::fs::write(
        world.dir.path().join("call.json"),
        r#"{"backend":"exact","tool":"t","arguments":{"a":9007199254740993},"roles":["*"]}"#,
    )
    .expect("written");
    let ran = world.run(&["policy", "simulate", "--input", "call.json"]);
    assert!(ran.code == Some(1) && ran.out.contains("integer beyond"), "{} {}", ran.out, ran.err);
}

#[test]
fn policies_that_no_gateway_puts_in_force_decide_nothing() {
    let text = "auth: {type: none}\nregoPolicies:\n  - {name: cards, source: \"package cards\\nallow := true\\nredact contains \\\"/card\\\"\"}\n";
    let world = World::with("gateway.yaml", text);
    std::fs::write(world.dir.path().join("call.json"), r#"{"backend":"a","tool":"t"}"#).expect("written");
    let ran = world.run(&["policy", "simulate", "--input", "call.json"]);
    assert_eq!((ran.code, &*ran.out), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.contains("cards: defines `redact`, which this version cannot do"), "{}", ran.err);
}

/// A gateway that one caller may use, and nothing to complain about.
const PLAIN: &str = "auth: {type: none}\nservers:\n  - {id: pay, url: \"http://127.0.0.1:9/mcp\", enabled: true}\npolicies:\n  - {id: all, name: All, roles: ['*'], rules: [{action: allow}]}\n";

#[test]
fn a_mistake_in_a_policy_is_said_once_where_it_stands() {
    let in_a_file = format!("{PLAIN}regoPolicies:\n  - {{name: cap, file: cap.rego}}\n");
    let written_out = |source: &str| {
        let indented: String = source.lines().map(|line| format!("      {line}\n")).collect();
        format!("{PLAIN}regoPolicies:\n  - name: cap\n    source: |\n{indented}")
    };
    let unknown = "package cap\n\ndeny contains \"no\" if input.args.amount > 100\n";
    let client = "package cap\n\ndeny contains \"no\" if input.context.client.name == \"x\"\n";
    let cases = [
        (unknown, Some(1), "3:23: error: ", "there is no `input.args`; did you mean `arguments`? [rego]"),
        (client, Some(0), "3:1: warning: ", "the stricter verdict counts; to allow by client, use"),
    ];
    for (source, code, place, message) in cases {
        let world = World::with("gateway.yaml", &in_a_file);
        std::fs::write(world.dir.path().join("cap.rego"), source).expect("written");
        let ran = world.run(&["check"]);
        let line = ran.out.lines().find(|line| line.starts_with("cap.rego:")).unwrap_or(&ran.out);
        assert!(line.starts_with(&format!("cap.rego:{place}")) && line.contains(message), "{}", ran.out);
        assert_eq!(
            (ran.code, ran.out.lines().filter(|line| line.contains("rego")).count()),
            (code, 1),
            "{}",
            ran.out
        );
        // The source begins in line 9 of the configuration, indented by 6.
        let (line, rest) = place.split_once(':').expect("a line");
        let (column, severity) = rest.split_once(':').expect("a column");
        let (line, column): (usize, usize) =
            (line.parse().expect("a line"), column.parse().expect("a column"));
        let world = World::with("gateway.yaml", &written_out(source));
        let ran = world.run(&["check"]);
        let expected = format!("gateway.yaml:{}:{}:{severity}regoPolicies[0].source: ", line + 8, column + 6);
        assert!(ran.out.contains(&expected) && ran.out.contains(message), "{expected}\n{}", ran.out);
    }
}

#[test]
fn a_simulation_takes_one_call_and_policies_that_are_off_or_not_configured_yet() {
    let text = format!(
        "{PLAIN}regoPolicies:\n  - {{name: cap, mode: off, source: \"package cap\\ndeny contains \\\"too much\\\" if input.arguments.amount > 100\"}}\n"
    );
    let world = World::with("gateway.yaml", &text);
    let new = "package new\ndeny contains \"new\" if input.tool == \"refund\"\n";
    for (name, text) in [("new.rego", new), ("cap.rego", "package cap\n")] {
        std::fs::write(world.dir.path().join(name), text).expect("written");
    }
    let simulate = |input: &str, more: &[&str]| {
        std::fs::write(world.dir.path().join("call.json"), input).expect("written");
        let mut arguments = vec!["policy", "simulate", "--input", "call.json"];
        arguments.extend(more);
        world.run(&arguments)
    };
    let call = r#"{"backend":"pay","tool":"refund","arguments":{"amount":101},"roles":["x"]}"#;
    let cases: [(&[&str], i32, &str); 4] = [
        (&[], 0, "allow []"),
        (&["--enforce", "cap"], 1, "deny [\"too much\"]"),
        (&["--rego", "new.rego"], 1, "deny [\"new\"]"),
        (&["--enforce", "cap", "--rego", "new.rego"], 1, "deny [\"too much\",\"new\"]"),
    ];
    for (more, code, expected) in cases {
        let ran = simulate(call, more);
        let said: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
        let verdict = said["verdict"].as_str().unwrap_or_default();
        assert_eq!(
            (ran.code, format!("{verdict} {}", said["reasons"])),
            (Some(code), expected.to_owned()),
            "{more:?}"
        );
        assert_eq!((&said["operation"], &said["target"]), (&"tools/call".into(), &"refund".into()));
    }
    let read = simulate(r#"{"backend":"pay","resource":{"uri":"file:///a"},"roles":["x"]}"#, &[]);
    assert!(read.out.contains("\"resources/read\"") && read.out.contains("file:///a"), "{}", read.out);
    for (input, more, expected) in [
        ("{}", vec![], "`input` names nothing: it needs one of `tool`, `prompt` and `resource.uri`"),
        (
            r#"{"tool":"a","prompt":"b"}"#,
            vec![],
            "`input` names `tool` and `prompt`: one call has one of them",
        ),
        (
            r#"{"operation":"prompts/get","tool":"a"}"#,
            vec![],
            "`operation` is prompts/get, which is not about a `tool`",
        ),
        (call, vec!["--enforce", "cpa"], "there is no policy `cpa` in `regoPolicies`"),
        (call, vec!["--rego", "cap.rego"], "cap.rego:1:1: error: defines none of"),
    ] {
        let ran = simulate(input, &more);
        assert_eq!((ran.code == Some(0), &*ran.out), (false, ""), "{input} {more:?}");
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
}
