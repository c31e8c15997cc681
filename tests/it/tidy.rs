//! The house rules that Cargo cannot keep: who may import whom, and which crates
//! from outside may be used where (ARCHITECTURE.md, "Who may import whom").

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const QUESTIONS: [&str; 9] =
    ["identity", "registry", "policy", "guard", "approval", "limit", "vault", "upstream", "ledger"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the project").to_path_buf()
}

/// What `crates/<name>/Cargo.toml` depends on, outside tests.
fn dependencies(name: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("TOML");
    let table = manifest.get("dependencies").and_then(|value| value.as_table()).cloned().unwrap_or_default();
    table.keys().cloned().collect()
}

fn crates() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root().join("crates"))
        .expect("crates/")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| root().join("crates").join(name).join("Cargo.toml").exists())
        .collect();
    names.sort();
    names
}

/// Which of ours each crate may import.
fn allowed(name: &str) -> Vec<&'static str> {
    match name {
        "model" => vec![],
        "wire" | "egress" => vec!["model"],
        "upstream" => vec!["model", "egress", "wire"],
        "gateway" | "admin" => [&["model", "wire", "egress"][..], &QUESTIONS].concat(),
        "verify" => vec!["model", "ledger", "policy"],
        "store" => vec!["model"],
        "doorward" => {
            [&["model", "wire", "egress", "gateway", "admin", "store", "verify"][..], &QUESTIONS].concat()
        }
        question if QUESTIONS.contains(&question) => vec!["model", "egress"],
        other => panic!("crates/{other} has no place in the architecture yet: give it one here and there"),
    }
}

#[test]
fn every_arrow_points_the_right_way() {
    let mut wrong = Vec::new();
    for name in crates() {
        let may = allowed(&name);
        for dependency in dependencies(&name) {
            let ours = dependency.strip_prefix("doorward-");
            if let Some(ours) = ours
                && !may.contains(&ours)
            {
                wrong.push(format!("{name} imports {ours}"));
            }
            if dependency == "doorward" {
                wrong.push(format!("{name} imports the binary"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn outside_crates_stay_behind_their_fences() {
    let fences: [(&str, &[&str]); 13] = [
        ("rusqlite", &["store", "ledger"]),
        ("tokio-postgres", &["store"]),
        ("redis", &["store"]),
        ("regorus", &["policy"]),
        ("jsonwebtoken", &["identity"]),
        ("hyper", &["gateway", "admin", "egress"]),
        ("hyper-util", &["gateway", "admin", "egress"]),
        ("reqwest", &[]),
        ("ureq", &[]),
        ("anyhow", &["doorward"]),
        ("opentelemetry-proto", &["doorward"]),
        ("prost", &["doorward"]),
        ("tokio-rustls", &["egress", "gateway", "doorward"]),
    ];
    let mut wrong = Vec::new();
    for name in crates() {
        let has = dependencies(&name);
        for (fenced, places) in fences {
            if has.contains(fenced) && !places.contains(&name.as_str()) {
                wrong.push(format!("{name} uses {fenced}, which belongs in {places:?}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_crate_keeps_the_workspace_lints_and_versions() {
    let mut wrong = Vec::new();
    for name in crates() {
        let text =
            fs::read_to_string(root().join("crates").join(&name).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        if manifest.get("lints").and_then(|lints| lints.get("workspace")) != Some(&toml::Value::Boolean(true))
        {
            wrong.push(format!("{name}: [lints] workspace = true is missing"));
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(|value| value.as_table()) else { continue };
            for (dependency, value) in table {
                if value.get("workspace") != Some(&toml::Value::Boolean(true)) {
                    wrong.push(format!("{name}: {dependency} declares its own version"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_source_file_says_what_it_is_about() {
    let mut silent = Vec::new();
    let mut folders = vec![
        root().join("crates"),
        root().join("xtask"),
        root().join("tests/it"),
        root().join("tests/everything"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                if !text.starts_with("//!") && !text.starts_with("#!") {
                    silent.push(path.display().to_string());
                }
            }
        }
    }
    assert_eq!(silent, Vec::<String>::new(), "a file opens by saying what it does");
}
