//! Signal texts for people: what was measured and what it was compared with, in one short line.

use std::fmt::Write as _;

use super::Condition;
use super::machine::Moment;
use super::memory::Slot;
use super::model::{PropertyKind, PropertyModel};
use crate::record::{Millis, SignalKind};
use crate::short::Short;

/// Most properties named in one text.
const NAMED_MAX: usize = 3;

/// E.g. `水位 3.61 m（阈值 3.5）`.
pub(super) fn signal(moment: &Moment<'_>, kind: SignalKind) -> String {
    if let Condition::Absent(ms) = moment.rule.condition {
        return if kind == SignalKind::Clear {
            "已恢复上报".to_owned()
        } else {
            format!("{}无有效读数", span(ms))
        };
    }
    let mut text = String::new();
    let slots = moment.memory.slots.iter().zip(&moment.cx.rules.properties).enumerate();
    let read = slots.filter(|(slot, _)| moment.rule.mask & (1 << slot) != 0);
    for (_, (slot, property)) in read.take(NAMED_MAX) {
        if !text.is_empty() {
            text.push('，');
        }
        value(&mut text, slot, property);
    }
    let threshold = moment.rule.threshold.as_ref().map(|threshold| threshold.run(&moment.inputs()));
    if let Some(threshold) = threshold.filter(|threshold| threshold.is_finite()) {
        let _ = write!(text, "（阈值 {}）", short(threshold));
    }
    text
}

fn value(text: &mut String, slot: &Slot, property: &PropertyModel) {
    text.push_str(&property.name);
    if slot.value.is_nan() {
        text.push_str(" 未知");
        return;
    }
    match &property.kind {
        PropertyKind::Bool => text.push_str(if slot.value == 1.0 { "：是" } else { "：否" }),
        PropertyKind::Enum(values) => {
            let word = values.get(slot.value as usize).map_or("?", String::as_str);
            let _ = write!(text, " {word}");
        }
        PropertyKind::Number | PropertyKind::Opaque => {
            let _ = write!(text, " {}", short(slot.value));
            if !property.unit.is_empty() {
                let _ = write!(text, " {}", property.unit);
            }
        }
    }
}

/// At most three decimals, no trailing zeros.
fn short(value: f64) -> String {
    if let Some(decimal) = Short::of(value).filter(|decimal| decimal.decimals() <= 3) {
        return decimal.to_string();
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn span(ms: Millis) -> String {
    match ms {
        ms if ms % 86_400_000 == 0 => format!("{} 天", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{} 小时", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{} 分钟", ms / 60_000),
        ms => format!("{} 秒", ms / 1_000),
    }
}
