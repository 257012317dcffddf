//! `yiwang trace ID|raw/PARTITION/SEQ`: the life of one message, for people or as JSON; of a stopped folder, Kafka or a running hub.

use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use yiwang_router::trace::Wanted;
use yiwang_store::Store;

use super::inspect::{Admin, open};
use crate::cli::ConfigArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::{bundle, output, settings, trace};

/// Tells the life of a message.
///
/// # Errors
/// [`Failure::Config`] for a configuration that does not load, else if the log cannot be read either way.
pub async fn run(args: &ConfigArgs, id: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(args)?;
    let wanted = Wanted::parse(id).ok_or_else(|| {
        Failure::Config(format!(
            "{id} is no id: give the 32 hexadecimal digits of a raw record, reading or signal, or raw/PARTITION/SEQ"
        ))
    })?;
    let checked = bundle::check(&config, None)?;
    let bundle = checked.bundle.ok_or_else(|| {
        Failure::Config("the configuration has errors; see `yiwang check`".to_owned())
    })?;
    let told = match open(&config).await? {
        Some(log) => {
            let told = yiwang_router::trace::trace(&log, &bundle.router, wanted).await;
            log.close().await.context("failed to close the log")?;
            match told? {
                Some(told) => Some(with_outcomes(&config, trace::to_json(&told)).await),
                None => None,
            }
        }
        None => Admin::connect(&config, None).await?.trace(id).await?,
    };
    let Some(told) = told else {
        output::tell(format_args!("nothing that the log keeps is {id}"));
        return Ok(ExitCode::FAILURE);
    };
    if as_json {
        output::show(format_args!("{told:#}\n"))?;
    } else {
        output::show(Text { zone: bundle.district.zone().clone() }.of(&told))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A trace with what the centre made of its signals, if its store is within reach.
async fn with_outcomes(config: &Config, mut told: Value) -> Value {
    let added = async {
        let store = Store::open(&settings::store(config)?).await?;
        let added = trace::add_outcomes(&store, &mut told).await;
        store.close().await;
        anyhow::Ok(added?)
    };
    if let Err(error) = added.await {
        let what = "what the centre made of its signals is not known from here";
        output::tell(format_args!("{what}: {error:#}"));
    }
    told
}

/// Values that a rule passed over, named in a line at most.
const PASSED_MAX: usize = 6;

/// A trace for people.
struct Text {
    zone: TimeZone,
}

impl Text {
    fn of(&self, told: &Value) -> String {
        let received = &told["received"];
        let record = &received["record"];
        let mut lines = vec![
            line("message", &message(told, record)),
            line("received", &self.received(received)),
            line("payload", &text(&record["payload"])),
            line("decoded", &decoded(told)),
            line("fate", &[text(&told["fate"]), text(&told["reason"])].join(" ")),
        ];
        for output in list(&told["outputs"]) {
            lines.extend(self.output(output));
        }
        for rule in list(&told["rules"]) {
            lines.extend(self.rule(rule));
        }
        for seq in list(&told["duplicates"]) {
            lines.push(line("again", &format!("raw/{}/{seq}: a duplicate", received["partition"])));
        }
        lines.push(line("replayed", &replayed(told)));
        lines.join("\n") + "\n"
    }

    fn received(&self, received: &Value) -> String {
        let record = &received["record"];
        let at = self.clock(&record["received_at"]);
        let how = ["lane", "listener", "peer", "path"].map(|field| text(&record[field]));
        let how: Vec<_> = how.into_iter().filter(|word| !word.is_empty()).collect();
        let tick = record.get("tick").map(|origin| format!(", a tick of {}", text(origin)));
        let stored = self.clock(&received["stored_at"]);
        let lies = place(received);
        format!("{at} {}{}, {lies} stored {stored}", how.join(" "), tick.unwrap_or_default())
    }

    fn output(&self, output: &Value) -> Vec<String> {
        let record = &output["record"];
        let (name, said) = match output["of"].as_str() {
            Some("readings") => ("reading", self.reading(record)),
            Some("signals") => ("signal", self.signal(record)),
            _ => ("row", [text(&record["reason"]), text(&record["detail"])].join(": ")),
        };
        let lies: Vec<_> = list(&output["lies"]).iter().map(place).collect();
        let lies = if lies.is_empty() { "no longer kept".to_owned() } else { lies.join(", ") };
        let mut lines = vec![
            line(name, &format!("{} {said}", text(&output["id"]))),
            line("", &format!("lies at {lies}")),
        ];
        let centre = &output["centre"];
        if !centre.is_null() {
            let words = ["outcome", "reason", "incident", "state"].map(|it| text(&centre[it]));
            let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let at = self.clock(&centre["at"]);
            lines.push(line("", &format!("centre {at} {}", words.join(" "))));
        }
        lines
    }

    fn reading(&self, record: &Value) -> String {
        let values = record["values"].as_object().into_iter().flatten();
        let one = |(name, value): (&String, &Value)| {
            let marks = [text(&value["q"]), words(&value["flags"])];
            let marks: Vec<_> = marks.into_iter().filter(|mark| !mark.is_empty()).collect();
            let marks =
                if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(" ")) };
            format!("{name}={}{marks}", text(&value["v"]))
        };
        let values: Vec<_> = values.map(one).collect();
        format!("{} {}", self.clock(&record["time"]), values.join(", "))
    }

    fn signal(&self, record: &Value) -> String {
        let words = ["kind", "severity", "category", "cause", "text"].map(|it| text(&record[it]));
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        format!("{} {}", self.clock(&record["time"]), words.join(" "))
    }

    fn rule(&self, rule: &Value) -> Vec<String> {
        let name = format!("{} {}", text(&rule["device"]), text(&rule["rule"]));
        if rule["looked"] != true {
            return vec![line("rule", &format!("{name}: the message has nothing that it reads"))];
        }
        let said = match rule["judged"].as_str() {
            Some("LATE") => self.late(rule),
            Some("INVALID") => {
                let passed = self.passed(rule);
                format!("not judged, INVALID: no valid value of what it reads: {passed}")
            }
            Some("STRAY") => {
                let alone = "what is true and has no hold is raised and cleared at once";
                format!("STRAY: its device is judged in another partition; {alone}")
            }
            Some("OPERATOR") => "an operator's clear".to_owned(),
            _ => self.judged(rule),
        };
        vec![line("rule", &format!("{name}: {said}")), line("", &self.stands(rule))]
    }

    /// What a rule made of a sample, or of its time.
    fn judged(&self, rule: &Value) -> String {
        let after = &rule["after"];
        let reads = after["reads"].as_object().into_iter().flatten();
        let reads: Vec<_> =
            reads.map(|(name, value)| format!("{name}={}", text(&value["v"]))).collect();
        let when = text(&rule["when"]);
        let calendar = if after["open"] == false { ", outside of its calendar" } else { "" };
        let (is, clear) = (truth(&after["when"]), truth(&after["clear"]));
        let by = if rule["judged"] == "TIMER" { "moved by its timer; " } else { "" };
        let mut said = match reads.is_empty() {
            true => format!("`{when}` is judged by its timer{calendar}"),
            false => {
                let reads = reads.join(", ");
                format!("{by}`{when}` is {is}, clear is {clear}, with {reads}{calendar}")
            }
        };
        if !list(&rule["passed"]).is_empty() {
            said += &format!("; not judged: {}", self.passed(rule));
        }
        said
    }

    /// What a rule made of a message that is older than what it has seen.
    fn late(&self, rule: &Value) -> String {
        let (late, passed) = (&rule["late"], self.passed(rule));
        let seen = self.clock(&late["behind"]);
        let behind = format!("older than what the rules have seen, up to {seen}");
        let joined = if late["joined"] == true { ", and windows as far as they reach" } else { "" };
        match &late["alone"] {
            Value::Null => format!("not judged, LATE: {behind}; history only{joined}: {passed}"),
            alone => {
                let (when, is) = (text(&rule["when"]), truth(&alone["when"]));
                format!("LATE: {behind}; judged alone: `{when}` is {is} with {passed}")
            }
        }
    }

    /// Values that a rule reads and passed over, with why where it is not seen elsewhere.
    fn passed(&self, rule: &Value) -> String {
        let one = |passed: &Value| {
            let late = passed["why"] == "LATE" && rule["judged"] != "LATE";
            let late = if late { "LATE".to_owned() } else { String::new() };
            let marks = [late, text(&passed["q"]), words(&passed["flags"])];
            let marks: Vec<_> = marks.into_iter().filter(|mark| !mark.is_empty()).collect();
            let value = if passed["v"].is_null() { "" } else { "=" };
            let mut said = format!("{}{value}{}", text(&passed["property"]), text(&passed["v"]));
            if !marks.is_empty() {
                said += &format!(" ({})", marks.join(" "));
            }
            said + &format!(" of {}", self.clock(&passed["time"]))
        };
        let all = list(&rule["passed"]);
        let mut said: Vec<_> = all.iter().take(PASSED_MAX).map(one).collect();
        if all.len() > PASSED_MAX {
            said.push(format!("{} more", all.len() - PASSED_MAX));
        }
        said.join(", ")
    }

    /// Where a rule stood before and stands after; a message that it did not judge moved nothing.
    fn stands(&self, rule: &Value) -> String {
        let after = &rule["after"];
        let before = rule["before"]["phase"].as_str().unwrap_or("NORMAL (not heard before)");
        let idle = ["LATE", "INVALID", "STRAY"].iter().any(|word| rule["judged"] == *word);
        let now = text(&after["phase"]);
        let mut stands = if idle { format!("stays {now}") } else { format!("{before} -> {now}") };
        if !after["since"].is_null() {
            stands +=
                &format!(" {} since {}", text(&after["severity"]), self.clock(&after["since"]));
        }
        for (mark, says) in [("held", ", held back: maintenance"), ("flapping", ", flapping")] {
            if after[mark] == true {
                stands += says;
            }
        }
        for name in rule["held_by"].as_array().into_iter().flatten() {
            stands += &format!(" `{}`", text(name));
        }
        if after["phase"] == "PENDING" && after["proofs"] != 0 {
            stands += &format!(", {} true samples so far", after["proofs"]);
        }
        stands
    }

    fn clock(&self, millis: &Value) -> String {
        let at = millis.as_i64().and_then(|millis| Timestamp::from_millisecond(millis).ok());
        at.map_or_else(String::new, |at| {
            self.zone.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
        })
    }
}

fn line(name: &str, said: &str) -> String {
    format!("{name:<9} {said}").trim_end().to_owned()
}

/// The id and whose it is; what is no message of a device is named by its place alone.
fn message(told: &Value, record: &Value) -> String {
    match &record["device"] {
        Value::Null => "none of a device".to_owned(),
        device => format!("{} of {}", text(&told["raw"]), text(device)),
    }
}

fn decoded(told: &Value) -> String {
    let product = text(&told["product_version"]);
    let by = match product.is_empty() {
        true => "by nothing: no device is known".to_owned(),
        false => format!("by {product}, codec {}", text(&told["codec_hash"])),
    };
    format!("{by}, configuration {}", text(&told["configuration"]))
}

fn replayed(told: &Value) -> String {
    let from = &told["replayed_from"];
    match told["exact"] == true {
        true => format!("from {from}: exactly what the router did"),
        false => format!(
            "from {from} without what came before, which is expired: where rules stood may differ"
        ),
    }
}

fn place(at: &Value) -> String {
    format!("{}/{}/{}", text(&at["topic"]), at["partition"], at["seq"])
}

fn truth(value: &Value) -> &'static str {
    match value.as_bool() {
        Some(true) => "true",
        Some(false) => "false",
        None => "unknown",
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value) -> String {
    list(value).iter().map(text).collect::<Vec<_>>().join(" ")
}

/// A value without quotes; nothing for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
