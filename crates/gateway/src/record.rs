//! From what a call carries to what the ledger writes.

use doorward_ledger::{DecisionRecord, LedgerError, OutcomeRecord, Secrets, Ticket};
use doorward_model::{Decision, Operation, Outcome, Verdict};
use doorward_policy::Ruling;

use crate::pipeline::Asked;
use crate::stage::authorize::Permitted;
use crate::stage::{Refusal, Refused};

/// An outcome about which nothing more is known.
pub(crate) fn outcome(outcome: Outcome) -> OutcomeRecord<'static> {
    OutcomeRecord {
        outcome,
        duration_us: 0,
        upstream_us: 0,
        bytes_in: 0,
        bytes_out: 0,
        upstream_status: None,
        error: None,
        code: None,
        dlp: "none",
        result: None,
    }
}

/// The record of an allowed call, handed to `write`; `used` says how many of each quota are.
pub(crate) fn decision(
    permitted: &Permitted<'_>,
    used: &[(String, u64)],
    write: impl FnOnce(&DecisionRecord<'_>) -> Result<Ticket, LedgerError>,
) -> Result<Ticket, LedgerError> {
    let resolved = permitted.resolved();
    let ruling = permitted.ruling();
    let shadow = shadow(ruling);
    let mut record = base(resolved.asked(), resolved.operation(), resolved.target(), &ruling.decision);
    record.server = Some(resolved.server().id.as_str());
    record.fingerprint = resolved.capability().map(|capability| &*capability.fingerprint);
    record.arguments = resolved.arguments();
    record.input_digest = &permitted.input().digest;
    record.input = permitted.input().document.as_deref();
    record.evaluator = ruling.evaluator;
    record.shadow = &shadow;
    record.limits = used;
    write(&record)
}

/// The record of a refused call: decision and end in one.
pub(crate) fn refusal(
    refused: &Refused<'_>,
    decision: &Decision,
    outcome: Outcome,
    duration_us: u64,
    write: impl FnOnce(&DecisionRecord<'_>) -> Result<Ticket, LedgerError>,
) -> Result<Ticket, LedgerError> {
    let shadow = refused.ruling.as_ref().map(shadow).unwrap_or_default();
    let mut record = base(&refused.asked, refused.operation, &refused.place.target, decision);
    record.server = refused.place.server.as_ref().map(|server| server.id.as_str());
    record.fingerprint = refused.place.fingerprint.as_deref();
    record.arguments = refused.arguments;
    record.input_digest = &refused.input.digest;
    record.input = refused.input.document.as_deref();
    record.evaluator = refused.ruling.as_ref().map_or("", |ruling| ruling.evaluator);
    record.shadow = &shadow;
    record.terminal = Some((outcome, duration_us, None));
    if let Refusal::Exhausted { used, .. } = &refused.refusal {
        record.limits = used;
    }
    write(&record)
}

fn shadow(ruling: &Ruling) -> Vec<(String, String)> {
    ruling.shadow.iter().map(|(name, decision)| (name.clone(), decision.verdict.to_string())).collect()
}

fn base<'r>(
    asked: &'r Asked<'_>,
    operation: Operation,
    target: &'r str,
    decision: &'r Decision,
) -> DecisionRecord<'r> {
    let caller = asked.caller;
    DecisionRecord {
        call: asked.call,
        received: asked.incoming.received,
        operation: operation.as_str(),
        server: None,
        target,
        person: caller.person.as_ref().map(|person| person.id.as_str()),
        email: caller.person.as_ref().and_then(|person| person.email.as_deref()),
        agent: caller.agent.as_ref().map(|agent| agent.id.as_str()),
        grant: &caller.grant.id,
        grant_kind: caller.grant.kind.as_str(),
        consumer: caller.consumer(),
        client: &asked.client,
        session: asked.incoming.session.as_ref().map(|session| &*session.id),
        ip: asked.incoming.arrival.ip,
        origin: asked.incoming.arrival.origin,
        fingerprint: None,
        arguments: None,
        verdict: verdict(decision.verdict),
        reasons: &decision.reasons,
        layer: decision.layer.as_str(),
        rule: decision.rule.as_deref(),
        bundle: asked.snapshot.rulebook.policy.digest(),
        input_digest: "",
        input: None,
        secrets: Secrets {
            known: Some(&asked.snapshot.rulebook.known),
            presented: asked.incoming.arrival.presented().bearer,
        },
        evaluator: "",
        shadow: &[],
        limits: &[],
        trace_id: Some(&asked.trace.id),
        terminal: None,
    }
}

/// The word for a verdict in records.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approve => "approval_required",
        verdict => verdict.as_str(),
    }
}
