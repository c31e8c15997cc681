//! `audit_log`, `audit_verify`, `audit_stats`, `usage`: what the log says.
//!
//! Without the scope `audit.read` a caller sees its own calls and nothing else,
//! not even how many others there were; and of those only such whose target exists
//! for it. A record knows whether a tool was hidden or is not there at all, which the
//! caller must not learn.

use std::sync::Arc;

use doorward_ledger::{Dimensions, Filter, NO_AGENT, NO_PERSON, Usage};
use doorward_model::json::Value;
use doorward_model::{Timestamp, Verdict};
use serde_json::json;

use super::{Failure, pretty, text};
use crate::ops::may_read;
use crate::pipeline::Asked;
use crate::record;

/// Lets a caller see whole arguments and results, where they were kept.
const READ_PAYLOADS: &str = "audit.payload.read";
const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 1_000;

/// A filter that reaches no further than the caller's own calls, unless it may read all.
fn reach(asked: &Asked<'_>) -> Filter {
    let mut filter = Filter::default();
    let caller = asked.caller;
    if !may_read(caller) {
        filter.consumer = Some(caller.consumer().to_owned());
        // Many people may have the same agent, and one person many.
        filter.persons = vec![caller.person.as_ref().map_or(NO_PERSON, |person| &person.id).to_owned()];
        filter.agents = vec![caller.agent.as_ref().map_or(NO_AGENT, |agent| &agent.id).to_owned()];
        let told = [Verdict::Allow, Verdict::Deny, Verdict::Approve];
        filter.verdicts = told.map(|verdict| record::verdict(verdict).to_owned()).to_vec();
    }
    filter
}

/// Narrows `filter` to one consumer; `None` when that leaves nothing to see.
fn narrowed(mut filter: Filter, consumer: Option<&str>) -> Option<Filter> {
    match (consumer, &filter.consumer) {
        (Some(asked), Some(own)) if asked != own => None,
        (Some(asked), _) => {
            filter.consumer = Some(asked.to_owned());
            Some(filter)
        }
        (None, _) => Some(filter),
    }
}

/// Reads the log off the threads that serve calls.
async fn read<T: Send + 'static>(
    asked: &Asked<'_>,
    work: impl FnOnce(&doorward_ledger::Ledger) -> Result<T, doorward_ledger::LedgerError> + Send + 'static,
) -> Result<T, Failure> {
    let ledger = asked.gateway.ledger.clone();
    let turn = asked.gateway.readings.turn().await;
    let done = tokio::task::spawn_blocking(move || {
        // Until it is done: that nobody waits for it any more does not end it.
        let _turn = turn;
        work(&ledger)
    })
    .await;
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::Input(format!("the audit log cannot be read: {error}"))),
        Err(_) => Err(Failure::Input("the audit log cannot be read".to_owned())),
    }
}

pub(super) async fn log(asked: &Asked<'_>, arguments: Option<Value<'_>>) -> Result<String, Failure> {
    let time = |key: &str| {
        let parsed = text(arguments, key).map(|text| Timestamp::parse(&text)).transpose();
        parsed.map_err(|error| Failure::Input(format!("`{key}`: {error}")))
    };
    let limit = match arguments.and_then(|arguments| arguments.get("limit")) {
        None => DEFAULT_LIMIT,
        Some(limit) => limit
            .as_i64()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| Failure::Input(format!("`limit` must be 1 to {MAX_LIMIT}")))?,
    };
    let Some(mut filter) = narrowed(reach(asked), text(arguments, "consumerId").as_deref()) else {
        return Ok("[]".to_owned());
    };
    filter.from = time("from")?;
    filter.to = time("to")?;
    filter.servers.extend(text(arguments, "serverId").map(std::borrow::Cow::into_owned));
    filter.tools.extend(text(arguments, "tool").map(std::borrow::Cow::into_owned));
    if let Some(status) = text(arguments, "status") {
        let status = status.parse().map_err(|_| {
            Failure::Input("`status` must be one of success, error, denied, rate-limited".to_owned())
        })?;
        filter.status = Some(status);
    }
    filter.limit = usize::try_from(limit).unwrap_or(50);
    let (payloads, may_read) = (asked.caller.has_scope(READ_PAYLOADS), may_read(asked.caller));
    let rows = read(asked, move |ledger| {
        let mut rows = ledger.query(&filter)?;
        if payloads {
            rows.iter_mut().try_for_each(|row| ledger.reveal(row))?;
        }
        Ok(rows)
    })
    .await?;
    let mut rows: Vec<_> = rows.iter().map(doorward_ledger::CallRow::to_json).collect();
    if !may_read {
        rows.iter_mut().for_each(without_place);
    }
    Ok(pretty(&serde_json::Value::Array(rows)))
}

/// Takes out where in the log a record stands: that counts everybody's calls.
fn without_place(row: &mut serde_json::Value) {
    if let Some(row) = row.as_object_mut() {
        row.retain(|member, _| !matches!(member.as_str(), "seq" | "hash" | "prevHash"));
    }
}

pub(super) async fn verify(asked: &Asked<'_>) -> Result<String, Failure> {
    let (gateway, may_read) = (asked.gateway, may_read(asked.caller));
    let turn = gateway.readings.turn_to_verify().await;
    // It reads the whole log, which is not to be had for the asking.
    if !may_read && let Some(is_valid) = turn.lately(gateway.clock.elapsed()) {
        return Ok(pretty(&json!({ "valid": is_valid })));
    }
    let clock = Arc::clone(&gateway.clock);
    let report = read(asked, move |ledger| {
        let report = ledger.verify()?;
        turn.found(report.is_valid(), clock.elapsed());
        Ok(report)
    })
    .await?;
    if !may_read {
        return Ok(pretty(&json!({ "valid": report.is_valid() })));
    }
    let mut answer = json!({ "valid": report.is_valid(), "checked": report.entries, "head": report.head });
    if let Some(bad) = report.first_bad() {
        answer["brokenAt"] = json!(bad);
    }
    Ok(pretty(&answer))
}

pub(super) async fn stats(asked: &Asked<'_>) -> Result<String, Failure> {
    let filter = reach(asked);
    let stats = read(asked, move |ledger| ledger.stats(&filter)).await?;
    Ok(pretty(&stats.to_json()))
}

pub(super) async fn usage(asked: &Asked<'_>, arguments: Option<Value<'_>>) -> Result<String, Failure> {
    let Some(filter) = narrowed(reach(asked), text(arguments, "consumerId").as_deref()) else {
        return Err(Failure::Input("the usage of other consumers needs the scope audit.read".to_owned()));
    };
    // Without metering every number is zero.
    let Some(dimensions) = asked.snapshot.rulebook.metering else {
        return Ok(pretty(&Usage::default().to_json(Dimensions::ALL)));
    };
    let usage = read(asked, move |ledger| ledger.usage(&filter)).await?;
    Ok(pretty(&usage.to_json(dimensions)))
}
