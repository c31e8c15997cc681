//! Where replicas keep what they share: `shared`.

use doorward_model::Secret;

use super::Context;

/// Checks that it is a URL of Redis. It may hold a password, so it is not repeated.
pub(super) fn build(url: Option<Secret>, context: &mut Context<'_>) -> Option<Secret> {
    let url = url?;
    let is_known = ["redis://", "rediss://"].iter().any(|scheme| url.expose().starts_with(scheme));
    if !is_known {
        let message = "the shared state is a URL that begins with redis:// or rediss://";
        context.findings.error("shared", "shared", message).remedy("shared: redis://127.0.0.1:6379");
    }
    is_known.then_some(url)
}
