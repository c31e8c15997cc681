//! Skills (SEP-2640): instructions for models, served as files.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The extension of 2026-07-28.
pub const EXTENSION: &str = "io.modelcontextprotocol/skills";

struct Skill {
    name: &'static str,
    description: &'static str,
    body: &'static str,
    /// Beside `SKILL.md`: a path below the skill's folder, and what stands there.
    files: &'static [(&'static str, &'static str)],
}

const SKILLS: [Skill; 2] = [
    Skill {
        name: "greeting",
        description: "How to greet people",
        body: "Say hello. More words are in references/words.md.\n",
        files: &[("references/words.md", "Hello, hi, good morning.\n")],
    },
    Skill { name: "counting", description: "How to count", body: "One, two, three.\n", files: &[] },
];

/// A page of the list: one skill each, so that there are pages.
pub fn list(cursor: &Value) -> Option<Value> {
    let at = match cursor {
        Value::Null => 0,
        cursor => cursor.as_str()?.parse::<usize>().ok()?,
    };
    let mut page = json!({"skills": [SKILLS.get(at)?.entry()]});
    if at + 1 < SKILLS.len() {
        page["nextCursor"] = (at + 1).to_string().into();
    }
    Some(page)
}

/// The entry of the skill with this URI.
pub fn get(uri: &str) -> Option<Value> {
    SKILLS.iter().find(|skill| skill.manifest() == uri).map(|skill| json!({ "skill": skill.entry() }))
}

/// The direct children of a folder.
pub fn directory(uri: &str) -> Option<Value> {
    let (skill, folder) = below(uri)?;
    let mut children: Vec<Value> = Vec::new();
    for (path, text) in skill.texts() {
        let Some(rest) = path.strip_prefix(folder).and_then(|rest| within(folder, rest)) else { continue };
        let child = match rest.split_once('/') {
            Some((folder, _)) => {
                json!({"uri": format!("{uri}/{folder}"), "name": folder, "mimeType": "inode/directory"})
            }
            None => {
                json!({"uri": format!("{uri}/{rest}"), "name": rest, "mimeType": "text/markdown", "size": text.len()})
            }
        };
        if !children.contains(&child) {
            children.push(child);
        }
    }
    (!children.is_empty()).then(|| json!({ "resources": children }))
}

/// What stands in a file.
pub fn read(uri: &str) -> Option<String> {
    let (skill, path) = below(uri)?;
    skill.texts().into_iter().find(|(own, _)| own == path).map(|(_, text)| text)
}

/// The manifests, as resources.
pub fn resources() -> Vec<Value> {
    SKILLS
        .iter()
        .map(|skill| {
            json!({"uri": skill.manifest(), "name": skill.name, "description": skill.description, "mimeType": "text/markdown"})
        })
        .collect()
}

/// The skill that a URI belongs to, and the path below its folder.
fn below(uri: &str) -> Option<(&'static Skill, &str)> {
    let rest = uri.strip_prefix("skill://")?;
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((SKILLS.iter().find(|skill| skill.name == name)?, path))
}

/// What is left of a path below a folder.
fn within<'a>(folder: &str, rest: &'a str) -> Option<&'a str> {
    if folder.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

impl Skill {
    fn manifest(&self) -> String {
        format!("skill://{}/SKILL.md", self.name)
    }

    fn texts(&self) -> Vec<(String, String)> {
        let Self { name, description, body, files } = self;
        let manifest = format!("---\nname: {name}\ndescription: {description}\n---\n{body}");
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        std::iter::once(("SKILL.md".to_owned(), manifest)).chain(files).collect()
    }

    fn entry(&self) -> Value {
        let file = |(path, text): &(String, String)| {
            let hex: String =
                digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"uri": format!("skill://{}/{path}", self.name), "digest": format!("sha256:{hex}"), "size": text.len()})
        };
        json!({
            "uri": self.manifest(),
            "frontmatter": {"name": self.name, "description": self.description},
            "resources": self.texts().iter().map(file).collect::<Value>(),
        })
    }
}
