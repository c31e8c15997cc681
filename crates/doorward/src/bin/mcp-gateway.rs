//! `mcp-gateway`: Doorward under the name of the gateway whose configurations and client entries
//! it takes over. `mcp-gateway serve` speaks MCP over standard input and output and offers the
//! meta tools, as that gateway does; everything else is `doorward`, which lies beside this
//! program and takes its place.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("doorward"));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("doorward"));
    #[allow(clippy::disallowed_methods, reason = "it becomes that program; nothing is left of this one")]
    let error = Command::new(&program).args(as_doorward(std::env::args_os().skip(1))).exec();
    eprintln!("mcp-gateway: {} cannot be run: {error}", program.display());
    ExitCode::FAILURE
}

/// The arguments as `doorward` takes them: `serve` is `serve --stdio --surface meta`.
fn as_doorward(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = given.collect();
    let Some(serve) = command(&arguments).filter(|at| arguments[*at] == "serve") else { return arguments };
    let has = |name: &str| {
        let is_it = |argument: &OsString| argument.to_string_lossy().split('=').next() == Some(name);
        arguments[serve..].iter().any(is_it)
    };
    let (is_stdio, has_surface) = (has("--stdio"), has("--surface"));
    let mut added = Vec::new();
    if !is_stdio {
        added.push("--stdio".into());
    }
    if !has_surface {
        added.extend(["--surface".into(), "meta".into()]);
    }
    arguments.splice(serve + 1..serve + 1, added);
    arguments
}

/// Where the command stands: the first argument that is no option, nor the value of `--config`,
/// the only option before it that has one.
fn command(arguments: &[OsString]) -> Option<usize> {
    let mut is_value = false;
    arguments.iter().position(|argument| {
        let is_option = argument.to_string_lossy().starts_with('-');
        let is_command = !is_option && !is_value;
        is_value = argument == "--config";
        is_command
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serving_is_over_stdio_and_offers_the_meta_tools_unless_it_says_otherwise() {
        let cases = [
            ("serve", "serve --stdio --surface meta"),
            ("--config serve serve", "--config serve serve --stdio --surface meta"),
            ("--config=x serve --http 3100", "--config=x serve --stdio --surface meta --http 3100"),
            ("serve --surface aggregate", "serve --stdio --surface aggregate"),
            ("serve --surface=github --stdio", "serve --surface=github --stdio"),
            ("keys list", "keys list"),
            ("explain serve", "explain serve"),
            ("--help", "--help"),
            ("", ""),
        ];
        let split = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        for (given, expected) in cases {
            assert_eq!(as_doorward(split(given).into_iter()), split(expected), "{given}");
        }
    }
}
