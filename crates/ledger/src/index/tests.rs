//! An index fed from memory is the one that reading the log gives.

use std::fs::{self, File};
use std::path::Path;

use aws_lc_rs::hmac;
use bytes::Bytes;
use doorward_model::json::{Document, Limits};
use doorward_model::{CallId, ClientLabel, Outcome, Timestamp};
use rusqlite::types::Value;

use super::*;
use crate::canonical::{self, Draft};
use crate::merkle::Tree;
use crate::options::Capture;
use crate::record::{DecisionRecord, EventRecord, OutcomeRecord};
use crate::recover::Open;
use crate::secrets::Secrets;
use crate::writer::{End, Writer};

static CLIENT: ClientLabel = ClientLabel { name: String::new(), version: String::new() };

/// A decision with as little in it as there can be.
fn least() -> DecisionRecord<'static> {
    DecisionRecord {
        call: CallId::parse("0193a5b0-1111-7abc-8def-0123456789ab").expect("an id"),
        received: Timestamp::from_micros(1_000_000),
        operation: "tools/call",
        server: None,
        target: "",
        person: None,
        email: None,
        agent: None,
        grant: "",
        grant_kind: "",
        consumer: "",
        client: &CLIENT,
        session: None,
        ip: None,
        origin: "mcp",
        fingerprint: None,
        arguments: None,
        verdict: "allow",
        reasons: &[],
        layer: "",
        rule: None,
        bundle: "",
        input_digest: "",
        input: None,
        secrets: Secrets::default(),
        evaluator: "",
        shadow: &[],
        limits: &[],
        trace_id: None,
        terminal: None,
    }
}

fn end(outcome: Outcome) -> OutcomeRecord<'static> {
    OutcomeRecord {
        outcome,
        duration_us: 1_500,
        upstream_us: 1_000,
        bytes_in: 1,
        bytes_out: 2,
        upstream_status: None,
        error: None,
        code: None,
        dlp: "none",
        result: None,
    }
}

/// Entries of every kind, some of them awkward. Numbers are those they get in order.
fn entries() -> Vec<Draft> {
    let salt = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
    let long = "ä\u{1}\"".repeat(2_000);
    let arguments = Document::parse(
        Bytes::from_static(br#"{"target":"not this","kind":"event","of":3}"#),
        &Limits::default(),
    );
    let arguments = arguments.expect("valid");
    let full = DecisionRecord {
        server: Some("files"),
        target: "read \"it\"\n\\ and \u{1f512}",
        person: Some("ana,\"kind\":\"x\""),
        email: Some("Ana@Corp.Example"),
        agent: Some("coder"),
        consumer: &long,
        arguments: Some(arguments.root()),
        reasons: &["because\": ]".to_owned()],
        limits: &[("verdict".to_owned(), 4)],
        shadow: &[("outcome".to_owned(), "deny".to_owned())],
        ..least()
    };
    let decision = |record: &DecisionRecord<'_>| canonical::decision(record, &salt, Capture::Preview);
    let outcome = |of, record: &OutcomeRecord<'_>| {
        canonical::outcome((of, least().call), Timestamp::from_micros(2_000_000), record, false)
    };
    vec![
        decision(&least()),
        decision(&full),
        canonical::event(&EventRecord { kind: "started", reason: "outcome", ..EventRecord::default() }),
        outcome(
            1,
            &OutcomeRecord {
                error: Some(&long),
                code: Some("upstream-timeout"),
                dlp: "masked",
                ..end(Outcome::ToolError)
            },
        ),
        decision(&DecisionRecord {
            verdict: "deny",
            terminal: Some((Outcome::Denied, 9, Some("a \\ rule"))),
            ..least()
        }),
        decision(&DecisionRecord { terminal: Some((Outcome::RateLimited, 0, None)), ..least() }),
        outcome(0, &OutcomeRecord { result: Some(b"{}"), ..end(Outcome::Success) }),
        // Of a decision that the index took in long ago, and of none at all.
        outcome(1, &end(Outcome::Unknown)),
        outcome(77, &end(Outcome::Unknown)),
    ]
}

/// Every row, and how far they go.
fn dump(database: &Connection) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for sql in ["SELECT * FROM calls ORDER BY seq", "SELECT * FROM position"] {
        let mut statement = database.prepare(sql).expect("a statement");
        let columns = statement.column_count();
        let read = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
        rows.extend(read.expect("readable").map(|row| row.expect("a row")));
    }
    rows
}

fn index(folder: &Path) -> Index {
    Index::open(folder, 0, &[0; 32]).expect("opens")
}

#[test]
fn rows_handed_over_are_those_that_reading_gives() {
    for segment_bytes in [1 << 20, 4_000, 1] {
        for steps in [1, 2, 5, 100] {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir(segment::folder(folder.path())).expect("created");
            let begin =
                End { tree: Tree::default(), previous: [0; 32], segment: 0, length: 0, open: Open::new() };
            let writer = Writer::new(folder.path(), segment_bytes, begin, File::sync_data).expect("opens");
            let mut fed = index(folder.path());
            for drafts in entries().chunks(steps) {
                let places: Vec<_> =
                    drafts.iter().map(|draft| writer.place(draft, None).expect("placed")).collect();
                for place in &places {
                    writer.write(place).expect("written");
                }
                // What cannot be read has to come from memory.
                let away = folder.path().join("away");
                fs::rename(segment::folder(folder.path()), &away).expect("moved");
                fed.follow(writer.written(), writer.feed()).expect("followed");
                fs::rename(&away, segment::folder(folder.path())).expect("moved back");
            }
            let handed = dump(&fed.database);
            drop(fed);
            fs::remove_file(folder.path().join(FILE)).expect("removed");
            let mut read = index(folder.path());
            read.follow(writer.written(), &Feed::new(writer.written())).expect("followed");
            assert_eq!(handed, dump(&read.database), "{segment_bytes} bytes a segment, {steps} at once");
            assert_eq!(handed.len(), 5, "four calls and the position");
        }
    }
}
