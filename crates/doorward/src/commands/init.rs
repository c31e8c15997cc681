//! `doorward init`: a configuration to start from.
//!
//! Writes two files and never over an existing configuration: the configuration with
//! one key, stored as a hash and shown once, and its schema for editors.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use doorward_identity::new_key;
use doorward_model::Secret;
use serde::Serialize;

use super::{Exit, Surroundings};
use crate::config::schema;

const TEMPLATE: &str = include_str!("init.yaml");

/// The schema's file name, as the template names it.
const SCHEMA_NAME: &str = "gateway.schema.json";

const EXAMPLES: &str = "\
Examples:
  doorward init
  doorward init --yes --json
  doorward init --config deploy/gateway.yaml";

/// Arguments of `doorward init`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    created: bool,
    config: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<NewKey<'a>>,
}

#[derive(Serialize)]
struct NewKey<'a> {
    id: &'a str,
    key: &'a str,
    roles: [&'a str; 1],
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let path = named.unwrap_or(Path::new("gateway.yaml"));
    if path.exists() {
        return refuse(arguments, path, world);
    }
    if !arguments.yes && !(world.confirm)(&format!("Write {}?", path.display())) {
        return Ok(Exit::No);
    }
    let (key, hash) = new_key(world.random);
    // For its owner alone: servers' credentials will stand in it, and it says who may do what.
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return refuse(arguments, path, world);
        }
        Err(error) => anyhow::bail!("{} cannot be written: {error}", path.display()),
    };
    file.write_all(TEMPLATE.replace("{{hash}}", &hash).as_bytes())?;
    let schema_path = path.with_file_name(SCHEMA_NAME);
    write_schema(&schema_path, world)?;
    tell(arguments, path, schema_path, &key, world)?;
    Ok(Exit::Done)
}

/// Writes the schema, over an older one of ours but over nothing else.
fn write_schema(path: &Path, world: &mut Surroundings<'_>) -> anyhow::Result<()> {
    let is_ours = |text: String| text.contains("\"title\": \"gateway.yaml\"");
    if path.exists() && !std::fs::read_to_string(path).is_ok_and(is_ours) {
        writeln!(world.err, "{} is something else and was left alone", path.display())?;
        return Ok(());
    }
    std::fs::write(path, schema())?;
    Ok(())
}

fn refuse(arguments: &Arguments, path: &Path, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    if arguments.json {
        let answer = Answer { created: false, config: path.display().to_string(), schema: None, key: None };
        writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        writeln!(world.out, "{} already exists", path.display())?;
    }
    Ok(Exit::No)
}

fn tell(
    arguments: &Arguments,
    path: &Path,
    schema: PathBuf,
    key: &Secret,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<()> {
    if arguments.json {
        let answer = Answer {
            created: true,
            config: path.display().to_string(),
            schema: Some(schema.display().to_string()),
            key: Some(NewKey { id: "key-1", key: key.expose(), roles: ["reader"] }),
        };
        writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
        return Ok(());
    }
    writeln!(world.out, "Created {} from template", path.display())?;
    writeln!(world.out, "\n  Key:      {}", key.expose())?;
    writeln!(world.out, "\n⚠️  Save the key now — it won't be shown again.")?;
    writeln!(world.out, "\nNext: register a server in {}, then run `doorward check`.", path.display())?;
    Ok(())
}
