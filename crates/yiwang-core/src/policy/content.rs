//! A policy as text: what its id is the hash of, and what the store keeps of it.
//!
//! One line a field: name, value, the selector it comes from. Written and read only here.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Assist, Budget, Evidence, Lead, Milestone, Policy, Source, Who};
use crate::district::Tier;
use crate::ids::{Hasher, Id};

impl Lead {
    /// As it stands in policies.yaml.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Place => "place".to_owned(),
            Self::AssetMaintainer => "asset_maintainer".to_owned(),
            Self::AssetOwner => "asset_owner".to_owned(),
            Self::CommandPost => "command_post".to_owned(),
            Self::Unit(id) => id.to_string(),
        }
    }

    /// Reads the five words, `unit:ID`, and ids of departments and companies, which carry a colon.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "place" => Self::Place,
            "asset_maintainer" => Self::AssetMaintainer,
            "asset_owner" => Self::AssetOwner,
            "command_post" => Self::CommandPost,
            "" => return None,
            _ => Self::Unit(text.strip_prefix("unit:").unwrap_or(text).into()),
        })
    }
}

impl Who {
    /// As it stands in policies.yaml.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Unit(id) => id.to_string(),
            Self::PlaceAt(tier) => format!("place@{}", tier.as_str().to_uppercase()),
        }
    }

    /// Reads `place@TIER`, `unit:ID` and ids.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        match text.strip_prefix("place@") {
            Some(tier) => Tier::parse(tier).map(Self::PlaceAt),
            None if text.is_empty() => None,
            None => Some(Self::Unit(text.strip_prefix("unit:").unwrap_or(text).into())),
        }
    }
}

impl Evidence {
    /// Reads `photo` and `photo>=2`.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (kind, count) = text.split_once(">=").unwrap_or((text, "1"));
        let sound = kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !kind.is_empty();
        let count = count.trim().parse().ok().filter(|count| *count > 0)?;
        sound.then(|| Self { kind: kind.to_owned(), count })
    }

    fn to_text(&self) -> String {
        format!("{}>={}", self.kind, self.count)
    }
}

impl Policy {
    /// The content as text: equal texts are equal policies.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(1024);
        for (field, value) in self.values() {
            let source = self.sources.iter().find(|source| source.field == field);
            let selector = source.map_or("", |source| &*source.selector);
            let _ = writeln!(out, "{field}\t{value}\t{selector}");
        }
        out
    }

    /// The inverse of [`Policy::to_text`], but for the lines of the sources.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut sources = Vec::new();
        let mut lines = text.lines();
        let mut next = |field: &'static str| -> Option<&str> {
            let mut cells = lines.next()?.split('\t');
            let value = (cells.next()? == field).then(|| cells.next())??;
            if let Some(selector) = cells.next().filter(|selector| !selector.is_empty()) {
                sources.push(Source { field, selector: selector.into(), line: 0 });
            }
            Some(value)
        };
        let mut policy = Self {
            id: Id::default(),
            start_tier: Tier::parse(next("start_tier")?)?,
            lead: Lead::from_text(next("lead")?)?,
            assists: list(next("assists")?, assist)?,
            ack: Budget::from_text(next("ack")?)?,
            handle: Budget::from_text(next("handle")?)?,
            incident: some(next("incident")?, Budget::from_text)?,
            milestones: list(next("milestones")?, milestone)?,
            calendar: some(next("calendar")?, |id| Some(Arc::from(id)))?,
            auto_accept: next("auto.accept")?.parse().ok()?,
            auto_file: next("auto.file")?.parse().ok()?,
            auto_check: next("auto.check")?.parse().ok()?,
            level: some(next("level")?, |level| level.parse().ok())?,
            self_handle_ok: next("self_handle_ok")?.parse().ok()?,
            evidence_feedback: list(next("evidence.feedback")?, Evidence::from_text)?,
            evidence_close: list(next("evidence.close")?, Evidence::from_text)?,
            group_key: list(next("group.key")?, |key| Some(key.to_owned()))?,
            group_radius_m: next("group.radius_m")?.parse().ok()?,
            group_window_ms: next("group.window")?.parse().ok()?,
            min_count: next("group.min_count")?.parse().ok()?,
            count_window_ms: next("group.count_window")?.parse().ok()?,
            recurrence_days: next("group.recurrence_days")?.parse().ok()?,
            storm_group: some(next("storm.group")?, |group| Some(group.to_owned()))?,
            storm_exempt: next("storm.exempt")?.parse().ok()?,
            late_max_ms: next("late.max")?.parse().ok()?,
            late_opens: next("late.opens")?.parse().ok()?,
            rungs: next("on_timeout")?.into(),
            intake: Budget::from_text(next("desk.intake")?)?,
            verify: Budget::from_text(next("desk.verify")?)?,
            file: Budget::from_text(next("desk.file")?)?,
            dispatch: Budget::from_text(next("desk.dispatch")?)?,
            check: Budget::from_text(next("desk.check")?)?,
            sources: Vec::new(),
        };
        policy.sources = sources;
        policy.id = policy.content_id();
        Some(policy)
    }

    /// Hash of the content.
    pub(crate) fn content_id(&self) -> Id {
        Hasher::new().text(&self.to_text()).finish()
    }

    fn values(&self) -> [(&'static str, String); 31] {
        let budgets = |budget: Option<Budget>| budget.map_or_else(String::new, Budget::to_text);
        let evidence = |list: &[Evidence]| join(list.iter().map(Evidence::to_text));
        let assists = self.assists.iter().map(|assist| {
            format!("{}{}", assist.who.to_text(), if assist.mandatory { "*" } else { "" })
        });
        let milestones =
            self.milestones.iter().map(|it| format!("{}={}", it.name, it.budget.to_text()));
        [
            ("start_tier", self.start_tier.as_str().to_uppercase()),
            ("lead", self.lead.to_text()),
            ("assists", join(assists)),
            ("ack", self.ack.to_text()),
            ("handle", self.handle.to_text()),
            ("incident", budgets(self.incident)),
            ("milestones", join(milestones)),
            ("calendar", self.calendar.as_deref().unwrap_or_default().to_owned()),
            ("auto.accept", self.auto_accept.to_string()),
            ("auto.file", self.auto_file.to_string()),
            ("auto.check", self.auto_check.to_string()),
            ("level", self.level.map_or_else(String::new, |level| level.to_string())),
            ("self_handle_ok", self.self_handle_ok.to_string()),
            ("evidence.feedback", evidence(&self.evidence_feedback)),
            ("evidence.close", evidence(&self.evidence_close)),
            ("group.key", self.group_key.join(",")),
            ("group.radius_m", self.group_radius_m.to_string()),
            ("group.window", self.group_window_ms.to_string()),
            ("group.min_count", self.min_count.to_string()),
            ("group.count_window", self.count_window_ms.to_string()),
            ("group.recurrence_days", self.recurrence_days.to_string()),
            ("storm.group", self.storm_group.clone().unwrap_or_default()),
            ("storm.exempt", self.storm_exempt.to_string()),
            ("late.max", self.late_max_ms.to_string()),
            ("late.opens", self.late_opens.to_string()),
            ("on_timeout", self.rungs.to_string()),
            ("desk.intake", self.intake.to_text()),
            ("desk.verify", self.verify.to_text()),
            ("desk.file", self.file.to_text()),
            ("desk.dispatch", self.dispatch.to_text()),
            ("desk.check", self.check.to_text()),
        ]
    }
}

fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').filter(|text| !text.is_empty()).map(one).collect()
}

/// `Some(None)` for the empty text; `None` when it cannot be read.
fn some<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { one(text).map(Some) }
}

fn assist(text: &str) -> Option<Assist> {
    let who = text.strip_suffix('*');
    Some(Assist { who: Who::from_text(who.unwrap_or(text))?, mandatory: who.is_some() })
}

fn milestone(text: &str) -> Option<Milestone> {
    let (name, budget) = text.split_once('=')?;
    Some(Milestone { name: name.to_owned(), budget: Budget::from_text(budget)? })
}
