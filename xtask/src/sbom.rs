//! What is in the program: a CycloneDX 1.5 list of every crate that is built into it.
//!
//! Made of `cargo metadata` and the checksums of `Cargo.lock`. Crates that only tests or build
//! scripts need are not in the program and not in the list. The same sources give the same
//! list, byte for byte: it holds neither a time nor a random number.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::{Value, json};

/// The program's package.
const PROGRAM: &str = "doorward";

/// The list, of `cargo metadata` for one platform and the text of `Cargo.lock`.
pub fn cyclonedx(metadata: &Value, lock: &str) -> anyhow::Result<Value> {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<_, _> =
        array(&metadata["packages"]).into_iter().map(|package| (text(&package, "id"), package)).collect();
    let nodes: BTreeMap<_, _> = array(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| {
            let normal = |dep: &Value| array(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let needed = array(&node["deps"]).into_iter().filter(normal);
            (text(&node, "id"), needed.map(|dep| text(&dep, "pkg")).collect::<BTreeSet<_>>())
        })
        .collect();
    let program = packages.iter().find(|(_, package)| package["name"] == PROGRAM);
    let (program, about) = program.context("the workspace has the program")?;
    let (mut reached, mut to_visit) = (BTreeSet::new(), vec![program.clone()]);
    while let Some(id) = to_visit.pop() {
        if reached.insert(id.clone()) {
            to_visit.extend(nodes.get(&id).into_iter().flatten().cloned());
        }
    }
    let sums = checksums(lock);
    let reference = |id: &str| packages.get(id).map(purl).unwrap_or_default();
    let component = |id: &String| packages.get(id).map(|package| component(package, &sums));
    let mut components: Vec<_> = reached.iter().filter(|id| *id != program).filter_map(component).collect();
    components.sort_by_key(|component| text(component, "bom-ref"));
    let mut dependencies: Vec<_> = reached
        .iter()
        .map(|id| {
            let mut on: Vec<_> = nodes.get(id).into_iter().flatten().map(|id| reference(id)).collect();
            on.sort();
            json!({"ref": reference(id), "dependsOn": on})
        })
        .collect();
    dependencies.sort_by_key(|dependency| text(dependency, "ref"));
    let mut itself = component_of(about);
    itself["type"] = json!("application");
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": itself},
        "components": components, "dependencies": dependencies,
    }))
}

fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn component_of(package: &Value) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": purl(package), "purl": purl(package),
        "name": package["name"], "version": package["version"],
    });
    if let Some(license) = package["license"].as_str() {
        // Before there were expressions, a slash stood for a choice.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    component
}

fn component(package: &Value, sums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut component = component_of(package);
    if let Some(sum) = sums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

/// Checksums by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let entry = |section: &str| {
        let value = |key: &str| {
            let line = section.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
            line.strip_suffix('"').map(str::to_owned)
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    };
    lock.split("[[package]]").filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_listed_and_what_only_tests_need_is_not() {
        let package = |name: &str, license: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": license});
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [
                package("doorward", "MIT"), package("a", "MIT/Apache-2.0"), package("b", "MIT"), package("t", "MIT"), package("x", "MIT"),
            ],
            "resolve": {"nodes": [
                {"id": "doorward", "deps": [needs("a", Value::Null), needs("t", json!("dev")), needs("x", json!("build"))]},
                {"id": "a", "deps": [needs("b", Value::Null)]},
                {"id": "b", "deps": []}, {"id": "t", "deps": []}, {"id": "x", "deps": []},
            ]},
        });
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n";
        let list = cyclonedx(&metadata, lock).expect("a list");
        let names: Vec<_> =
            list["components"].as_array().expect("an array").iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(list["metadata"]["component"]["type"], "application");
        assert_eq!(list["components"][0]["hashes"][0]["content"], "00ff");
        assert_eq!(list["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        let on_a = json!({"ref": "pkg:cargo/a@1.0.0", "dependsOn": ["pkg:cargo/b@1.0.0"]});
        assert_eq!(list["dependencies"][0], on_a);
        assert_eq!(list["dependencies"].as_array().map(Vec::len), Some(3));
    }
}
