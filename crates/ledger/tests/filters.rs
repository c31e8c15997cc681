//! Filters against the plainest thing that could be right: looking at every row.

use std::sync::Arc;

use doorward_ledger::{
    CallRow, DecisionRecord, Durability, Filter, Ledger, NO_AGENT, Options, OutcomeRecord,
};
use doorward_model::clock::Fixed;
use doorward_model::{CallId, ClientLabel, Clock, Outcome, Random, Timestamp, domain_of};

const ROWS: usize = 5_000;
/// Of so many combinations of filters.
const QUESTIONS: usize = 300;

const EMAILS: [Option<&str>; 6] = [
    Some("ana@corp.example"),
    Some("Ben@CORP.Example"),
    Some("eva@bücher.example"),
    Some("kim@xn--bcher-kva.example"),
    Some("lee@corp.example.evil.example"),
    None,
];
const AGENTS: [Option<&str>; 3] = [Some("coder"), Some("clerk"), None];
const SERVERS: [Option<&str>; 4] = [Some("git"), Some("gitlab"), Some("files"), None];
const TOOLS: [&str; 4] = ["echo", "get_issue", "get_*", "delete_issue"];
/// Verdict, outcome, code and reason.
const ENDS: [(&str, Outcome, Option<&str>, &str); 6] = [
    ("allow", Outcome::Success, None, ""),
    ("allow", Outcome::ToolError, None, ""),
    ("allow", Outcome::Timeout, Some("upstream-timeout"), ""),
    ("allow", Outcome::UpstreamError, Some("-32603"), ""),
    ("deny", Outcome::Denied, None, "Denied by policy"),
    ("hide", Outcome::Denied, None, "hidden"),
];
const DLP: [&str; 2] = ["none", "redacted"];

/// Chance that is the same every time.
struct Dice(Fixed);

impl Dice {
    fn below(&self, sides: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % sides as u64).expect("small")
    }

    fn one<T: Copy>(&self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn some<T>(&self, make: impl FnOnce(&Self) -> T) -> Vec<T> {
        if self.below(3) == 0 { vec![make(self)] } else { Vec::new() }
    }
}

fn write(ledger: &Ledger, clock: &Fixed, dice: &Dice) {
    let client = ClientLabel::default();
    let (email, agent, server) = (dice.one(&EMAILS), dice.one(&AGENTS), dice.one(&SERVERS));
    let (verdict, outcome, code, reason) = dice.one(&ENDS);
    let reasons = [reason.to_owned()];
    let ends_itself = verdict != "allow";
    clock.advance(std::time::Duration::from_millis(10));
    let ticket = ledger.decide(&DecisionRecord {
        call: CallId::new(clock.now(), clock),
        received: clock.now(),
        operation: "tools/call",
        server,
        target: dice.one(&TOOLS),
        person: email,
        email,
        agent,
        grant: "key",
        grant_kind: "key",
        consumer: agent.or(email).unwrap_or("unknown"),
        client: &client,
        session: None,
        ip: None,
        origin: "mcp",
        fingerprint: None,
        arguments: None,
        verdict,
        reasons: if reason.is_empty() { &[] } else { &reasons },
        layer: "rules",
        rule: None,
        bundle: "",
        input_digest: "",
        input: None,
        secrets: doorward_ledger::Secrets::default(),
        evaluator: "",
        shadow: &[],
        limits: &[],
        trace_id: None,
        terminal: ends_itself.then_some((outcome, 5, None)),
    });
    let ticket = ticket.expect("recorded");
    if !ends_itself {
        let end = OutcomeRecord {
            outcome,
            duration_us: 1_000,
            upstream_us: 900,
            bytes_in: 1,
            bytes_out: 1,
            upstream_status: None,
            error: None,
            code,
            dlp: dice.one(&DLP),
            result: None,
        };
        ledger.settle(ticket, &end).expect("settled");
    }
}

/// The six filters of the log (time, person, agent, domain, server and tool, outcome) and the others.
fn question(dice: &Dice, first: Timestamp, last: Timestamp) -> Filter {
    let span = usize::try_from(last.as_micros() - first.as_micros()).expect("small");
    let moment = |dice: &Dice| Timestamp::from_micros(first.as_micros() + dice.below(span) as u64);
    let domains = ["corp.example", "CORP.example", "bücher.example", "(none)", "example"];
    Filter {
        persons: dice.some(|dice| dice.one(&EMAILS).unwrap_or("nobody").to_owned()),
        agents: dice.some(|dice| dice.one(&AGENTS).unwrap_or(NO_AGENT).to_owned()),
        domains: dice.some(|dice| dice.one(&domains).to_owned()),
        servers: dice.some(|dice| dice.one(&["git", "gitlab", "files"]).to_owned()),
        tools: dice.some(|dice| dice.one(&["echo", "get_issue", "delete_issue"]).to_owned()),
        decisions: dice.some(|dice| dice.one(&["allow", "deny", "error"]).to_owned()),
        outcomes: dice.some(|dice| dice.one(&ENDS).1.as_str().to_owned()),
        codes: dice.some(|dice| dice.one(&["upstream-timeout", "-32603"]).to_owned()),
        dlp: dice.some(|dice| dice.one(&DLP).to_owned()),
        reasons: dice.some(|dice| dice.one(&["denied BY", "hidden"]).to_owned()),
        from: dice.some(moment).pop(),
        to: dice.some(moment).pop(),
        limit: ROWS,
        ..Filter::default()
    }
}

/// Whether a row is what is looked for, read word by word.
fn fits(row: &CallRow, filter: &Filter) -> bool {
    let any = |wanted: &[String], is: &dyn Fn(&str) -> bool| {
        wanted.is_empty() || wanted.iter().any(|wanted| is(wanted))
    };
    let domain = row.person.as_deref().and_then(domain_of);
    let time = Timestamp::parse(&row.time).expect("a time");
    any(&filter.persons, &|wanted| row.person.as_deref() == Some(wanted))
        && any(&filter.agents, &|wanted| row.agent.as_deref().unwrap_or(NO_AGENT) == wanted)
        && any(&filter.domains, &|wanted| match wanted {
            "(none)" => domain.is_none(),
            "bücher.example" => domain.as_deref() == Some("xn--bcher-kva.example"),
            wanted => domain.as_deref() == Some(&*wanted.to_lowercase()),
        })
        && any(&filter.servers, &|wanted| row.server.as_deref() == Some(wanted))
        && any(&filter.tools, &|wanted| row.target == wanted)
        && any(&filter.decisions, &|wanted| row.decision() == wanted)
        && any(&filter.outcomes, &|wanted| row.outcome.as_deref() == Some(wanted))
        && any(&filter.codes, &|wanted| row.code.as_deref() == Some(wanted))
        && any(&filter.dlp, &|wanted| row.dlp == wanted)
        && any(&filter.reasons, &|wanted| {
            row.reasons.iter().any(|reason| reason.to_lowercase().contains(&wanted.to_lowercase()))
        })
        && filter.from.is_none_or(|from| from <= time)
        && filter.to.is_none_or(|to| time < to)
}

#[test]
fn filters_together_find_the_rows_that_fit_all_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(Fixed::new(3));
    let options = Options { durability: Durability::Relaxed, ..Options::new(folder.path().join("log")) };
    let (ledger, _) = Ledger::open(options, Arc::clone(&clock) as Arc<dyn Clock>, &*clock).expect("opens");
    let dice = Dice(Fixed::new(11));
    let first = clock.now();
    for _ in 0..ROWS {
        write(&ledger, &clock, &dice);
    }
    let last = clock.now();
    ledger.flush().expect("written");
    let all = ledger.query(&Filter { limit: ROWS, ..Filter::default() }).expect("readable");
    assert_eq!(all.len(), ROWS);
    let mut found = 0;
    for _ in 0..QUESTIONS {
        let filter = question(&dice, first, last);
        let rows = ledger.query(&filter).expect("readable");
        let expected: Vec<_> = all.iter().filter(|row| fits(row, &filter)).collect();
        assert_eq!(rows.iter().collect::<Vec<_>>(), expected, "{filter:?}");
        found += rows.len();
        let few = ledger.query(&Filter { limit: 3, ..filter }).expect("readable");
        assert_eq!(few.iter().collect::<Vec<_>>(), expected[..expected.len().min(3)], "the newest");
    }
    assert!(found > ROWS, "the questions have answers");
    ledger.close();
}
