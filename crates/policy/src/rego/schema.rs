//! Which paths the input document has.
//!
//! A path that no document has is always undefined, so a rule that asks for it never says
//! anything: `deny if input.args.amount > 100` would deny nothing. Such a path is an error.

use crate::problem::hint;

/// What may stand at a place of the document.
enum Shape {
    /// Anything: what servers and callers make up.
    Open,
    /// Something without members.
    Plain,
    /// A list of these.
    List(&'static Shape),
    /// Members of these names and no others.
    Object(&'static [(&'static str, Shape)]),
    /// Members of any name, without members of their own.
    Named,
}

use Shape::{List, Named, Object, Open, Plain};

const TEXTS: Shape = List(&Plain);

const EARLIER_CALL: Shape =
    Object(&[("backend", Plain), ("labels", TEXTS), ("tool", Plain), ("verdict", Plain)]);

const DOCUMENT: Shape = Object(&[
    ("agent", Plain),
    ("approval", Plain),
    ("arguments", Open),
    ("backend", Plain),
    (
        "context",
        Object(&[
            ("client", Object(&[("name", Plain), ("version", Plain)])),
            ("ip", Plain),
            ("origin", Plain),
            ("time", Plain),
        ]),
    ),
    (
        "definition",
        Object(&[("annotations", Open), ("fingerprint", Plain), ("reviewed_by", Plain), ("risk", Plain)]),
    ),
    (
        "identity",
        Object(&[
            ("agent", Object(&[("id", Plain)])),
            ("claims", Named),
            ("grant", Object(&[("expires_at", Plain), ("id", Plain), ("roles", TEXTS)])),
            (
                "user",
                Object(&[
                    ("domain", Plain),
                    ("email", Plain),
                    ("groups", TEXTS),
                    ("id", Plain),
                    ("roles", TEXTS),
                ]),
            ),
        ]),
    ),
    ("limits", Named),
    ("operation", Plain),
    ("prompt", Plain),
    ("resource", Object(&[("uri", Plain)])),
    ("scopes", TEXTS),
    ("server", Object(&[("id", Plain), ("tags", TEXTS), ("transport", Plain)])),
    ("session", Object(&[("calls", List(&EARLIER_CALL)), ("id", Plain), ("labels", TEXTS)])),
    ("tool", Plain),
    ("user", Plain),
]);

/// Whether some document has something at this path; a step that is computed is `None`.
///
/// # Errors
/// Where no document has anything, and what was probably meant.
pub(super) fn check(path: &[Option<String>]) -> Result<(), String> {
    let mut shape = &DOCUMENT;
    let mut walked = String::from("input");
    for step in path {
        shape = match (shape, step) {
            (Open, _) => return Ok(()),
            // Which member a computed step leads to, nobody knows.
            (Object(_) | Named, None) => return Ok(()),
            (List(items), None) => items,
            (Named, Some(_)) => &Plain,
            (Object(members), Some(name)) => match members.iter().find(|(known, _)| known == name) {
                Some((_, member)) => member,
                None => {
                    let meant = hint(name, members.iter().map(|(known, _)| *known));
                    return Err(format!("there is no `{walked}.{name}`{meant}"));
                }
            },
            (List(_), Some(name)) => {
                return Err(format!(
                    "`{walked}` is a list, so there is no `{walked}.{name}`; write `{name:?} in {walked}`"
                ));
            }
            (Plain, Some(name)) => {
                return Err(format!("`{walked}` has no members, so there is no `{walked}.{name}`"));
            }
            (Plain, None) => return Err(format!("`{walked}` has no members to look into")),
        };
        match step {
            Some(name) => {
                walked.push('.');
                walked.push_str(name);
            }
            None => walked.push_str("[_]"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::MEMBERS;

    fn checked(path: &str) -> String {
        let steps: Vec<_> = path.split('.').map(|step| (step != "_").then(|| step.to_owned())).collect();
        check(&steps).err().unwrap_or_default()
    }

    #[test]
    fn it_knows_the_members_that_every_document_has() {
        let Object(members) = DOCUMENT else { panic!("the document is an object") };
        assert!(members.iter().map(|(name, _)| *name).eq(MEMBERS), "as they are written");
    }

    #[test]
    fn a_path_that_no_document_has_is_named_with_what_was_meant() {
        let cases = [
            ("tool", ""),
            ("_", ""),
            ("arguments.any.thing", ""),
            ("definition.annotations.readOnlyHint", ""),
            ("limits.calls_this_hour", ""),
            ("identity.claims.department", ""),
            ("session.calls._.tool", ""),
            ("scopes._", ""),
            ("args.amount", "there is no `input.args`; did you mean `arguments`?"),
            ("tol", "there is no `input.tol`; did you mean `tool`?"),
            ("identity.user.mail", "there is no `input.identity.user.mail`; did you mean `email`?"),
            ("context.client.nmae", "there is no `input.context.client.nmae`; did you mean `name`?"),
            ("session.calls._.tol", "there is no `input.session.calls[_].tol`; did you mean `tool`?"),
            ("zzz", "there is no `input.zzz`"),
            ("tool.name", "`input.tool` has no members, so there is no `input.tool.name`"),
            ("tool._", "`input.tool` has no members to look into"),
            (
                "scopes.admin",
                "`input.scopes` is a list, so there is no `input.scopes.admin`; write `\"admin\" in input.scopes`",
            ),
            ("limits.a.b", "`input.limits.a` has no members, so there is no `input.limits.a.b`"),
        ];
        for (path, expected) in cases {
            assert_eq!(checked(path), expected, "{path}");
        }
    }
}
