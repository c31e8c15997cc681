//! Is there one policy, or one for each client?

use super::client::CLIENTS;
use super::deterministic::cases;
use super::stage::SERVER;
use super::{Answer, Question, Seen, Stage};

const QUESTION: Question =
    Question { name: "one-policy", asks: "Does one caller get the same rules whichever client is used?" };

/// One key, three clients, both eras: the same lists and the same verdicts.
pub async fn one_policy(stage: &Stage) -> Answer {
    QUESTION.answered(look(stage).await)
}

async fn look(stage: &Stage) -> Seen {
    let mut seen = Vec::new();
    for about in &CLIENTS {
        let client = stage.client("/mcp", about).await?;
        let mut said = vec![("tools/list".to_owned(), client.tools().await?.join(", "))];
        for (tool, arguments) in cases() {
            let answer = client.call(&format!("{SERVER}__{tool}"), Some(&arguments)).await?;
            said.push((format!("{tool} {arguments}"), format!("{} {}", answer.verdict, answer.because)));
        }
        seen.push((about.name, said));
    }
    Ok(alike(&seen))
}

/// Whether all clients were told the same: pairs of a question and its answer.
pub(super) fn alike(seen: &[(&'static str, Vec<(String, String)>)]) -> Result<String, String> {
    let Some(((first, expected), others)) = seen.split_first() else {
        return Err("there was no client".to_owned());
    };
    for (name, said) in others {
        let different = expected.iter().zip(said).find(|(expected, said)| expected != said);
        if let Some(((question, expected), (_, said))) = different {
            return Err(format!("{question}: {first} is told `{expected}`, and {name} `{said}`"));
        }
    }
    let names: Vec<_> = seen.iter().map(|(name, _)| *name).collect();
    Ok(format!("{} are told the same about {} questions", names.join(", "), expected.len()))
}
