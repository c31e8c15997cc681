//! `audit prove` and `verify`: one decision, shown to somebody who has a public key and
//! nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_verify::verify;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{ALICE, BOB, Ran, World, doorward, program};

const RULES: &str = r#"
audit: {capture: full}
rateLimit: {enabled: false}
limits:
  - {name: once, kind: rate, key: consumer, tool: get_issue, max: 1, per: minute, burst: 1}
policies:
  - id: staff
    name: Staff
    roles: [staff]
    rules:
      - {tool: delete_repository, action: deny}
      - {tool: create_refund, action: allow, conditions: [{param: amount, operator: lte, value: 100}]}
      - {tool: leak, action: hide}
      - {action: allow}
regoPolicies:
  - name: lines
    source: |
      package lines
      deny contains "a line is above 100" if { some line in input.arguments.lines; line.amount > 100 }
  - name: trial
    mode: shadow
    source: |
      package trial
      deny contains "not in the trial" if input.arguments.amount > 50
"#;

/// The folder of a gateway that has made calls and stopped.
struct Past {
    folder: TempDir,
}

impl Past {
    async fn of(rules: &str) -> Self {
        let world = World::start(&["github"], rules).await;
        world.recorders[0].offer_only(&["echo", "get_issue", "delete_repository", "create_refund", "leak"]);
        let (alice, bob) = (world.modern("/mcp", ALICE), world.modern("/mcp", BOB));
        for (tool, arguments) in [
            ("echo", json!({"text": "ünïcode \"quoted\"", "n": 1.5})),
            ("delete_repository", json!({})),
            ("create_refund", json!({"amount": 100})),
            ("create_refund", json!({"amount": 1, "lines": [{"amount": 101}]})),
            ("leak", json!({})),
            ("nothing", json!({})),
            ("get_issue", json!({})),
            ("get_issue", json!({})),
        ] {
            alice.call(&format!("github__{tool}"), arguments).await;
        }
        bob.call("github__echo", json!({})).await;
        let World { folder, running, .. } = world;
        running.stop().await;
        Self { folder }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("data/audit/ledger.pub")
    }

    /// Every call: what was decided, by what, and its id.
    async fn calls(&self) -> Vec<(String, String)> {
        let ran = doorward(&self.config(), &["audit", "log", "--json", "--limit", "100"]).await;
        let rows: Vec<Value> = serde_json::from_str(&ran.out).expect("rows");
        let text = |row: &Value, key: &str| row[key].as_str().expect(key).to_owned();
        let entries = crate::world::entries(self.folder.path());
        let layer = |id: &str| {
            let entry = entries.iter().find(|entry| entry["call"] == id && entry["kind"] == "decision");
            text(entry.expect("a decision"), "layer")
        };
        let call = |row: &Value| {
            let id = text(row, "id");
            (format!("{} {} {}", text(row, "tool"), text(row, "verdict"), layer(&id)), id)
        };
        rows.iter().rev().map(call).collect()
    }

    async fn prove(&self, call: &str, more: &[&str]) -> (PathBuf, Ran) {
        let path = self.folder.path().join(format!("{call}.json"));
        let output = path.display().to_string();
        let ran =
            doorward(&self.config(), &[&["audit", "prove", call, "--output", &output], more].concat()).await;
        (path, ran)
    }
}

/// Runs `verify` where there is neither a configuration nor a log.
async fn verified(proof: &Path, key: &str, more: &[&str]) -> (Option<i32>, Value) {
    let nowhere = tempfile::tempdir().expect("a folder");
    let run = tokio::process::Command::new(program())
        .current_dir(nowhere.path())
        .env_clear()
        .arg("verify")
        .arg(proof)
        .args(["--key", key, "--json"])
        .args(more)
        .output();
    let output = run.await.expect("it runs");
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        json!(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    });
    assert_eq!(fs::read_dir(nowhere.path()).expect("a folder").count(), 0, "it leaves nothing");
    (output.status.code(), said)
}

/// What `verify` prints for people.
async fn shown(proof: &Path, key: &str) -> String {
    let run = tokio::process::Command::new(program()).arg("verify").arg(proof).args(["--key", key]).output();
    String::from_utf8(run.await.expect("it runs").stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_decision_is_proven_with_a_public_key_alone() {
    let past = Past::of(RULES).await;
    let key = fs::read_to_string(past.key()).expect("a key");
    let mut reached = BTreeMap::new();
    for (kind, call) in past.calls().await {
        let (proof, ran) = past.prove(&call, &[]).await;
        assert_eq!((ran.code, &*ran.out, &*ran.err), (Some(0), "", ""), "{kind}");
        let (code, said) = verified(&proof, key.trim(), &[]).await;
        assert_eq!((code, &said["valid"]), (Some(0), &json!(true)), "{kind}: {said}");
        assert_eq!(said["repeated"], true, "{kind}: {said}");
        assert_eq!(said["decision"]["call"], *call, "{kind}");
        let end = said["outcome"]["outcome"].as_str().or(said["decision"]["outcome"].as_str());
        let end = format!("{} {}", said["reached"].as_str().expect("a word"), end.expect("it has ended"));
        reached.entry(kind).or_insert_with(Vec::new).push(end);
        // Nobody else may read what was asked.
        let mode = std::os::unix::fs::PermissionsExt::mode(&proof.metadata().expect("a file").permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let expected = [
        ("create_refund allow rules", vec!["reproduced success"]),
        ("create_refund deny policy", vec!["reproduced denied"]),
        ("delete_repository deny rules", vec!["reproduced denied"]),
        ("echo allow rules", vec!["reproduced success"]),
        ("echo deny rules", vec!["reproduced denied"]),
        ("get_issue allow rules", vec!["reproduced success"]),
        ("get_issue deny limit", vec!["allowed-by-policy rate_limited"]),
        ("leak hide rules", vec!["reproduced denied"]),
        ("nothing hide exposure", vec!["allowed-by-policy denied"]),
    ];
    let words = |(kind, ends): (&str, Vec<&str>)| {
        (kind.to_owned(), ends.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(reached, expected.into_iter().map(words).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_outlives_its_policies_and_knows_its_log() {
    let anchored = RULES.replace("{capture: full}", "{capture: full, anchors: [./elsewhere]}");
    let past = Past::of(&anchored).await;
    let (_, call) = past.calls().await.remove(3);
    // The policies of today are others.
    let text = fs::read_to_string(past.config()).expect("text");
    fs::write(past.config(), text.replace("above 100", "too high")).expect("written");
    let (proof, _) = past.prove(&call, &[]).await;
    let key = past.key().display().to_string();
    let anchor = past.folder.path().join("elsewhere").display().to_string();
    let (code, said) = verified(&proof, &key, &["--anchor", &anchor]).await;
    assert_eq!(
        (code, &said["reached"], &said["anchored"]),
        (Some(0), &json!("reproduced"), &json!(true)),
        "{said}"
    );
    assert_eq!(said["decision"]["reasons"], json!(["a line is above 100"]));

    let other = Past::of(RULES).await;
    let (code, said) = verified(&proof, &other.key().display().to_string(), &[]).await;
    assert_eq!((code, &said["field"]), (Some(1), &json!("checkpoint")), "{said}");
    let checkpoints = other.folder.path().join("data/audit/checkpoints").display().to_string();
    let (code, said) = verified(&proof, &key, &["--anchor", &checkpoints]).await;
    assert_eq!((code, &said["field"]), (Some(1), &json!("checkpoint")), "{said}");
    let (code, said) = verified(&proof, "/no/such/key", &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.as_str().is_some_and(|said| said.contains("ledger.pub")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_kept_or_is_withheld_is_said_to_be_missing() {
    let past = Past::of(RULES).await;
    let key = past.key().display().to_string();
    let (_, call) = past.calls().await.remove(0);
    for (more, expected) in [(&["--without-input"], "no-input"), (&["--without-policies"], "no-policies")] {
        let (proof, ran) = past.prove(&call, more).await;
        assert_eq!((ran.code, &*ran.err), (Some(0), ""));
        let (code, said) = verified(&proof, &key, &[]).await;
        assert_eq!((code, &said["reached"]), (Some(4), &json!(expected)), "{said}");
        assert_eq!((&said["valid"], &said["repeated"]), (&json!(true), &json!(false)), "{said}");
        let shown = shown(&proof, &key).await;
        assert!(shown.starts_with("⚠️ Intact, but the verdict was NOT repeated"), "{shown}");
        let parts: Value = serde_json::from_slice(&fs::read(&proof).expect("a proof")).expect("JSON");
        assert_eq!(parts["input"].is_null(), expected == "no-input");
        assert_eq!(parts["policies"].is_null(), expected == "no-policies");
    }
    let past = Past::of(&RULES.replace("capture: full", "capture: preview")).await;
    let (_, call) = past.calls().await.remove(0);
    let (proof, ran) = past.prove(&call, &[]).await;
    assert!(ran.code == Some(0) && ran.err.contains("`audit.capture: full` keeps it"), "{ran:?}");
    let (code, said) = verified(&proof, &past.key().display().to_string(), &[]).await;
    assert_eq!((code, &said["reached"]), (Some(4), &json!("no-input")), "{said}");
    assert!(!past.folder.path().join("data/audit/payloads").exists());

    let unknown = past.prove("019a2b3c-4d5e-7f60-8123-456789abcdef", &[]).await.1;
    assert!(unknown.code == Some(1) && unknown.err.contains("the log has no call"), "{unknown:?}");
    assert_eq!(past.prove("yesterday", &[]).await.1.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_altered_byte_of_a_proof_is_found_and_its_part_named() {
    let past = Past::of(RULES).await;
    let (_, call) = past.calls().await.remove(0);
    let (path, _) = past.prove(&call, &[]).await;
    let (proof, key) = (fs::read(path).expect("a proof"), fs::read_to_string(past.key()).expect("a key"));
    let trial = |_: &_| Ok(());
    assert!(verify(&proof, &key, &trial).is_ok());
    let parts = parts(&proof);
    let mut blamed = 0;
    for at in 0..proof.len() {
        for bit in 0..8 {
            let mut altered = proof.clone();
            altered[at] ^= 1 << bit;
            let flaw = verify(&altered, &key, &trial).expect_err(&format!("byte {at}, bit {bit}"));
            // The names of the parts, and what stands between them, belong to none.
            if let Some((part, _)) = parts.iter().find(|(_, range)| range.contains(&at)) {
                let field = flaw.field.split('.').next().expect("a name");
                assert_eq!(field, part, "byte {at}, bit {bit}: {flaw}");
                blamed += 1;
            }
        }
    }
    assert!(blamed > proof.len() * 7, "{blamed} of {}", proof.len() * 8);
    for cut in [0, 1, proof.len() / 2, proof.len() - 1] {
        assert!(verify(&proof[..cut], &key, &trial).is_err(), "cut at {cut}");
    }
    let text = String::from_utf8(proof).expect("text");
    let mut parts: Value = serde_json::from_str(&text).expect("JSON");
    let note = parts["checkpoint"].as_str().expect("a note").to_owned();
    for behind in ["more\n", "\n", "— other AAAA\n"] {
        parts["checkpoint"] = json!(format!("{note}{behind}"));
        let flaw = verify(format!("{parts}\n").as_bytes(), &key, &trial).expect_err("one spelling");
        assert_eq!(flaw.field, "checkpoint", "{behind:?}: {flaw}");
    }
    let (name, rest) = key.trim().split_once('+').expect("a name");
    let (_, public) = rest.split_once('+').expect("a hash");
    let wrong =
        verify(text.as_bytes(), &format!("{name}+00000000+{public}"), &trial).expect_err("another hash");
    assert_eq!(wrong.field, "key");
    for spelled in
        [text.replacen("{\"checkpoint\"", "{ \"checkpoint\"", 1), format!("{text}\n"), format!(" {text}")]
    {
        assert!(verify(spelled.as_bytes(), &key, &trial).is_err(), "one spelling");
    }
}

/// The outermost members of a proof, and where their values stand.
fn parts(proof: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(proof).expect("JSON");
    let start = |value: &RawValue| value.get().as_ptr() as usize - proof.as_ptr() as usize;
    members.into_iter().map(|(name, value)| (name, start(value)..start(value) + value.get().len())).collect()
}

/// What `docs/reference/proof.md` says, read once more by a program that shares no code with
/// the one that wrote the proof.
#[tokio::test(flavor = "multi_thread")]
async fn another_program_reads_a_proof_by_its_description() {
    let past = Past::of(RULES).await;
    let key = fs::read_to_string(past.key()).expect("a key");
    for (kind, call) in past.calls().await {
        let proof = fs::read(past.prove(&call, &[]).await.0).expect("a proof");
        let parts: BTreeMap<String, &RawValue> = serde_json::from_slice(&proof).expect("JSON");
        let note: String = serde_json::from_str(parts["checkpoint"].get()).expect("text");
        let (size, root) = signed(&note, key.trim());
        for name in ["decision", "outcome"] {
            let Some(part) = parts.get(name) else { continue };
            let part: BTreeMap<String, &RawValue> = serde_json::from_str(part.get()).expect("JSON");
            let entry: Value = serde_json::from_str(part["entry"].get()).expect("JSON");
            let path: Vec<String> = serde_json::from_str(part["path"].get()).expect("hashes");
            let path: Vec<_> = path.iter().map(|hash| STANDARD.decode(hash).expect("base64")).collect();
            let leaf = sha256(&[&[0], part["entry"].get().as_bytes()]);
            let index = entry["_seq"].as_u64().expect("a number");
            assert_eq!(climb(leaf, index, size, &path), root, "{kind}: {name}");
            if name == "decision" {
                for (digested, member) in [("policies", "bundle"), ("input", "input")] {
                    if let Some(part) = parts.get(digested) {
                        let hash = sha256(&[part.get().as_bytes()]);
                        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                        assert_eq!(entry[member], format!("sha256:{hex}"), "{kind}: {digested}");
                    }
                }
            }
        }
    }
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    digest(&SHA256, &parts.concat()).as_ref().to_vec()
}

/// The size and the root that a signed note vouches for.
fn signed(note: &str, key: &str) -> (u64, Vec<u8>) {
    let (name, key) = key.split_once('+').expect("a name");
    let key = STANDARD.decode(key.split_once('+').expect("a hash").1).expect("base64");
    let (body, signature) = note.split_once("\n\n").expect("a signature");
    let signature = signature.trim_end().strip_prefix(&format!("— {name} ")).expect("its name");
    let signature = STANDARD.decode(signature).expect("base64");
    let body = format!("{body}\n");
    UnparsedPublicKey::new(&ED25519, &key[1..]).verify(body.as_bytes(), &signature[4..]).expect("signed");
    let lines: Vec<_> = body.lines().collect();
    (lines[1].parse().expect("a number"), STANDARD.decode(lines[2]).expect("base64"))
}

/// From a leaf to the root, from above: the subtree it is in, and the last of the path beside it.
fn climb(leaf: Vec<u8>, index: u64, size: u64, path: &[Vec<u8>]) -> Vec<u8> {
    let Some((sibling, rest)) = path.split_last() else { return leaf };
    let half = size.next_power_of_two() / 2;
    if index < half {
        sha256(&[&[1], &climb(leaf, index, half, rest), sibling])
    } else {
        sha256(&[&[1], sibling, &climb(leaf, index - half, size - half, rest)])
    }
}
