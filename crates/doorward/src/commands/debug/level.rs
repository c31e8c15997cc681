//! `doorward debug level`: how much the running gateway logs about one server.

use std::path::Path;

use anyhow::anyhow;
use clap::ValueEnum;
use doorward_gateway::door::{self, Level, Levels, NoServer, Order};
use doorward_model::ServerId;

use crate::commands::layout::pad;
use crate::commands::{Exit, Surroundings, load, socket};
use crate::runtime;

const EXAMPLES: &str = "\
Examples:
  doorward debug level                  about which servers more or less is logged than usual
  doorward debug level github debug     one line for each call that github answers, or does not
  doorward debug level github usual

It is told over the socket in dataDir, which only the gateway's own user can open, and lasts until the gateway ends.
DOORWARD_LOG sets what is usual, at the start.
Exit status: 0 done, 1 there is no such server, 3 no gateway runs here.";

/// Arguments of `debug level`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The server's id
    #[arg(requires = "level", value_parser = |text: &str| ServerId::try_from(text.to_owned()))]
    server: Option<ServerId>,
    /// How much: `usual` is what DOORWARD_LOG says
    level: Option<Much>,
    /// Print the levels as JSON
    #[arg(long)]
    json: bool,
}

/// How much is logged, as it is spelled.
#[derive(Clone, Copy, Debug)]
struct Much(Level);

impl ValueEnum for Much {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Much; 7] = {
            let [a, b, c, d, e, f, g] = Level::ALL;
            [Much(a), Much(b), Much(c), Much(d), Much(e), Much(f), Much(g)]
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.as_str()))
    }
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let folder = runtime::socket_folder(&loaded.config);
    let order = match (&arguments.server, arguments.level) {
        (Some(server), Some(Much(level))) => Order::Set(server.clone(), level),
        _ => Order::Show,
    };
    let levels = match tell(folder, &order) {
        Ok(Ok(levels)) => levels,
        Ok(Err(NoServer)) => {
            let server = arguments.server.as_ref().map_or("", |server| server.as_str());
            writeln!(world.err, "the running gateway has no server `{server}`")?;
            return Ok(Exit::No);
        }
        Err(error) => {
            let folder = folder.display();
            writeln!(world.err, "no gateway answers in {folder}: {error:#}; is `doorward serve` running?")?;
            return Ok(Exit::Unreachable);
        }
    };
    if arguments.json {
        writeln!(world.out, "{}", serde_json::to_string_pretty(&levels)?)?;
    } else if levels.is_empty() {
        writeln!(world.out, "as much as usual is logged about every server")?;
    } else {
        for (server, level) in levels {
            writeln!(world.out, "{} {level}", pad(&server, 20))?;
        }
    }
    Ok(Exit::Done)
}

fn tell(folder: &Path, order: &Order) -> anyhow::Result<Result<Levels, NoServer>> {
    let line = socket::tell(folder, order)?;
    door::read_order_answer(line).map_err(|_| anyhow!("it is of another version than this program"))
}
