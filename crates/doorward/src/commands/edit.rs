//! Editing a configuration file without touching what is not meant.
//!
//! An edit changes the text at one place, so comments, order and spelling stay. Then
//! the new text is read again and must say exactly what the old one said, plus the
//! change; otherwise nothing is written. The file is replaced in one step.

use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use doorward_identity::StoredKey;
use doorward_model::Timestamp;
use doorward_model::json::quoted;
use tempfile::NamedTempFile;

use crate::config::tree::{Key, Mark, Node, Value};
use crate::config::{json, parse};

/// A configuration file while it is edited.
pub struct Document {
    path: PathBuf,
    original: String,
    text: String,
}

/// A key to be added.
pub struct NewKey {
    /// Names and values in order, each value as one line of JSON.
    pub fields: Vec<(&'static str, String)>,
}

impl Document {
    /// Reads a configuration file. Links are followed, so that saving does not replace them.
    ///
    /// # Errors
    /// If it cannot be read, or is no document.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let path = path.canonicalize().with_context(|| format!("Config not found: {}", path.display()))?;
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let document = Self { path, original: text.clone(), text };
        document.tree()?;
        Ok(document)
    }

    /// Whether there is a key with this id.
    pub fn has_key(&self, id: &str) -> bool {
        self.tree().is_ok_and(|root| keys(&root).iter().any(|key| is_named(key, id)))
    }

    /// Adds a key behind the others.
    ///
    /// # Errors
    /// If the file is written in a way that this cannot be done safely.
    pub fn add_key(&mut self, key: &NewKey) -> anyhow::Result<()> {
        let before = self.tree()?;
        self.insert(&before, key)?;
        let expected = json::parse(&key.as_json()).map_err(|malformed| anyhow::anyhow!(malformed.problem))?;
        let proven = self.tree().is_ok_and(|after| {
            let (rest_before, keys_before) = without_keys(before);
            let (rest_after, mut keys_after) = without_keys(after);
            keys_after.pop() == Some(expected) && keys_before == keys_after && rest_before == rest_after
        });
        ensure!(
            proven,
            "{} is written in a way that a key cannot be added safely; add it by hand",
            self.path.display()
        );
        Ok(())
    }

    /// Switches off the key with this id, and notes when and by whom, where that is known. A key
    /// that is off already is left as it is.
    ///
    /// # Errors
    /// If there is none, or the file is written in a way that this cannot be done safely.
    pub fn revoke_key(&mut self, id: &str, at: Timestamp, by: Option<&str>) -> anyhow::Result<()> {
        let root = self.tree()?;
        let Some(key) = keys(&root).iter().find(|key| is_named(key, id)) else {
            bail!("there is no key `{id}`");
        };
        // A key that does not say it is enabled is not.
        if key.get("enabled").is_none_or(|enabled| enabled.text() == Some("false")) {
            return Ok(());
        }
        if let Some(by) = by {
            self.amend_key(id, "revokedBy", &quoted(by), "enabled")?;
        }
        self.amend_key(id, "revokedAt", &quoted(&at.to_string()), "enabled")?;
        self.amend_key(id, "enabled", "false", "enabled")
    }

    /// Gives the key with this id another text. The one before it opens the gateway until
    /// `until`, if that is given.
    ///
    /// # Errors
    /// As [`revoke_key`](Self::revoke_key).
    pub fn rotate_key(
        &mut self,
        id: &str,
        stored: &str,
        prefix: &str,
        until: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        let root = self.tree()?;
        let key = keys(&root).iter().find(|key| is_named(key, id));
        let Some(before) = key.and_then(|key| key.get("key")?.text()) else {
            bail!("there is no key `{id}`");
        };
        // Never the key itself, should it stand there in the clear.
        let before = StoredKey::parse(before)?.to_string();
        let has_previous = key.is_some_and(|key| key.get("previousKey").is_some());
        self.amend_key(id, "prefix", &quoted(prefix), "key")?;
        match until {
            Some(until) => {
                self.amend_key(id, "previousUntil", &quoted(&until.to_string()), "key")?;
                self.amend_key(id, "previousKey", &quoted(&before), "key")?;
            }
            // What was good for a while by the last renewal is not good any longer.
            None if has_previous => {
                self.amend_key(id, "previousUntil", &quoted(&Timestamp::default().to_string()), "key")?;
            }
            None => {}
        }
        self.amend_key(id, "key", &quoted(stored), "key")
    }

    /// Sets one member of a key. A new one is put behind the member `behind`.
    fn amend_key(&mut self, id: &str, name: &str, value: &str, behind: &str) -> anyhow::Result<()> {
        let mut expected = self.tree()?;
        let fresh = json::parse(value).map_err(|malformed| anyhow::anyhow!(malformed.problem))?;
        let Some(key) = keys_mut(&mut expected).iter_mut().find(|key| is_named(key, id)) else {
            bail!("there is no key `{id}`");
        };
        let is_bracketed = self.is_bracketed(key);
        let Value::Map(entries) = &mut key.value else { bail!("the key `{id}` is no map") };
        let position = |name: &str| entries.iter().position(|(key, _)| key.text == name);
        let column = entries.first().map_or(0, |(key, _)| key.mark.column - 1);
        match (position(name), position(behind)) {
            (Some(at), _) => {
                let place = entries[at].1.mark.offset..entries[at].1.end;
                entries[at].1.value = fresh.value;
                self.replace(place, value)?;
            }
            (None, _) if is_bracketed => {
                let end = entries.last().map(|(_, last)| self::behind(last));
                let end = end.context("a key has an id")?;
                entries.push((Key { text: name.to_owned(), mark: Mark::default() }, fresh));
                self.replace(end..end, &format!(", \"{name}\": {value}"))?;
            }
            (None, after) => {
                let after = after.unwrap_or(0);
                let line = self.line_end(entries[after].1.end);
                entries.insert(after + 1, (Key { text: name.to_owned(), mark: Mark::default() }, fresh));
                let text = format!("{}{name}: {value}", " ".repeat(column));
                self.add_lines(line, std::iter::once(text))?;
            }
        }
        ensure!(
            self.tree().is_ok_and(|after| after == expected),
            "{} is written in a way that `{id}` cannot be changed safely; change it by hand",
            self.path.display()
        );
        Ok(())
    }

    /// The file as it is on disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A gateway that runs as somebody else could not read a file of ours.
    fn keep_owner(&self, file: &std::fs::File) -> anyhow::Result<()> {
        let before = std::fs::metadata(&self.path)?;
        let (user, group) = (before.uid(), before.gid());
        fchown(file, Some(user), Some(group)).with_context(|| {
            format!(
                "{} belongs to user {user} and group {group}, which cannot be kept; run this as that user, or as root",
                self.path.display()
            )
        })
    }

    /// Replaces the file in one step, unless somebody else changed it meanwhile.
    ///
    /// # Errors
    /// If it changed, or cannot be written.
    pub fn save(&self) -> anyhow::Result<()> {
        let cannot = || format!("{} cannot be written", self.path.display());
        let current = std::fs::read_to_string(&self.path).with_context(cannot)?;
        ensure!(current == self.original, "{} was changed by somebody else; try again", self.path.display());
        let mut file =
            NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new(""))).with_context(cannot)?;
        file.write_all(self.text.as_bytes()).with_context(cannot)?;
        self.keep_owner(file.as_file())?;
        file.as_file().set_permissions(std::fs::metadata(&self.path)?.permissions()).with_context(cannot)?;
        file.as_file().sync_all().with_context(cannot)?;
        file.persist(&self.path).with_context(cannot)?;
        Ok(())
    }

    fn tree(&self) -> anyhow::Result<Node> {
        parse(&self.path, &self.text).map_err(|malformed| {
            let mark = malformed.mark;
            anyhow::anyhow!(
                "{}:{}:{}: error: {}",
                self.path.display(),
                mark.line,
                mark.column,
                malformed.problem
            )
        })
    }

    fn insert(&mut self, root: &Node, key: &NewKey) -> anyhow::Result<()> {
        let Some(auth) = root.get("auth") else {
            if self.is_bracketed(root) {
                return self.add_member(root, &format!("\"auth\": {{\"keys\": [{}]}}", key.as_json()));
            }
            let text = ["auth:", "  keys:"].map(str::to_owned).into_iter().chain(key.as_lines(4));
            return self.add_lines(self.text.len(), text);
        };
        if auth.is_null() {
            let text = std::iter::once("  keys:".to_owned()).chain(key.as_lines(4));
            return self.add_lines(self.line_end(self.key_offset(root, "auth")), text);
        }
        if self.is_bracketed(auth) && auth.get("keys").is_none() {
            return self.add_member(auth, &format!("\"keys\": [{}]", key.as_json()));
        }
        let indent = auth_indent(auth);
        match auth.get("keys") {
            None => {
                let text =
                    std::iter::once(format!("{}keys:", " ".repeat(indent))).chain(key.as_lines(indent + 2));
                self.add_lines(self.line_start(auth.mark.offset), text)
            }
            Some(keys) if keys.is_null() => {
                self.add_lines(self.line_end(self.key_offset(auth, "keys")), key.as_lines(indent + 2))
            }
            Some(keys) if !self.is_bracketed(keys) => self.add_block_item(keys, key),
            Some(keys) if keys.items().is_empty() && !self.is_bracketed(auth) => {
                let end = self.line_end(keys.end);
                self.add_lines(end, key.as_lines(indent + 2))?;
                self.replace(keys.mark.offset..keys.end + 1, "")
            }
            Some(keys) => self.add_bracketed_item(keys, key),
        }
    }

    /// Behind the last element of a list with dashes, and behind the comments that are
    /// indented like a part of it.
    fn add_block_item(&mut self, keys: &Node, key: &NewKey) -> anyhow::Result<()> {
        let last = keys.items().last().context("a list with dashes has elements")?;
        let before = self.text.get(..last.mark.offset).unwrap_or_default();
        let dash = before.rfind('-').context("an element starts with a dash")?;
        let column = dash - self.line_start(dash);
        let mut end = self.line_end(last.mark.offset);
        for line in self.text[end..].split_inclusive('\n') {
            let content = line.trim_start_matches(' ');
            let is_blank = content.trim().is_empty();
            if !is_blank && line.len() - content.len() <= column {
                break;
            }
            if !is_blank {
                end = line.as_ptr() as usize - self.text.as_ptr() as usize + line.len();
            }
        }
        self.add_lines(end, key.as_lines(column))
    }

    fn add_bracketed_item(&mut self, keys: &Node, key: &NewKey) -> anyhow::Result<()> {
        let Some(last) = keys.items().last() else { return self.replace(keys.end..keys.end, &key.as_json()) };
        let before = self.text.get(self.line_start(last.mark.offset)..last.mark.offset).unwrap_or("?");
        let gap =
            if before.trim().is_empty() { format!("{}{before}", self.newline()) } else { " ".to_owned() };
        let end = behind(last);
        self.replace(end..end, &format!(",{gap}{}", key.as_json()))
    }

    fn add_member(&mut self, map: &Node, member: &str) -> anyhow::Result<()> {
        let Value::Map(entries) = &map.value else { bail!("a map is needed here") };
        match entries.last() {
            Some((_, last)) => {
                let end = behind(last);
                self.replace(end..end, &format!(", {member}"))
            }
            None => self.replace(map.end..map.end, member),
        }
    }

    fn add_lines(&mut self, at: usize, lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let newline = self.newline();
        let mut text = String::new();
        if self.text.get(..at).is_some_and(|before| !before.is_empty() && !before.ends_with('\n')) {
            text.push_str(newline);
        }
        for line in lines {
            text.push_str(&line);
            text.push_str(newline);
        }
        self.replace(at..at, &text)
    }

    fn replace(&mut self, place: Range<usize>, by: &str) -> anyhow::Result<()> {
        // Places come from a parser: wrong ones must end in words, not in a panic.
        ensure!(self.text.get(place.clone()).is_some(), "the place to edit cannot be found");
        self.text.replace_range(place, by);
        Ok(())
    }

    fn is_bracketed(&self, node: &Node) -> bool {
        matches!(self.text.as_bytes().get(node.mark.offset), Some(b'[' | b'{'))
    }

    fn key_offset(&self, map: &Node, name: &str) -> usize {
        let Value::Map(entries) = &map.value else { return self.text.len() };
        let key = entries.iter().find(|(key, _)| key.text == name);
        key.map_or(self.text.len(), |(key, _)| key.mark.offset)
    }

    fn line_start(&self, offset: usize) -> usize {
        self.text.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1)
    }

    /// Behind the line break.
    fn line_end(&self, offset: usize) -> usize {
        let after = self.text.get(offset..).unwrap_or_default();
        after.find('\n').map_or(self.text.len(), |at| offset + at + 1)
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

impl NewKey {
    fn as_json(&self) -> String {
        let fields = self.fields.iter().map(|(name, value)| format!("\"{name}\": {value}"));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
    }

    fn as_lines(&self, indent: usize) -> impl Iterator<Item = String> {
        self.fields.iter().enumerate().map(move |(index, (name, value))| {
            let dash = if index == 0 { "- " } else { "  " };
            format!("{}{dash}{name}: {value}", " ".repeat(indent))
        })
    }
}

fn auth_indent(auth: &Node) -> usize {
    match &auth.value {
        Value::Map(entries) => entries.first().map_or(2, |(key, _)| key.mark.column - 1),
        _ => 2,
    }
}

/// Where `node` ends, closing bracket included.
fn behind(node: &Node) -> usize {
    match node.value {
        Value::Scalar(_) => node.end,
        Value::List(_) | Value::Map(_) => node.end + 1,
    }
}

fn keys(root: &Node) -> &[Node] {
    root.get("auth").and_then(|auth| auth.get("keys")).map_or(&[], Node::items)
}

fn keys_mut(root: &mut Node) -> &mut [Node] {
    match member_mut(root, "auth").and_then(|auth| member_mut(auth, "keys")) {
        Some(Node { value: Value::List(keys), .. }) => keys,
        _ => &mut [],
    }
}

fn member_mut<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|(key, _)| key.text == name).map(|(_, value)| value)
}

fn is_named(key: &Node, id: &str) -> bool {
    key.get("id").and_then(Node::text) == Some(id)
}

/// The document without its keys, and the keys. Whether an empty `auth` or `keys` was
/// written down makes no difference.
fn without_keys(mut root: Node) -> (Node, Vec<Node>) {
    let taken = keys(&root).to_vec();
    if let Value::Map(sections) = &mut root.value {
        for (_, auth) in sections.iter_mut().filter(|(key, _)| key.text == "auth") {
            if let Value::Map(entries) = &mut auth.value {
                entries.retain(|(key, _)| key.text != "keys");
            }
        }
        sections.retain(|(key, value)| key.text != "auth" || !is_empty(value));
    }
    (root, taken)
}

fn is_empty(node: &Node) -> bool {
    node.is_null() || matches!(&node.value, Value::Map(entries) if entries.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, text: &str) -> Document {
        Document { path: PathBuf::from(name), original: text.to_owned(), text: text.to_owned() }
    }

    fn new_key() -> NewKey {
        NewKey { fields: vec![("id", "\"n\"".to_owned()), ("enabled", "true".to_owned())] }
    }

    #[test]
    fn a_key_is_added_behind_the_others_and_nothing_else_changes() {
        let cases = [
            // before, after
            (
                "auth:\n  keys:\n    - id: a # one\n      roles: [x]\n    # about b\n    - id: b\n      enabled: true\n\n# next\nport: 1\n",
                "auth:\n  keys:\n    - id: a # one\n      roles: [x]\n    # about b\n    - id: b\n      enabled: true\n    - id: \"n\"\n      enabled: true\n\n# next\nport: 1\n",
            ),
            ("auth:\n  keys:\n  - id: a\n", "auth:\n  keys:\n  - id: a\n  - id: \"n\"\n    enabled: true\n"),
            ("auth:\n  keys:\n  - id: a", "auth:\n  keys:\n  - id: a\n  - id: \"n\"\n    enabled: true\n"),
            (
                "auth:\n  keys:\n    - {id: a}\n      # still a\n  type: jwt\n",
                "auth:\n  keys:\n    - {id: a}\n      # still a\n    - id: \"n\"\n      enabled: true\n  type: jwt\n",
            ),
            (
                "auth:\r\n  keys:\r\n    - id: a\r\nport: 1\r\n",
                "auth:\r\n  keys:\r\n    - id: a\r\n    - id: \"n\"\r\n      enabled: true\r\nport: 1\r\n",
            ),
            (
                "auth:\n  keys: [] # none\nport: 1\n",
                "auth:\n  keys:  # none\n    - id: \"n\"\n      enabled: true\nport: 1\n",
            ),
            (
                "auth:\n  keys: # none\nport: 1\n",
                "auth:\n  keys: # none\n    - id: \"n\"\n      enabled: true\nport: 1\n",
            ),
            (
                "auth:\n    # how\n    type: jwt\n",
                "auth:\n    # how\n    keys:\n      - id: \"n\"\n        enabled: true\n    type: jwt\n",
            ),
            ("auth:\nport: 1\n", "auth:\n  keys:\n    - id: \"n\"\n      enabled: true\nport: 1\n"),
            ("port: 1 # x\n", "port: 1 # x\nauth:\n  keys:\n    - id: \"n\"\n      enabled: true\n"),
            ("", "auth:\n  keys:\n    - id: \"n\"\n      enabled: true\n"),
            ("auth: {keys: [{id: a}]}\n", "auth: {keys: [{id: a}, {\"id\": \"n\", \"enabled\": true}]}\n"),
            ("auth: {type: jwt}\n", "auth: {type: jwt, \"keys\": [{\"id\": \"n\", \"enabled\": true}]}\n"),
            ("auth: {}\n", "auth: {\"keys\": [{\"id\": \"n\", \"enabled\": true}]}\n"),
            (
                "auth:\n  keys: [\n    {id: a}\n  ]\n",
                "auth:\n  keys: [\n    {id: a},\n    {\"id\": \"n\", \"enabled\": true}\n  ]\n",
            ),
            (
                "auth:\n  keys:\n    - id: ä-ö\n      name: \"über\"\n",
                "auth:\n  keys:\n    - id: ä-ö\n      name: \"über\"\n    - id: \"n\"\n      enabled: true\n",
            ),
        ];
        for (before, after) in cases {
            let mut document = document("gateway.yaml", before);
            document.add_key(&new_key()).expect(before);
            assert_eq!(document.text, after);
        }
    }

    #[test]
    fn whatever_the_text_nothing_is_lost_and_nothing_panics() {
        let text = "# ü\nauth: # a\n  keys:\n    - id: a\n      name: \"x\n        y\"\n      enabled: true\n\n    -\n      # b\n      id: b\n      note: |\n        - z\n\n      enabled: yes\n  jwt: {a: [1, 2], b: {}}\nservers: [{id: a}]\n";
        let cuts = (0..text.len()).filter(|at| text.is_char_boundary(*at));
        let variants = cuts.flat_map(|at| {
            let (start, end) = text.split_at(at);
            let rest: String = end.chars().skip(1).collect();
            [
                start.to_owned(),
                end.to_owned(),
                format!("{start}{rest}"),
                format!("{start}[{end}"),
                format!("{start}\n{end}"),
                format!("\u{feff}{start}-{end}"),
            ]
        });
        let mut added = 0;
        for before in variants {
            let mut document = document("gateway.yaml", &before);
            if document.tree().is_err() {
                continue;
            }
            if document.add_key(&new_key()).is_ok() {
                added += 1;
                let mut kept = document.text.chars();
                let brackets = before.contains("[]");
                assert!(
                    brackets || before.chars().all(|c| kept.any(|other| other == c)),
                    "{before}\n→\n{}",
                    document.text
                );
            }
            let mut document = self::document("gateway.yaml", &before);
            let _ = document.revoke_key("a", Timestamp::default(), Some("ana"));
            let _ = document.rotate_key("a", "sha256:1", "gw_", None);
        }
        assert!(added > 100, "only {added}");
    }

    #[test]
    fn json_stays_json() {
        let cases = [
            ("{}", "{\"auth\": {\"keys\": [{\"id\": \"n\", \"enabled\": true}]}}"),
            (
                "{\"port\": 1, \"auth\": {\"type\": \"jwt\"}}",
                "{\"port\": 1, \"auth\": {\"type\": \"jwt\", \"keys\": [{\"id\": \"n\", \"enabled\": true}]}}",
            ),
            (
                "{\n  \"auth\": {\n    \"keys\": [\n      {\"id\": \"a\"}\n    ]\n  }\n}\n",
                "{\n  \"auth\": {\n    \"keys\": [\n      {\"id\": \"a\"},\n      {\"id\": \"n\", \"enabled\": true}\n    ]\n  }\n}\n",
            ),
        ];
        for (before, after) in cases {
            let mut document = document("gateway.json", before);
            document.add_key(&new_key()).expect(before);
            assert_eq!(document.text, after);
        }
    }

    #[test]
    fn a_key_is_revoked_where_it_stands() {
        const AT: &str = "2026-11-21T10:00:00.000000Z";
        let block = |enabled: &str, more: &str| {
            format!(
                "auth:\n  keys:\n    - id: b\n      enabled: true\n    - id: a\n      enabled: {enabled} # yes\n{more}      name: x\n"
            )
        };
        let lines = format!("      revokedAt: \"{AT}\"\n      revokedBy: \"ana\"\n");
        let flow =
            |text: &str| text.replace("END", &format!(", \"revokedBy\": \"ana\", \"revokedAt\": \"{AT}\""));
        let cases = [
            (block("true", ""), Some(block("false", &lines))),
            (block("true", "").replace('\n', "\r\n"), Some(block("false", &lines).replace('\n', "\r\n"))),
            (
                "auth: {keys: [{enabled: true, id: \"a\"}, {id: b}]}".to_owned(),
                Some(flow("auth: {keys: [{enabled: false, id: \"a\"END}, {id: b}]}")),
            ),
            (
                "auth: {keys: [{id: a, enabled: \"${ON}\"}]}".to_owned(),
                Some(flow("auth: {keys: [{id: a, enabled: falseEND}]}")),
            ),
            (
                "auth: {keys: [{id: a, enabled: false}]}".to_owned(),
                Some("auth: {keys: [{id: a, enabled: false}]}".to_owned()),
            ),
            ("auth: {keys: [{id: a}]}".to_owned(), Some("auth: {keys: [{id: a}]}".to_owned())),
            ("auth: {keys: [{id: b}]}".to_owned(), None),
            ("auth: {keys: [&k {id: a, enabled: true}]}\nother: *k\n".to_owned(), None),
        ];
        for (before, after) in cases {
            let mut document = document("gateway.yaml", &before);
            let at = Timestamp::parse(AT).expect("a time");
            let revoked = document.revoke_key("a", at, Some("ana")).is_ok();
            assert_eq!(revoked.then_some(document.text), after, "{before}");
        }
    }

    #[test]
    fn a_renewed_key_keeps_the_hash_before_it_and_never_its_text() {
        let until = Timestamp::parse("2026-11-22").ok();
        let mut block = document(
            "gateway.yaml",
            "auth:\n  keys:\n    - id: a # one\n      key: gw_plain # old\n      roles: [x]\n",
        );
        block.rotate_key("a", "sha256:1", "gw_12345", until).expect("renewed");
        let hash = StoredKey::parse("gw_plain").expect("a key").to_string();
        let expected = format!(
            "auth:\n  keys:\n    - id: a # one\n      key: \"sha256:1\" # old\n      previousKey: \"{hash}\"\n      \
             previousUntil: \"2026-11-22T00:00:00.000000Z\"\n      prefix: \"gw_12345\"\n      roles: [x]\n"
        );
        assert_eq!(block.text, expected);
        // Once more: no member is there twice, and without grace nothing old is good any longer.
        let again = format!("sha256:{}", "ab".repeat(32));
        block.rotate_key("a", &again, "gw_67890", None).expect_err("`sha256:1` is no hash");
        let mut block = document("gateway.yaml", &expected.replace("sha256:1", &again));
        block.rotate_key("a", "sha256:2", "gw_67890", None).expect("renewed");
        let twice = expected
            .replace("sha256:1", "sha256:2")
            .replace("2026-11-22", "1970-01-01")
            .replace("gw_12345", "gw_67890");
        assert_eq!(block.text, twice);
        assert!(block.rotate_key("b", "sha256:2", "gw_", None).is_err());
    }
}
