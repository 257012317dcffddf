//! Reading `alarms`: structure only, expressions stay text.

use super::load_properties::duplicate;
use super::node::{Node, Report, Section};
use super::{
    AlarmSpec, Expression, Flap, Hold, LatePolicy, MissingPolicy, SeveritySpec, SeverityStep,
};
use crate::record::AlarmSeverity;

/// `alarms` of a product.
pub(super) fn list(report: &mut Report<'_>, top: &mut Section<'_>) -> Vec<AlarmSpec> {
    let mut alarms: Vec<AlarmSpec> = Vec::new();
    for node in top.list(report, "alarms") {
        let alarm = alarm(report, node);
        if alarms.iter().any(|other| other.id == alarm.id) {
            duplicate(report, node.line, "alarm rule", &alarm.id);
        }
        alarms.push(alarm);
    }
    alarms
}

fn alarm(report: &mut Report<'_>, node: &Node) -> AlarmSpec {
    let mut section = Section::open(report, node, "alarms[]");
    let id = section.text(report, "id");
    if !is_rule_id(&id) && !id.is_empty() {
        let message = format!("`{id}` is no rule id");
        report.error("BAD_NAME", node.line, message, "use 1 to 64 of a-z A-Z 0-9 _ -");
    }
    section.path = format!("alarms[] `{id}`");
    let when = expression(report, &mut section, "when");
    if when.is_none() {
        section.require(report, "when");
    }
    let category = section.require(report, "category");
    let late = section.read(report, "late", "history or raise", |node| {
        Some(match node.scalar()?.as_str() {
            "history" => LatePolicy::History,
            "raise" => LatePolicy::Raise,
            _ => return None,
        })
    });
    let missing = section.read(report, "missing", "reset, keep or clear", |node| {
        Some(match node.scalar()?.as_str() {
            "reset" => MissingPolicy::Reset,
            "keep" => MissingPolicy::Keep,
            "clear" => MissingPolicy::Clear,
            _ => return None,
        })
    });
    let name = section.read(report, "name", "text", Node::scalar);
    let alarm = AlarmSpec {
        name: name.unwrap_or_else(|| id.clone()),
        id: id.into(),
        when: when.unwrap_or(Expression { text: String::new(), line: node.line }),
        clear: expression(report, &mut section, "clear"),
        hold: hold(report, &mut section),
        clear_hold: section.duration(report, "clearHold"),
        quiet_clear: section.duration(report, "quietClear"),
        late: late.unwrap_or(LatePolicy::History),
        category: category.and_then(Node::scalar).unwrap_or_default().into(),
        category_line: category.map_or(node.line, |category| category.line),
        severity: severity(report, &mut section),
        missing: missing.unwrap_or(MissingPolicy::Reset),
        remind: section.duration(report, "remind"),
        flap: flap(report, &mut section),
        schedule: expression(report, &mut section, "schedule"),
        line: node.line,
    };
    section.finish(report);
    alarm
}

fn is_rule_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn expression(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    key: &'static str,
) -> Option<Expression> {
    section.read(report, key, "text that is not empty", |node| {
        let text = node.scalar()?;
        (!text.trim().is_empty()).then_some(Expression { text, line: node.line })
    })
}

fn hold(report: &mut Report<'_>, alarm: &mut Section<'_>) -> Hold {
    let mut hold = alarm.section(report, "hold");
    let duration = hold.duration(report, "for");
    let count = hold.count(report, "count");
    let of = hold.count(report, "of");
    let within = hold.duration(report, "within");
    let (line, path) = (hold.line, hold.path.clone());
    hold.finish(report);
    match (duration, count, of, within) {
        (None, None, None, None) => Hold::None,
        (Some(duration), None, None, None) if duration > 0 => Hold::For(duration),
        (None, Some(count), Some(of), None) if count <= of => Hold::CountOf { count, of },
        (None, Some(count), None, Some(within)) if within > 0 => {
            Hold::CountWithin { count, within }
        }
        _ => {
            report.error(
                "BAD_VALUE",
                line,
                format!("{path} is no way to hold"),
                "write {for: T}, {count: N, of: M} with N up to M, or {count: N, within: T}",
            );
            Hold::None
        }
    }
}

fn severity_of(node: &Node) -> Option<AlarmSeverity> {
    AlarmSeverity::parse(&node.scalar()?)
}

const SEVERITIES: &str = "INFO, MINOR, MAJOR or CRITICAL";

fn severity(report: &mut Report<'_>, alarm: &mut Section<'_>) -> SeveritySpec {
    let mut section = match alarm.require(report, "severity") {
        Some(node) => Section::open(report, node, &alarm.at("severity")),
        None => {
            return SeveritySpec { base: AlarmSeverity::Minor, steps: Vec::new(), step_down: true };
        }
    };
    section.require(report, "base");
    let base = section.read(report, "base", SEVERITIES, severity_of);
    let base = base.unwrap_or(AlarmSeverity::Minor);
    let step_down = section.truth(report, "stepDown").unwrap_or(true);
    let mut steps: Vec<SeverityStep> = Vec::new();
    let path = section.at("steps[]");
    for node in section.list(report, "steps") {
        let mut step = Section::open(report, node, &path);
        step.require(report, "is");
        let is = step.read(report, "is", SEVERITIES, severity_of).unwrap_or(base);
        let when = expression(report, &mut step, "when");
        if when.is_none() {
            step.require(report, "when");
        }
        let until = expression(report, &mut step, "until");
        step.finish(report);
        if is <= steps.last().map_or(base, |step| step.is) {
            report.error(
                "BAD_VALUE",
                node.line,
                format!("{path} does not go up"),
                "order the steps from least to worst, each above the base",
            );
        }
        let when = when.unwrap_or(Expression { text: String::new(), line: node.line });
        steps.push(SeverityStep { when, until, is, line: node.line });
    }
    section.finish(report);
    SeveritySpec { base, steps, step_down }
}

fn flap(report: &mut Report<'_>, alarm: &mut Section<'_>) -> Flap {
    let usual = Flap::default();
    let mut section = alarm.section(report, "flap");
    let flap = Flap {
        count: section.count(report, "count").unwrap_or(usual.count),
        within: section.duration(report, "within").unwrap_or(usual.within),
        quiet: section.duration(report, "quiet").unwrap_or(usual.quiet),
    };
    section.finish(report);
    flap
}
