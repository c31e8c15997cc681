//! `doorward explain`: what a code, a status or a pasted message means, where it comes from, what
//! to do.

use serde_json::{Value, json};
use strsim::jaro_winkler;

use super::layout::pad;
use super::{Exit, Surroundings};
use crate::explain::{Page, page, pages, pages_about};

const EXAMPLES: &str = "\
Examples:
  doorward explain upstream-unreachable
  doorward explain -32602
  doorward explain 401
  doorward explain '[POLICY DENIED] no rule allows this'
  doorward explain --json | jq -r '.[].code'

Exit status: 0 there is such a code, 1 there is none.";

/// Arguments of `doorward explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A code, an HTTP status, or a message as it was printed; all codes without one
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    code: Option<String>,
    /// More words of the message
    #[arg(hide = true)]
    more: Vec<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let Some(code) = &arguments.code else {
        if arguments.json {
            let all: Vec<_> = pages().map(as_json).collect();
            writeln!(world.out, "{}", serde_json::to_string_pretty(&all)?)?;
        } else {
            for page in pages() {
                writeln!(world.out, "{} {}", pad(page.code, 24), page.meaning)?;
            }
        }
        return Ok(Exit::Done);
    };
    let text = std::iter::once(code).chain(&arguments.more).map(String::as_str).collect::<Vec<_>>().join(" ");
    let text = text.trim();
    let found = page(text).map_or_else(|| pages_about(text), |page| vec![page]);
    let Some((page, others)) = found.split_first() else {
        let near = pages().map(|page| (jaro_winkler(page.code, text), page.code));
        let near = near.max_by(|(one, _), (other, _)| one.total_cmp(other)).filter(|(near, _)| *near > 0.7);
        let hint = near.map(|(_, near)| format!("; did you mean `{near}`?")).unwrap_or_default();
        writeln!(world.err, "there is no code `{}`{hint}", text.escape_debug())?;
        return Ok(Exit::No);
    };
    let page = *page;
    if arguments.json {
        writeln!(world.out, "{}", serde_json::to_string_pretty(&as_json(page))?)?;
    } else {
        writeln!(world.out, "{}\n\n{}", page.code, page.meaning)?;
        if let Some(cause) = page.cause {
            writeln!(world.out, "Cause:  {cause}")?;
        }
        writeln!(world.out, "Remedy: {}", page.remedy)?;
        if !others.is_empty() {
            let codes: Vec<_> = others.iter().map(|page| page.code).collect();
            writeln!(world.out, "\nSee also: {}", codes.join(", "))?;
        }
    }
    Ok(Exit::Done)
}

fn as_json(page: Page) -> Value {
    json!({"code": page.code, "meaning": page.meaning, "cause": page.cause, "remedy": page.remedy})
}
