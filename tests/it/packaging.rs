//! What packages are made of: the unit, the manual, the root of an image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{doorward, program};

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lie in the project")
        .join("packaging")
        .join(name)
}

/// Runs a program; `None` where there is none of that name.
fn ran(command: &mut Command) -> Option<(bool, String)> {
    let output = command.output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn the_unit_is_one_that_systemd_understands_and_leaves_little_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = folder.path().join("doorward.service");
    let text = fs::read_to_string(packaging("doorward.service")).expect("the unit");
    let here = program().display().to_string();
    fs::write(&unit, text.replace("/usr/bin/doorward", &here)).expect("written");
    let Some((understood, said)) = ran(Command::new("systemd-analyze").arg("verify").arg(&unit)) else {
        return;
    };
    assert!(understood && said.is_empty(), "{said}");
    let judged = ran(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15"])
        .arg(&unit));
    let (is_tight, said) = judged.expect("it is there");
    assert!(is_tight, "an exposure above 1.5: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_a_manual_page_with_its_examples() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    let ran = doorward(Path::new("/nowhere"), &["manual", pages.to_str().expect("a path")]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let page =
        |name: &str| fs::read_to_string(pages.join(name)).unwrap_or_else(|_| panic!("{name} is missing"));
    assert!(page("doorward.1").starts_with(".ie"), "roff");
    for name in ["doctor", "selftest", "explain", "serve", "debug-trace", "debug-level", "audit-log"] {
        assert!(page(&format!("doorward-{name}.1")).contains("Examples:"), "{name}");
    }
    let all: Vec<_> =
        fs::read_dir(&pages).expect("pages").filter_map(Result::ok).map(|it| it.file_name()).collect();
    let hidden = |name: &&std::ffi::OsString| name.to_string_lossy().contains("trial-compile");
    assert_eq!(all.iter().find(hidden), None, "what is hidden has no page");
}

#[test]
#[cfg(target_os = "linux")]
fn the_root_of_an_image_holds_the_program_and_what_it_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    let mut gather = Command::new("sh");
    gather.arg(packaging("image-root.sh")).arg(program()).arg(&root);
    let (gathered, said) = ran(&mut gather).expect("a shell");
    assert!(gathered, "{said}");
    let (_, needs) = ran(Command::new("ldd").arg(program())).expect("ldd");
    let needed = needs.split_whitespace().filter(|word| word.starts_with('/') && word.contains(".so"));
    let mut count = 0;
    for library in needed {
        assert!(root.join(&library[1..]).is_file(), "{library} is missing");
        count += 1;
    }
    assert!(count > 1, "{needs}");
    for file in
        ["usr/bin/doorward", "usr/bin/mcp-gateway", "etc/ssl/certs/ca-certificates.crt", "etc/nsswitch.conf"]
    {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    assert!(!root.join("bin/sh").exists(), "no shell");
}
