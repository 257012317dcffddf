//! What a trace says of messages that rules did not judge, or not as they came: late, invalid, alone, by a timer.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

#[expect(dead_code, reason = "no router runs here: a trace needs what lies on the log alone")]
mod support;

use std::sync::{Arc, LazyLock};

use yiwang_core::ids::key_hash;
use yiwang_core::record::Clear;
use yiwang_core::routes::Stream;
use yiwang_core::rules::{Alone, Judged, Phase};
use yiwang_core::sample::{Flags, Quality};
use yiwang_log::{Batch, Log, Route};
use yiwang_proto::wire::write_clear;
use yiwang_router::Bundle;
use yiwang_router::trace::{RuleTrace, Trace, Wanted, trace};

use support::{START, folder, push_placed};

const WATER: &str = "wl-radar-01/R-0001";
const SMOKE: &str = "smoke-01/S-0001";
const MINUTE: i64 = 60_000;

static BUNDLE: LazyLock<Arc<Bundle>> = LazyLock::new(|| {
    let mut files = folder("products");
    let csv = "product_key,device_name,area_code,secret\n\
        wl-radar-01,R-0001,310118001001,demo-secret-of-R-0123456789\n\
        smoke-01,S-0001,310118001001,demo-secret-of-S-0123456789\n";
    files.insert("devices.csv".to_owned(), csv.to_owned());
    let (bundle, problems) = Bundle::load(&folder("district"), &files);
    bundle.unwrap_or_else(|| panic!("{problems:?}"))
});

/// A log on which one device speaks; every message is received a second after the one before.
struct Talk {
    log: Log,
    device: &'static str,
    said: i64,
}

impl Talk {
    fn of(device: &'static str) -> Self {
        Self { log: support::open(11, 0.0, &BUNDLE), device, said: 0 }
    }

    /// Says it, and tells what became of it.
    async fn say(&mut self, body: &str) -> Trace {
        let (now, body) = (self.now(), format!(r#"{{"boot":1,"seq":{},{body}}}"#, self.said));
        let mut batch = Batch::new();
        push_placed(&self.log, &mut batch, (self.device, self.device), now, &body);
        self.append(batch).await
    }

    /// One set of values, so many minutes after the start.
    async fn report(&mut self, minutes: i64, params: &str) -> Trace {
        let ts = START + minutes * MINUTE;
        self.say(&format!(r#""ts":{ts},"params":{{{params}}}"#)).await
    }

    async fn clear(&mut self, rule: &str) -> Trace {
        let (device, actor, reason, received_at) = (self.device, "admin", "r", self.now());
        let clear = Clear { device, rule, actor, reason, received_at };
        let mut batch = Batch::new();
        let route = Route::Key { hash: key_hash(device) };
        let topic = self.log.topic("raw").unwrap();
        batch.push_with(topic, route, device.as_bytes(), &[], |out| write_clear(&clear, out));
        self.append(batch).await
    }

    fn now(&mut self) -> i64 {
        self.said += 1;
        START + self.said * 1000
    }

    async fn append(&self, batch: Batch) -> Trace {
        self.log.writer().append(batch).await.unwrap().safe().await.unwrap();
        let partition = self.log.partition_of("raw", key_hash(self.device));
        let seq = self.log.head("raw", partition).await.unwrap() - 1;
        let told = trace(&self.log, &BUNDLE, Wanted::At { partition, seq }).await.unwrap();
        told.expect("it lies there")
    }
}

fn rule<'t>(told: &'t Trace, id: &str) -> &'t RuleTrace {
    told.rules.iter().find(|rule| &*rule.after.rule == id).expect("the product has it")
}

fn judged(told: &Trace, id: &str) -> Judged {
    rule(told, id).judgement.judged
}

/// Value, minute and why of what a rule passed over.
fn passed(told: &Trace, id: &str) -> Vec<(Option<f64>, i64, Judged)> {
    let passed = rule(told, id).judgement.passed.iter();
    passed.map(|it| (it.value, (it.t - START) / MINUTE, it.why)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_in_order_is_judged() {
    let mut talk = Talk::of(WATER);
    let told = talk.report(0, r#""level":3.6,"colour":"red""#).await;
    assert_eq!((judged(&told, "high-level"), judged(&told, "silent")), both(Judged::Sample));
    assert!(passed(&told, "silent").is_empty(), "a valid value beside it ended the silence");
    let again = talk.report(0, r#""level":3.6"#).await;
    assert_eq!(judged(&again, "high-level"), Judged::Sample, "the same instant is in order");
    let battery = talk.report(1, r#""battery":12"#).await;
    assert_eq!(judged(&battery, "high-level"), Judged::Nothing);
    assert!(!rule(&battery, "high-level").looked && rule(&battery, "silent").looked);
}

#[tokio::test(start_paused = true)]
async fn what_is_late_is_history() {
    let mut talk = Talk::of(WATER);
    talk.report(0, r#""level":3.6"#).await;
    let late = talk.report(-2, r#""level":3.9"#).await;
    assert_eq!((judged(&late, "high-level"), judged(&late, "silent")), both(Judged::Late));
    let high = rule(&late, "high-level");
    assert!(high.looked && high.before.as_ref() == Some(&high.after), "{high:?}");
    assert_eq!(high.judgement.behind, Some(START));
    assert_eq!(high.judgement.alone, None, "it does not raise late");
    assert_eq!(passed(&late, "high-level"), [(Some(3.9), -2, Judged::Late)]);
    let beside = talk.report(-1, r#""battery":12"#).await;
    assert_eq!(judged(&beside, "high-level"), Judged::Nothing);
    let late_and_invalid = talk.report(-1, r#""level":13,"battery":12"#).await;
    assert_eq!(judged(&late_and_invalid, "high-level"), Judged::Invalid);
    assert_eq!(judged(&late_and_invalid, "silent"), Judged::Late);
}

#[tokio::test(start_paused = true)]
async fn what_raises_late_is_judged_alone() {
    let mut talk = Talk::of(SMOKE);
    talk.report(0, r#""smoke":false"#).await;
    let quiet = talk.report(-40, r#""smoke":false"#).await;
    assert_eq!(judged(&quiet, "smoke"), Judged::Late);
    assert_eq!(rule(&quiet, "smoke").judgement.alone, Some(Alone { when: Some(false) }));
    let ts = |minutes: i64| START + minutes * MINUTE;
    let items = format!(
        r#""items":[{{"ts":{},"params":{{"smoke":true}}}},{{"ts":{},"params":{{"smoke":false}}}}]"#,
        ts(-30),
        ts(-29)
    );
    let smoke = talk.say(&items).await;
    let signals = smoke.outputs.iter().filter(|it| it.output.stream.as_str() == "signals");
    assert_eq!(signals.count(), 2, "raised and cleared at once");
    assert_eq!(judged(&smoke, "smoke"), Judged::Late, "it is no timer that said so");
    assert_eq!(rule(&smoke, "smoke").judgement.alone, Some(Alone { when: Some(true) }));
    let after = talk.report(-20, r#""smoke":true"#).await;
    assert_eq!(judged(&after, "smoke"), Judged::Late);
    assert_eq!(rule(&after, "smoke").judgement.alone, None, "something newer was told");
    assert_eq!(judged(&after, "low-battery"), Judged::Nothing);
}

#[tokio::test(start_paused = true)]
async fn what_is_invalid_is_no_sample() {
    let mut talk = Talk::of(WATER);
    let beyond = talk.report(0, r#""level":13"#).await;
    assert_eq!((judged(&beyond, "high-level"), judged(&beyond, "silent")), both(Judged::Invalid));
    assert_eq!(passed(&beyond, "high-level"), [(Some(13.0), 0, Judged::Invalid)]);
    assert!(rule(&beyond, "high-level").judgement.passed[0].flags.has(Flags::OUT_OF_RANGE));
    let bad = talk.report(1, r#""level":{"v":3.6,"q":"bad"},"battery":12"#).await;
    assert_eq!(judged(&bad, "high-level"), Judged::Invalid);
    assert_eq!(rule(&bad, "high-level").judgement.passed[0].quality, Quality::Bad);
    assert_eq!(judged(&bad, "silent"), Judged::Sample, "the battery is fine");
    let text = talk.report(2, r#""level":"high","battery":12"#).await;
    assert_eq!(passed(&text, "high-level"), [(None, 2, Judged::Invalid)]);
    assert!(rule(&text, "high-level").judgement.passed[0].flags.has(Flags::BAD_TYPE));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_judged_by_any_set_of_it() {
    let mut talk = Talk::of(WATER);
    talk.report(0, r#""level":3.0"#).await;
    let item = |minutes: i64, level: f64| {
        let ts = START + minutes * MINUTE;
        format!(r#"{{"ts":{ts},"params":{{"level":{level}}}}}"#)
    };
    let items = |all: &[(i64, f64)]| {
        let all: Vec<_> = all.iter().map(|(minutes, level)| item(*minutes, *level)).collect();
        format!(r#""items":[{}]"#, all.join(","))
    };
    let mixed = talk.say(&items(&[(-2, 3.9), (1, 3.6), (2, 13.0)])).await;
    assert_eq!(judged(&mixed, "high-level"), Judged::Sample);
    let expected = [(Some(3.9), -2, Judged::Late), (Some(13.0), 2, Judged::Invalid)];
    assert_eq!(passed(&mixed, "high-level"), expected);
    assert_eq!(rule(&mixed, "high-level").after.phase, Phase::Pending);
    let old = talk.say(&items(&[(-3, 13.0), (-1, 3.9)])).await;
    assert_eq!(judged(&old, "high-level"), Judged::Late);
    assert_eq!(rule(&old, "high-level").judgement.behind, Some(START + MINUTE), "not the invalid");
}

#[tokio::test(start_paused = true)]
async fn who_else_moves_a_rule_is_told() {
    let mut talk = Talk::of(WATER);
    talk.report(0, r#""level":3.6"#).await;
    talk.report(5, r#""level":3.6"#).await;
    let battery = talk.report(10, r#""battery":12"#).await;
    assert_eq!(rule(&battery, "high-level").after.phase, Phase::Firing);
    assert_eq!(judged(&battery, "high-level"), Judged::Timer, "its hold ended meanwhile");
    let cleared = talk.clear("high-level").await;
    assert_eq!(rule(&cleared, "high-level").after.phase, Phase::Normal);
    assert_eq!(judged(&cleared, "high-level"), Judged::Operator);
    assert_eq!(judged(&cleared, "silent"), Judged::Nothing);
}

const fn both(judged: Judged) -> (Judged, Judged) {
    (judged, judged)
}

/// It was written before the device was bound to another: that one's partition judges it.
#[tokio::test(start_paused = true)]
async fn what_lies_in_another_partition_is_told_as_history() {
    let talk = Talk::of(SMOKE);
    let place = (0..).map(|n| format!("p/{n}"));
    let of = |device: &str| talk.log.partition_of("raw", key_hash(device));
    let elsewhere = place.into_iter().find(|place| of(place) != of(SMOKE)).unwrap();
    let mut batch = Batch::new();
    let body = format!(r#"{{"boot":1,"seq":1,"ts":{START},"params":{{"smoke":true}}}}"#);
    push_placed(&talk.log, &mut batch, (SMOKE, &elsewhere), START + 1000, &body);
    talk.log.writer().append(batch).await.unwrap().safe().await.unwrap();
    let (partition, seq) = (of(&elsewhere), 0);
    let told = trace(&talk.log, &BUNDLE, Wanted::At { partition, seq }).await.unwrap().unwrap();
    assert_eq!(judged(&told, "smoke"), Judged::Stray);
    assert_eq!(rule(&told, "smoke").after.phase, Phase::Normal, "it stands nowhere here");
    let signals = told.outputs.iter().filter(|it| it.output.stream == Stream::Signals).count();
    assert_eq!(signals, 2, "raised and cleared");
}
