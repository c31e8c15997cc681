//! The posture of a gateway, put to the test: six questions, each answered by doing it.
//!
//! A gateway of this very program is started in a folder of its own, with keys of its own,
//! and a server that notes what it receives ([`dummy`]). Calls go over real HTTP through all
//! stages. Neither the log nor the servers of the configuration are touched: of it, only the
//! policies are taken, and examined in a gateway of the same kind.

mod before;
mod client;
mod default_deny;
mod deterministic;
pub mod dummy;
mod one_policy;
mod precise;
mod stage;
mod theirs;
mod verifiable;

use std::path::Path;

use serde::Serialize;

pub use before::before;
pub use default_deny::default_deny;
pub use deterministic::{closed_to_the_world, deterministic};
pub use one_policy::one_policy;
pub use precise::precise;
pub use stage::{Setup, Stage};
pub use theirs::theirs;
pub use verifiable::verifiable;

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// It was shown.
    Pass,
    /// The opposite was shown, or it could not be.
    Fail,
}

impl Outcome {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
        }
    }
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The question: a stable word.
    pub question: &'static str,
    /// What is asked.
    pub asks: &'static str,
    /// How it was answered.
    pub outcome: Outcome,
    /// What was seen.
    pub evidence: String,
}

/// What was seen, or what spoke against it. An error while looking speaks against it, too.
type Seen = anyhow::Result<Result<String, String>>;

/// A question and the words for it.
#[derive(Clone, Copy)]
struct Question {
    name: &'static str,
    asks: &'static str,
}

impl Question {
    fn answered(self, seen: Seen) -> Answer {
        let (outcome, evidence) = match seen {
            Ok(Ok(evidence)) => (Outcome::Pass, evidence),
            Ok(Err(evidence)) => (Outcome::Fail, evidence),
            Err(error) => (Outcome::Fail, format!("it could not be shown: {error:#}")),
        };
        Answer { question: self.name, asks: self.asks, outcome, evidence }
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Calls of the question that makes many.
    pub calls: usize,
}

/// Asks every question of this program, and hands on each answer as it is given.
///
/// # Errors
/// When no gateway can be started at all, or an answer cannot be handed on.
pub async fn ask_all(
    program: &Path,
    effort: Effort,
    say: &mut dyn FnMut(Answer) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let bare = Stage::start(Setup::bare(program)).await?;
    say(default_deny(&bare).await)?;
    bare.stop().await;
    let stage = Stage::start(Setup::governed(program)).await?;
    say(before(&stage, effort).await)?;
    say(deterministic(&stage).await)?;
    say(closed_to_the_world(program))?;
    say(precise(&stage).await)?;
    say(one_policy(&stage).await)?;
    let ended = stage.stop().await;
    for answer in verifiable(&ended) {
        say(answer)?;
    }
    Ok(())
}
