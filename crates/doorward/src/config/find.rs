//! Which file is the configuration?

use std::path::{Path, PathBuf};

use super::Variables;

/// File names that are tried, in this order.
pub const NAMES: [&str; 3] = ["gateway.yaml", "gateway.yml", "gateway.json"];

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// A file was named, and does not exist.
    #[error("Config not found: {0}")]
    Named(PathBuf),
    /// None was named, and there is none with a usual name.
    #[error("Config not found: ./gateway.yaml; `doorward init` writes one")]
    Usual,
}

/// Finds the configuration: `named` (the command line), else `MCP_GATEWAY_CONFIG`, else
/// the first of [`NAMES`] that exists in `dir`.
///
/// # Errors
/// [`NotFound`]. A file that is named must exist: starting with another one instead
/// could put other rules in force than the ones that were meant.
pub fn find(named: Option<&Path>, dir: &Path, variables: &Variables<'_>) -> Result<PathBuf, NotFound> {
    let variable = variables("MCP_GATEWAY_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = named.map(Path::to_path_buf).or(variable) {
        return if dir.join(&path).is_file() { Ok(path) } else { Err(NotFound::Named(path)) };
    }
    let usual = NAMES.iter().map(PathBuf::from).find(|name| dir.join(name).is_file());
    usual.ok_or(NotFound::Usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_places_wins() {
        let dir = tempfile::tempdir().expect("a directory");
        let find = |named: Option<&str>, variable: Option<&str>| {
            find(named.map(Path::new), dir.path(), &|_| variable.map(str::to_owned))
        };
        assert_eq!(find(None, None), Err(NotFound::Usual));
        for name in ["gateway.json", "gateway.yml", "gateway.yaml", "other.yaml"] {
            std::fs::write(dir.path().join(name), "").expect("written");
            let found = find(None, None).expect("found");
            assert_eq!(found, Path::new(if name == "other.yaml" { "gateway.yaml" } else { name }));
        }
        assert_eq!(find(None, Some("other.yaml")), Ok(PathBuf::from("other.yaml")));
        assert_eq!(find(Some("gateway.yml"), Some("other.yaml")), Ok(PathBuf::from("gateway.yml")));
        assert_eq!(find(None, Some("")), Ok(PathBuf::from("gateway.yaml")), "empty is unset");
        assert_eq!(
            find(None, Some("none.yaml")),
            Err(NotFound::Named("none.yaml".into())),
            "never another one"
        );
    }
}
