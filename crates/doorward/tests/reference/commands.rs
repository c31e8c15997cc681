//! `docs/reference/commands.md`: every command with its arguments, from the command line itself.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::cell;

const HEAD: &str = "\
# Commands

Every command of `doorward`, with its arguments. `doorward COMMAND --help` prints examples as well. `mcp-gateway` is the
same program: there, `serve` is `serve --stdio --surface meta`. This page is generated from the program (`BLESS=1 cargo
test -p doorward generated`).

Exit status: 0 done, 1 the answer is no, 2 wrong usage, 3 the gateway could not be reached.
";

/// The page.
pub fn page(program: &Command) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\nWith every command:\n\n");
    table(program.get_arguments().filter(|argument| argument.is_global_set()), &mut page);
    add(program, "doorward", &mut page);
    page
}

/// Adds the commands below this one.
fn add(parent: &Command, name: &str, page: &mut String) {
    let commands = parent.get_subcommands().filter(|command| !command.is_hide_set());
    for command in commands.filter(|command| command.get_name() != "help") {
        let name = format!("{name} {}", command.get_name());
        if command.has_subcommands() {
            add(command, &name, page);
            continue;
        }
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "\n## `{name}`\n\n{}.\n", cell(&about)).expect("a string takes everything");
        let arguments = command.get_arguments().filter(|argument| !argument.is_global_set());
        table(arguments.filter(|argument| !argument.is_hide_set()), page);
    }
}

fn table<'a>(arguments: impl Iterator<Item = &'a Arg>, page: &mut String) {
    let own = |argument: &&Arg| !matches!(argument.get_id().as_str(), "help" | "version");
    let mut arguments = arguments.filter(own).peekable();
    if arguments.peek().is_none() {
        page.push_str("No arguments.\n");
        return;
    }
    page.push_str("| argument | meaning |\n|---|---|\n");
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "| `{}` | {} |", spelled(argument), cell(&help)).expect("a string takes everything");
    }
}

/// `--limit <LIMIT>`, or `<CALL>` for what has its meaning by its place.
fn spelled(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value =
        names.first().map_or_else(|| argument.get_id().to_string().to_uppercase(), ToString::to_string);
    let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    match (argument.get_long(), takes) {
        (Some(long), true) => format!("--{long} {value}"),
        (Some(long), false) => format!("--{long}"),
        (None, _) => value,
    }
}
