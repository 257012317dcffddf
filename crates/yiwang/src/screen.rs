//! What a duty desk sees of the stream, as lines of text for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use yiwang_proto::incident::v1;

/// Turns stream items into lines, in the district's time.
pub struct Screen {
    zone: TimeZone,
}

impl Screen {
    /// A screen in a time zone.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    /// The line of an open incident of the snapshot.
    pub fn standing(&self, incident: &v1::Incident) -> String {
        let at = self.clock(incident.report_time.as_ref());
        format!("{at} 【在办】{}", about(incident))
    }

    /// The line of a change.
    pub fn change(&self, change: &v1::Change) -> String {
        let at = self.clock(change.time.as_ref());
        let incident = change.incident.clone().unwrap_or_default();
        let mut line = format!("{at} 【{}】{}", action_name(&change.action), about(&incident));
        match change.action.as_str() {
            "DISPATCH" | "CLIMB" | "REASSIGN" => {
                line.push_str(&format!("｜主办 {}", unit_name(incident.lead.as_ref())));
                if let Some(due) = lead_task(&incident).and_then(|task| task.due_time.as_ref()) {
                    line.push_str(&format!("｜签收时限 {}", self.clock(Some(due))));
                }
            }
            "ACKNOWLEDGE" | "FEED_BACK" | "START_CHECK" | "CLOSE" | "TASK_DONE" | "TASK_ACK" => {
                let actor = change.actor.clone().unwrap_or_default();
                line.push_str(&format!("｜{} {}", unit_name(actor.unit.as_ref()), actor.person));
            }
            _ => {}
        }
        if matches!(change.action.as_str(), "CLOSE" | "AUTO_CHECK") {
            line.push_str(if incident.on_time == Some(true) { "｜按期" } else { "｜超期" });
        }
        line
    }

    /// A time of day.
    pub fn clock(&self, time: Option<&prost_types::Timestamp>) -> String {
        let at = time.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok()).unwrap_or_default();
        self.zone.to_datetime(at).strftime("%H:%M:%S").to_string()
    }
}

fn about(incident: &v1::Incident) -> String {
    let place = incident.place.clone().unwrap_or_default();
    let names: Vec<_> = [&place.town, &place.village]
        .into_iter()
        .flatten()
        .map(|unit| {
            unit.display_name.trim_end_matches("城运中心").trim_end_matches("工作站").to_owned()
        })
        .collect();
    format!(
        "{} {}（{}）｜{}",
        incident.no,
        incident.category_display_name,
        severity(incident),
        names.join(" · ")
    )
}

fn severity(incident: &v1::Incident) -> &'static str {
    match incident.severity() {
        v1::Severity::Critical => "特急",
        v1::Severity::Major => "紧急",
        v1::Severity::Minor => "一般",
        _ => "提示",
    }
}

fn unit_name(unit: Option<&v1::UnitRef>) -> &str {
    unit.map_or("", |unit| unit.display_name.as_str())
}

fn lead_task(incident: &v1::Incident) -> Option<&v1::Task> {
    incident.tasks.iter().rev().find(|task| task.role() == v1::TaskRole::Lead)
}

/// The name of an action for people.
pub fn action_name(action: &str) -> &str {
    match action {
        "REPORT" => "上报",
        "ACCEPT" => "受理",
        "DECLINE" => "不予受理",
        "FILE" => "立案",
        "DISPATCH" => "派遣",
        "ACKNOWLEDGE" => "签收",
        "RETURN" => "退单",
        "REASSIGN" => "改派",
        "CLIMB" => "上提",
        "FEED_BACK" => "反馈",
        "START_CHECK" => "核查",
        "CLOSE" => "结案",
        "AUTO_CHECK" => "自动核查结案",
        "REWORK" => "返工",
        "ATTACH_SIGNAL" => "并入信号",
        "CLEAR_SIGNAL" => "告警恢复",
        "COMMENT" => "备注",
        "TASK_ACK" => "协办签收",
        "TASK_DONE" => "协办完成",
        "ADD_ASSIST" => "增加协办",
        "WAIVE_ASSIST" => "免除协办",
        "REQUEST" => "申请退单",
        "DENY" => "驳回申请",
        "REQUEST_STEP" => "申请流转",
        "RUNG" => "时限提醒",
        other => other,
    }
}
