//! Merging the policies of every category, area and mode once, at load.
//!
//! Which policies match a place depends only on its nearest ancestor that some policy names as area: places fall into
//! as many classes as there are such units, plus one. A policy for a mode also holds in the modes above it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::budget::Span;
use super::fields::{Fields, Origins};
use super::read::{Layer, PolicyFile};
use super::{Budget, Lead, Milestone, Mode, Policy, Source};
use crate::calendar::Calendar;
use crate::category::CategoryList;
use crate::district::files::{At, CATEGORIES, Findings};
use crate::district::{Tier, UnitId};
use crate::ids::Id;

/// Every merged policy, by category, class of place and mode.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    table: Vec<Option<Arc<Policy>>>,
    classes: usize,
}

/// The units named as areas: for each the numbers of itself and the ones above it, deepest last.
pub(crate) struct Classes {
    pub(crate) areas: Vec<UnitId>,
    pub(crate) chains: Vec<Vec<usize>>,
}

impl Policies {
    /// The policy of a category (its number in the list) for a class of places (0: no area is named).
    pub(crate) fn get(&self, category: usize, class: usize, mode: Mode) -> Option<&Arc<Policy>> {
        let index = (category * self.classes + class) * Mode::ALL.len() + mode as usize;
        self.table.get(index)?.as_ref()
    }

    /// Merges everything; what cannot be merged is an error that names the category and its line.
    pub(crate) fn merge(
        file: &PolicyFile,
        list: &CategoryList,
        classes: &Classes,
        calendars: &BTreeMap<Arc<str>, Arc<Calendar>>,
        found: &mut Findings,
    ) -> Self {
        let mut policies = Self { table: Vec::new(), classes: classes.areas.len() + 1 };
        let mut known: HashMap<Id, Arc<Policy>> = HashMap::new();
        for category in list.all() {
            let covering = || {
                file.layers
                    .iter()
                    .enumerate()
                    .filter(|(_, layer)| layer.selector.covers(&category.code))
            };
            let mut told = Vec::new();
            for class in 0..policies.classes {
                for mode in Mode::ALL {
                    let layers = covering().filter_map(|it| rank(it, classes, class, mode));
                    let merged = Merge::new(file, layers.collect()).policy(calendars);
                    let merged = merged.map(|policy| {
                        known.entry(policy.id).or_insert_with(|| Arc::new(policy)).clone()
                    });
                    match merged {
                        Ok(policy) => policies.table.push(Some(policy)),
                        Err(message) => {
                            policies.table.push(None);
                            if !told.contains(&message) {
                                let at = At { file: CATEGORIES, line: category.line };
                                let text = format!("category {}: {message}", category.code);
                                let remedy = "complete its policies in policies.yaml";
                                found.error(at, "CATEGORY_UNCOVERED", text, remedy);
                                told.push(message);
                            }
                        }
                    }
                }
            }
        }
        policies
    }
}

/// How specific a policy is: category segments, depth of area, mode; and its number in the file.
type Rank = (usize, usize, Option<Mode>, usize);

fn rank(
    (number, layer): (usize, &Layer),
    classes: &Classes,
    class: usize,
    mode: Mode,
) -> Option<Rank> {
    let chain: &[usize] = if class == 0 { &[] } else { &classes.chains[class - 1] };
    let depth = match &layer.selector.area {
        None => 0,
        Some(area) => 1 + chain.iter().position(|index| classes.areas[*index] == *area)?,
    };
    let holds = layer.selector.mode.is_none_or(|own| own <= mode);
    holds.then(|| (layer.selector.segments(), depth, layer.selector.mode, number))
}

struct Merge<'a> {
    file: &'a PolicyFile,
    fields: Fields,
    origins: Origins,
}

impl<'a> Merge<'a> {
    fn new(file: &'a PolicyFile, mut layers: Vec<Rank>) -> Self {
        layers.sort_unstable();
        let mut merge = Self { file, fields: Fields::default(), origins: Origins::default() };
        for (.., number) in layers {
            let layer = &file.layers[number];
            merge.fields.overlay(&layer.fields, number as u16, &mut merge.origins);
        }
        merge
    }

    fn sources(&self) -> Vec<Source> {
        let source = |(field, number): (&'static str, u16)| {
            let layer = &self.file.layers[usize::from(number)];
            Source { field, selector: layer.selector.to_text().into(), line: layer.at.line }
        };
        self.origins.said().map(source).collect()
    }

    /// The finished policy, or why there is none.
    fn policy(self, calendars: &BTreeMap<Arc<str>, Arc<Calendar>>) -> Result<Policy, String> {
        let sources = self.sources();
        let f = self.fields;
        let calendar = f.calendar.as_ref().and_then(|id| calendars.get(id));
        let mut said = Said { day_minutes: calendar.map(|it| it.day_minutes), unsaid: Vec::new() };
        let milestones = f.milestones.unwrap_or_default().into_iter();
        let mut policy = Policy {
            id: Id::default(),
            start_tier: said.value("start_tier", f.start_tier, Tier::District),
            lead: said.value("lead", f.lead, Lead::Place),
            assists: f.assists.unwrap_or_default(),
            ack: said.budget("ack", f.ack),
            handle: said.budget("handle", f.handle),
            incident: f.incident.map(|span| said.budget("incident", Some(span))),
            milestones: milestones
                .map(|(name, span)| Milestone { name, budget: said.budget("", Some(span)) })
                .collect(),
            calendar: f.calendar,
            auto_accept: f.auto_accept.unwrap_or(false),
            auto_file: f.auto_file.unwrap_or(false),
            auto_check: f.auto_check.unwrap_or(false),
            level: f.level,
            self_handle_ok: f.self_handle_ok.unwrap_or(false),
            evidence_feedback: f.evidence_feedback.unwrap_or_default(),
            evidence_close: f.evidence_close.unwrap_or_default(),
            group_key: f.group_key.unwrap_or_else(|| vec!["category".to_owned()]),
            group_radius_m: said.value("group.radius_m", f.group_radius_m, 0),
            group_window_ms: said.budget("group.window", f.group_window).ms,
            min_count: f.min_count.unwrap_or(1),
            count_window_ms: f.count_window.map_or(0, |span| span.budget(0).ms),
            recurrence_days: said.value("group.recurrence_days", f.recurrence_days, 0),
            storm_group: f.storm_group,
            storm_exempt: f.storm_exempt.unwrap_or(false),
            late_max_ms: said.budget("late.max", f.late_max).ms,
            late_opens: f.late_opens.unwrap_or(false),
            rungs: said.value("on_timeout", f.rungs, "".into()),
            intake: said.budget("desk.intake", f.intake),
            verify: said.budget("desk.verify", f.verify),
            file: said.budget("desk.file", f.file),
            dispatch: said.budget("desk.dispatch", f.dispatch),
            check: said.budget("desk.check", f.check),
            sources,
        };
        if !said.unsaid.is_empty() {
            return Err(format!("no policy says {}", said.unsaid.join(", ")));
        }
        if policy.min_count > 1 && policy.count_window_ms == 0 {
            return Err("min_count above 1 needs a group.count_window above 0".to_owned());
        }
        policy.id = policy.content_id();
        Ok(policy)
    }
}

/// Keeps account of what no policy says.
struct Said {
    day_minutes: Option<u32>,
    unsaid: Vec<&'static str>,
}

impl Said {
    fn value<T>(&mut self, name: &'static str, value: Option<T>, fallback: T) -> T {
        value.unwrap_or_else(|| {
            self.unsaid.push(name);
            fallback
        })
    }

    fn budget(&mut self, name: &'static str, span: Option<Span>) -> Budget {
        let span = self.value(name, span, Span::NONE);
        if span.is_working() && self.day_minutes.is_none() && !self.unsaid.contains(&"calendar") {
            self.unsaid.push("calendar");
        }
        span.budget(self.day_minutes.unwrap_or(0))
    }
}
