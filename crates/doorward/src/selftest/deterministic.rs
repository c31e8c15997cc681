//! Is a verdict the same every time, and is nothing asked on the way to it?

use std::path::Path;

use bytes::Bytes;
use doorward_ledger::CallRow;
use doorward_model::json::{Document, Limits};
use doorward_policy::{Mode, Options, PolicySet, RegoSource, simulate};
use serde_json::{Value, json};

use super::client::{CLIENTS, Said};
use super::stage::SERVER;
use super::{Answer, Question, Seen, Stage};
use crate::config::Config;
use crate::runtime::{rego_source, role_policy, trial};

const SAME: Question =
    Question { name: "deterministic", asks: "Does an identical call get an identical verdict, every time?" };
const CLOSED: Question =
    Question { name: "no-model", asks: "Is the decision closed to models, networks, clocks and chance?" };
/// How often each call is made.
const TIMES: usize = 20;

/// Calls and what they are about: allowed, denied by a rule, by a condition, by Rego, by default.
pub(super) fn cases() -> Vec<(&'static str, Value)> {
    vec![
        ("echo", json!({"message": "hi"})),
        ("get_issue", json!({"number": 7})),
        ("delete_repository", json!({})),
        ("create_refund", json!({"amount": 100})),
        ("create_refund", json!({"amount": 101})),
        ("create_refund", json!({"amount": 1, "lines": [{"amount": 1}, {"amount": 101}]})),
        ("create_refund", json!({})),
    ]
}

/// Makes the same calls again and again, in changing order, and then decides on each once
/// more, apart from the gateway, by the policies and what was called.
pub async fn deterministic(stage: &Stage) -> Answer {
    SAME.answered(look(stage).await)
}

async fn look(stage: &Stage) -> Seen {
    let [about, ..] = &CLIENTS;
    let client = stage.client("/mcp", about).await?;
    let mut cases = cases();
    let earlier = stage.records()?.len();
    let mut first: Vec<(String, Said)> = Vec::new();
    for turn in 0..TIMES {
        for (tool, arguments) in &cases {
            let said = client.call(&format!("{SERVER}__{tool}"), Some(arguments)).await?;
            let call = format!("{tool} {arguments}");
            match first.iter().find(|(known, _)| *known == call) {
                Some((_, before)) if *before != said => {
                    return Ok(Err(format!("{call} was answered with {before:?}, and then with {said:?}")));
                }
                Some(_) => {}
                None => first.push((call, said)),
            }
        }
        if turn % 2 == 0 { cases.reverse() } else { cases.rotate_left(3) }
    }
    let policy = compile(stage.config(), stage.program())?;
    let records = stage.records()?.split_off(earlier);
    for record in &records {
        if let Some(wrong) = differs(&policy, record)? {
            return Ok(Err(wrong));
        }
    }
    let made = first.len() * TIMES;
    if records.len() != made {
        return Ok(Err(format!("{made} calls left {} records", records.len())));
    }
    Ok(Ok(format!(
        "{} calls made {TIMES} times each in changing order; decided once more from {} records, apart from the gateway: same verdicts, rules and reasons",
        first.len(),
        records.len()
    )))
}

/// The policies of a configuration, compiled as the gateway does.
pub(super) fn compile(config: &Config, program: &Path) -> anyhow::Result<PolicySet> {
    let roles = config.policies.iter().map(role_policy).collect();
    let rego = config.rego_policies.iter().map(rego_source).collect();
    let trial = |source: &RegoSource| trial::in_a_child(program, source);
    let compiled = PolicySet::compile(roles, rego, &config.policy_options(), &trial);
    compiled.map(|(policy, _)| policy).map_err(|errors| {
        anyhow::anyhow!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })
}

/// What a record says otherwise than the policies say now of the same call.
pub(super) fn differs(policy: &PolicySet, record: &CallRow) -> anyhow::Result<Option<String>> {
    let arguments: Value = serde_json::from_str(record.args.as_deref().unwrap_or("{}"))?;
    // The key, the role and the grant have one name here.
    let document = json!({
        "operation": record.operation, "backend": record.server, "tool": record.target,
        "arguments": arguments, "user": record.person, "roles": [record.grant],
    });
    let document = Document::parse(Bytes::from(document.to_string()), &Limits::default())?;
    let again = simulate(policy, document.root())?.decision;
    let (then, now) = (
        (record.verdict.as_str(), record.rule.as_deref(), &record.reasons),
        (again.verdict.as_str(), again.rule.as_deref(), &again.reasons),
    );
    Ok((then != now).then(|| format!("{} was decided {then:?}, and is now {now:?}", record.target)))
}

/// What reaches beyond the input, in the language of policies.
const REACHES: [(&str, &str); 6] = [
    ("the network", r#"http.send({"method": "GET", "url": "http://127.0.0.1/"}).status_code == 200"#),
    ("name servers", r#"count(net.lookup_ip_addr("localhost")) > 0"#),
    ("chance", r#"rand.intn("x", 10) > 5"#),
    ("the environment", r#"opa.runtime().env.HOME != """#),
    ("the clock", "time.now_ns() > 0"),
    ("new ids", r#"uuid.rfc4122("x") != """#),
];

/// Tries to compile policies that ask something beyond their input.
pub fn closed_to_the_world(program: &Path) -> Answer {
    let compiles = |body: &str| {
        let source = format!("package probe\nallow if {{ {body} }}\n");
        let source = RegoSource { name: "probe".into(), source, file: None, data: None, mode: Mode::Enforce };
        let trial = |source: &RegoSource| trial::in_a_child(program, source);
        PolicySet::compile(Vec::new(), vec![source], &Options::default(), &trial).is_ok()
    };
    CLOSED.answered(Ok(judge(compiles)))
}

fn judge(compiles: impl Fn(&str) -> bool) -> Result<String, String> {
    // Or else a compiler that takes nothing at all would pass.
    if !compiles("input.tool == \"echo\"") {
        return Err("no policy compiles at all".to_owned());
    }
    let open: Vec<_> = REACHES.iter().filter(|(_, body)| compiles(body)).map(|(what, _)| *what).collect();
    if open.is_empty() {
        let all: Vec<_> = REACHES.iter().map(|(what, _)| *what).collect();
        Ok(format!("no policy compiles that asks {}", all.join(", ")))
    } else {
        Err(format!("a policy may ask {}", open.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_language_that_reaches_out_or_takes_nothing_is_found() {
        assert!(judge(|body| body.starts_with("input")).is_ok());
        assert!(judge(|_| false).is_err());
        let said = judge(|body| body.starts_with("input") || body.contains("now_ns")).expect_err("found");
        assert_eq!(said, "a policy may ask the clock");
    }
}
