//! Names as clients see them (`pay__refund`), where rules, limits and `disable` want a server's own
//! name (`refund`). Such a pattern matches nothing, so a rule that denies by it denies nothing.

use super::dialect::Dialect;
use super::lint::Findings;
use super::servers::Server;

/// Separates a server's id from its own name in the names that clients see.
const SEPARATOR: &str = "__";

/// Adds a finding if `pattern`, a glob over tools or prompts, begins with the id of a server.
///
/// * `wants_server`: whether the server is named beside it, and not by where it stands.
pub(crate) fn check(
    pattern: &str,
    path: &str,
    wants_server: bool,
    servers: &[Server],
    dialect: Dialect,
    findings: &mut Findings,
) {
    let own = |server: &Server| {
        pattern.strip_prefix(server.id.as_str())?.strip_prefix(SEPARATOR).map(str::to_owned)
    };
    let Some((id, own)) = servers.iter().find_map(|server| Some((&server.id, own(server)?))) else { return };
    let message = format!("`{pattern}` is the name that clients see; here it matches nothing");
    let lint = match dialect {
        Dialect::Ours => findings.error("client-name", path, message),
        // What that gateway loads is loaded.
        Dialect::Theirs => findings.warn("client-name", path, message),
    };
    let key = path.rsplit('.').next().unwrap_or_default();
    lint.remedy(match wants_server {
        true => format!("write `server: {id}` and `{key}: {own:?}`"),
        false => format!("write {own:?} in the entry of `{id}`"),
    });
}
