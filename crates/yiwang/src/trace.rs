//! The life of one message as JSON: what `yiwang trace --json` prints and the text for people is made from.

use serde_json::{Map, Value, json};
use yiwang_core::record::AlarmSeverity;
use yiwang_core::route::Fate;
use yiwang_core::rules::{Passed, Phase, Standing};
use yiwang_core::sample::Quality;
use yiwang_router::trace::{RuleTrace, Trace, Traced};
use yiwang_store::Store;

use crate::logs::record;

/// A trace as one JSON object.
pub fn to_json(trace: &Trace) -> Value {
    let (fate, reason) = fate(trace.fate);
    let (product, codec) = trace.codec.clone().unzip();
    json!({
        "raw": trace.raw.to_string(),
        "received": {
            "topic": "raw",
            "partition": trace.partition,
            "seq": trace.seq,
            "stored_at": trace.appended_at,
            "record": record("raw", &trace.key, &trace.value),
        },
        "configuration": trace.config.to_string(),
        "product_version": product,
        "codec_hash": codec.map(|codec| codec.to_string()),
        "fate": fate,
        "reason": reason,
        "outputs": trace.outputs.iter().map(output).collect::<Vec<_>>(),
        "rules": trace.rules.iter().map(rule).collect::<Vec<_>>(),
        "duplicates": trace.repeats,
        "replayed_from": trace.replayed_from,
        "exact": trace.exact,
    })
}

/// Adds to the signals of a trace what the centre made of each: outcome, incident and its state.
///
/// # Errors
/// If the store cannot be read.
pub async fn add_outcomes(store: &Store, told: &mut Value) -> Result<(), yiwang_store::Error> {
    let Some(outputs) = told["outputs"].as_array_mut() else { return Ok(()) };
    for output in outputs.iter_mut().filter(|output| output["of"] == "signals") {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (source, id) = (word(&output["record"]["source"]), word(&output["id"]));
        let known = store.known_signals(&[(&source, &id)]).await?;
        let Some(row) = known.into_iter().find(|row| row.signal.event_id == id) else { continue };
        let cases = store.cases(row.incident.as_slice()).await?;
        let incident = cases.first().map(|case| &case.incident);
        output["centre"] = json!({
            "outcome": row.outcome.as_str(),
            "reason": row.reason,
            "at": row.at,
            "incident": incident.map(|incident| &incident.no),
            "state": incident.map(|incident| incident.state.as_str()),
        });
    }
    Ok(())
}

fn fate(fate: Fate) -> (&'static str, Option<&'static str>) {
    match fate {
        Fate::Tick => ("TICK", None),
        Fate::Clear => ("CLEAR", None),
        Fate::Routed => ("ROUTED", None),
        Fate::Quarantined(reason) => ("QUARANTINED", Some(reason.as_str())),
        Fate::Duplicate => ("DUPLICATE", None),
        Fate::Rejected(reason) => ("REJECTED", Some(reason.as_str())),
    }
}

fn output(traced: &Traced) -> Value {
    let lies = traced
        .places
        .iter()
        .map(|at| json!({"topic": at.topic, "partition": at.partition, "seq": at.seq}));
    let output = &traced.output;
    json!({
        "of": output.stream.as_str(),
        "id": output.id,
        "record": record(output.stream.as_str(), output.device.as_bytes(), &output.value),
        "lies": lies.collect::<Vec<_>>(),
    })
}

fn rule(rule: &RuleTrace) -> Value {
    let judgement = &rule.judgement;
    json!({
        "device": rule.device,
        "rule": &*rule.after.rule,
        "when": rule.when,
        "looked": rule.looked,
        "judged": judgement.judged.as_str(),
        "passed": judgement.passed.iter().map(passed).collect::<Vec<_>>(),
        "late": judgement.behind.map(|behind| json!({
            "behind": behind,
            "joined": judgement.joined,
            "alone": judgement.alone.map(|alone| json!({"when": alone.when})),
        })),
        "before": rule.before.as_ref().map(standing),
        "after": standing(&rule.after),
        "held_by": rule.held_by.iter().map(|name| &**name).collect::<Vec<_>>(),
    })
}

/// A value that a rule reads and did not judge.
fn passed(passed: &Passed) -> Value {
    json!({
        "property": passed.identifier,
        "time": passed.t,
        "v": passed.value,
        "q": quality(passed.quality),
        "flags": passed.flags.names().collect::<Vec<_>>(),
        "why": passed.why.as_str(),
    })
}

/// As the records of readings have it.
const fn quality(quality: Quality) -> &'static str {
    match quality {
        Quality::Good => "",
        Quality::Uncertain => "UNCERTAIN",
        Quality::Over => "OVER",
        Quality::Bad => "BAD",
    }
}

fn standing(standing: &Standing) -> Value {
    let read = |read: &yiwang_core::rules::Read| {
        let value = read.value.map(|(value, time)| json!({"v": value, "time": time}));
        (read.identifier.clone(), value.unwrap_or_default())
    };
    json!({
        "phase": phase(standing.phase),
        "severity": AlarmSeverity::as_str(standing.severity),
        "since": standing.since,
        "when": standing.when,
        "clear": standing.clear,
        "open": standing.open,
        "proofs": standing.proofs,
        "held": standing.held,
        "flapping": standing.flapping,
        "reads": standing.reads.iter().map(read).collect::<Map<_, _>>(),
    })
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Normal => "NORMAL",
        Phase::Pending => "PENDING",
        Phase::Firing => "FIRING",
        Phase::Clearing => "CLEARING",
    }
}
