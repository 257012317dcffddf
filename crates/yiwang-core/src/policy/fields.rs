//! The fields of a policy, each perhaps unsaid, and how they are overlaid.

use std::sync::Arc;

use super::budget::Span;
use super::{Assist, Evidence, Lead};
use crate::district::Tier;

/// Declares the fields once: their types, their names in the file and their overlay.
macro_rules! fields {
    ($($name:ident: $type:ty = $word:literal,)+) => {
        /// What one policy of the file says.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Fields { $(pub(crate) $name: Option<$type>,)+ }

        /// For each field the number of the policy that said it last.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Origins { $(pub(crate) $name: Option<u16>,)+ }

        impl Fields {
            /// Lays a more specific policy on top.
            pub(crate) fn overlay(&mut self, other: &Self, number: u16, origins: &mut Origins) {
                $(if let Some(value) = &other.$name {
                    self.$name = Some(value.clone());
                    origins.$name = Some(number);
                })+
            }
        }

        impl Origins {
            /// Every field that somebody said, with the number of the policy.
            pub(crate) fn said(&self) -> impl Iterator<Item = (&'static str, u16)> {
                [$((($word), self.$name),)+]
                    .into_iter()
                    .filter_map(|(word, number)| Some((word, number?)))
            }
        }
    };
}

fields! {
    start_tier: Tier = "start_tier",
    lead: Lead = "lead",
    assists: Vec<Assist> = "assists",
    ack: Span = "ack",
    handle: Span = "handle",
    incident: Span = "incident",
    milestones: Vec<(String, Span)> = "milestones",
    calendar: Arc<str> = "calendar",
    auto_accept: bool = "auto.accept",
    auto_file: bool = "auto.file",
    auto_check: bool = "auto.check",
    level: u8 = "level",
    self_handle_ok: bool = "self_handle_ok",
    evidence_feedback: Vec<Evidence> = "evidence.feedback",
    evidence_close: Vec<Evidence> = "evidence.close",
    group_key: Vec<String> = "group.key",
    group_radius_m: u32 = "group.radius_m",
    group_window: Span = "group.window",
    min_count: u32 = "group.min_count",
    count_window: Span = "group.count_window",
    recurrence_days: u32 = "group.recurrence_days",
    storm_group: String = "storm.group",
    storm_exempt: bool = "storm.exempt",
    late_max: Span = "late.max",
    late_opens: bool = "late.opens",
    rungs: Arc<str> = "on_timeout",
    intake: Span = "desk.intake",
    verify: Span = "desk.verify",
    file: Span = "desk.file",
    dispatch: Span = "desk.dispatch",
    check: Span = "desk.check",
}
