//! What one more rule on the same product costs a message, by kind of condition. One thread.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use yiwang_core::codec::{Message, Received, Scratch};
use yiwang_core::record::BodyKind;
use yiwang_core::rules::{Calendars, Context, DeviceRules, Mark, RuleSet, Sample};
use yiwang_core::sample::Samples;
use yiwang_core::thing::Product;

/// 2026-11-23 in ms: the benchmark's now.
const NOW: i64 = 1_795_399_200_000;

/// A product with so many rules of one condition, none of which is ever true.
fn many_rules(count: usize, when: &str) -> Product {
    let mut text = String::from(
        "schema: yiwang-thing/1\n\
         profile: {productKey: many-01, name: many, version: 1.0.0, kind: bench, nodeType: direct}\n\
         properties:\n\
         \x20 - {identifier: a, dataType: {type: double}}\n\
         \x20 - {identifier: b, dataType: {type: double}}\n\
         attributes: [{identifier: x, dataType: {type: double}, default: 99}]\n\
         liveness: {expectEvery: 5m}\nalarms:\n",
    );
    for number in 0..count {
        text += &format!(
            "  - {{id: r{number}, when: \"{when}\", hold: {{for: 1m}}, category: c, severity: {{base: MINOR}}}}\n"
        );
    }
    let (product, problems) = Product::load("many-01.thing.yaml", &text);
    product.unwrap_or_else(|| panic!("the product of the benchmark loads: {problems:?}"))
}

/// What one more rule costs a sample: the difference between the counts, divided by that of the rules.
fn one_more_rule(c: &mut Criterion) {
    let mut group = c.benchmark_group("one-more-rule");
    for (name, when) in [
        ("compare", "a > 99"),
        ("attribute", "a >= attr('x')"),
        ("and", "a > 99 and b < 3"),
        ("prev", "a - prev(a) > 99"),
        ("window", "avg(a, 10m) > 99"),
    ] {
        for count in [10, 100] {
            let product = many_rules(count, when);
            let (rules, _) = RuleSet::compile(&product, &Calendars::new());
            let rules = rules.expect("the rules of the benchmark compile");
            let cx = Context {
                rules: &rules,
                attributes: &[Some(99.0)],
                valid_for: rules.valid_for,
                clock_skew: 600_000,
                late_after: 86_400_000,
                held: false,
                windows: &[],
            };
            let (mut scratch, mut samples) = (Scratch::default(), Samples::default());
            let body = Message {
                kind: BodyKind::Property,
                path: "property",
                payload: br#"{"boot":1,"seq":9,"ts":1795399200000,"params":{"a":62.5,"b":7}}"#,
                received: Received::At(NOW),
            };
            product.decode(&body, &mut scratch, &mut samples).expect("the message fits");
            let values = samples.values_of(&samples.sets[0]);
            let (mut device, mut out, mut t) = (DeviceRules::new(&rules), Vec::new(), NOW);
            group.bench_function(format!("{name}, {count} rules"), |b| {
                b.iter(|| {
                    t += 1000;
                    let mark = Mark { t, raw: yiwang_core::ids::Id(0) };
                    let sample = Sample { mark, rx: t, values: black_box(values) };
                    device.sample(&cx, &sample, &mut out);
                });
            });
            assert!(out.is_empty(), "none of them is ever true");
        }
    }
    group.finish();
}

criterion_group!(benches, one_more_rule);
criterion_main!(benches);
