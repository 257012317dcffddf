//! `policies.yaml`: from text to checked layers, one a policy, with everything they name looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::budget::Span;
use super::fields::Fields;
use super::{Assist, Evidence, Lead, Mode, Who};
use crate::calendar::Calendar;
use crate::category::{CategoryList, is_below};
use crate::district::files::{self, At, FileSet, Findings, POLICIES};
use crate::district::{Tier, UnitId, UnitKind};

/// The signal's fields that a group key may name.
const GROUP_FIELDS: [&str; 4] = ["category", "asset", "device", "place"];

/// What policies may name.
pub(crate) struct Known<'a> {
    pub(crate) categories: &'a CategoryList,
    pub(crate) calendars: &'a BTreeMap<Arc<str>, Arc<Calendar>>,
    pub(crate) units: &'a dyn Fn(&str) -> Option<UnitKind>,
}

/// All policies of the file in its order.
#[derive(Default)]
pub(crate) struct PolicyFile {
    pub(crate) layers: Vec<Layer>,
}

/// One policy of the file.
pub(crate) struct Layer {
    pub(crate) at: At,
    pub(crate) selector: Selector,
    pub(crate) fields: Fields,
}

/// What a policy matches; `None` matches all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Selector {
    pub(crate) category: Option<String>,
    pub(crate) area: Option<UnitId>,
    pub(crate) mode: Option<Mode>,
}

impl Selector {
    /// Whether a category is this prefix or below it, by dotted segment.
    pub(crate) fn covers(&self, category: &str) -> bool {
        self.category.as_deref().is_none_or(|prefix| is_below(category, prefix))
    }

    /// Length of the category prefix in segments.
    pub(crate) fn segments(&self) -> usize {
        self.category.as_deref().map_or(0, |prefix| prefix.split('.').count())
    }

    /// `category / area / mode`, `*` for all.
    pub(crate) fn to_text(&self) -> String {
        let category = self.category.as_deref().unwrap_or("*");
        let area = self.area.as_deref().unwrap_or("*");
        format!("{category} / {area} / {}", self.mode.map_or("*", Mode::as_str))
    }
}

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    r#match: Spanned<RawMatch>,
    start_tier: Option<Text>,
    lead: Option<Text>,
    assists: Option<Vec<RawAssist>>,
    ack: Option<Text>,
    handle: Option<Text>,
    incident: Option<Text>,
    milestones: Option<Vec<RawMilestone>>,
    calendar: Option<Text>,
    auto: Option<RawAuto>,
    level: Option<Text>,
    self_handle_ok: Option<bool>,
    evidence: Option<RawEvidence>,
    group: Option<RawGroup>,
    storm: Option<RawStorm>,
    late: Option<RawLate>,
    desk: Option<RawDesk>,
    on_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMatch {
    category: Option<Text>,
    area: Option<Text>,
    mode: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAssist {
    who: Text,
    #[serde(default)]
    mandatory: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMilestone {
    name: String,
    budget: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuto {
    accept: Option<bool>,
    file: Option<bool>,
    check: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvidence {
    feedback: Option<Vec<Text>>,
    close: Option<Vec<Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    key: Option<Vec<Text>>,
    radius_m: Option<u32>,
    window: Option<Text>,
    min_count: Option<Spanned<u32>>,
    count_window: Option<Text>,
    recurrence_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStorm {
    group: Option<String>,
    exempt: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLate {
    max: Option<Text>,
    opens: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDesk {
    intake: Option<Text>,
    verify: Option<Text>,
    file: Option<Text>,
    dispatch: Option<Text>,
    check: Option<Text>,
}

/// Reads policies.yaml and checks every policy by itself and against the others.
pub(crate) fn read(files: &FileSet, known: &Known<'_>, found: &mut Findings) -> PolicyFile {
    let raw = files::yaml::<Vec<RawPolicy>>(files, POLICIES, found).unwrap_or_default();
    let mut file = PolicyFile::default();
    let mut seen: HashMap<Selector, u32> = HashMap::new();
    for raw in raw {
        let place = at(&raw.r#match);
        let mut reader = Reader { known, found: &mut *found };
        let selector = reader.selector(&raw.r#match.value);
        let fields = reader.fields(raw);
        if let Some(line) = seen.insert(selector.clone(), place.line) {
            let message = format!(
                "the match {} is also that of {POLICIES}:{line}: neither is more specific",
                selector.to_text()
            );
            found.error(place, "POLICY_CONFLICT", message, "join the two policies into one");
        }
        file.layers.push(Layer { at: place, selector, fields });
    }
    file
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(POLICIES, value)
}

struct Reader<'a, 'b> {
    known: &'a Known<'a>,
    found: &'b mut Findings,
}

impl Reader<'_, '_> {
    fn selector(&mut self, raw: &RawMatch) -> Selector {
        if let Some(category) = &raw.category
            && !self.known.categories.has_prefix(&category.value)
        {
            let message = format!("category {} is not in the list", category.value);
            let remedy = "name a category or group of categories.yaml";
            self.found.error(at(category), "CATEGORY_UNKNOWN", message, remedy);
        }
        if let Some(area) = &raw.area {
            let kind = self.unit(area, &area.value);
            if kind.is_some_and(|kind| !matches!(kind, UnitKind::Tree(_))) {
                let message = format!("area {} is not a unit of the tree", area.value);
                self.found.error(at(area), "UNKNOWN_UNIT", message, "name a unit of units.tsv");
            }
        }
        let mode = raw.mode.as_ref().and_then(|mode| {
            let emergency = &Mode::ALL[1..];
            let word = |known: &&Mode| known.as_str() == mode.value;
            let known = emergency.iter().find(word).copied();
            self.or_bad(mode, known, "write IV, III, II, I or null")
        });
        Selector {
            category: raw.category.as_ref().map(|text| text.value.clone()),
            area: raw.area.as_ref().map(|text| text.value.as_str().into()),
            mode,
        }
    }

    fn fields(&mut self, raw: RawPolicy) -> Fields {
        let mut fields = Fields {
            start_tier: self.read(raw.start_tier, Tier::parse, "write one of the tiers, e.g. TOWN"),
            lead: self.lead(raw.lead),
            assists: raw.assists.map(|list| self.assists(&list)),
            ack: self.span(raw.ack),
            handle: self.span(raw.handle),
            incident: self.span(raw.incident),
            milestones: raw.milestones.map(|list| self.milestones(list)),
            calendar: self.calendar(raw.calendar),
            level: self.read(raw.level, level, "write I, II, III, IV or null"),
            self_handle_ok: raw.self_handle_ok,
            rungs: raw.on_timeout.map(Arc::from),
            ..Fields::default()
        };
        if let Some(RawAuto { accept, file, check }) = raw.auto {
            (fields.auto_accept, fields.auto_file, fields.auto_check) = (accept, file, check);
        }
        if let Some(RawEvidence { feedback, close }) = raw.evidence {
            fields.evidence_feedback = self.evidence(feedback);
            fields.evidence_close = self.evidence(close);
        }
        if let Some(group) = raw.group {
            self.group(group, &mut fields);
        }
        if let Some(RawStorm { group, exempt }) = raw.storm {
            (fields.storm_group, fields.storm_exempt) = (group, exempt);
        }
        if let Some(RawLate { max, opens }) = raw.late {
            fields.late_max = self.clock(max);
            fields.late_opens = opens;
        }
        if let Some(RawDesk { intake, verify, file, dispatch, check }) = raw.desk {
            fields.intake = self.span(intake);
            fields.verify = self.span(verify);
            fields.file = self.span(file);
            fields.dispatch = self.span(dispatch);
            fields.check = self.span(check);
        }
        fields
    }

    fn group(&mut self, raw: RawGroup, fields: &mut Fields) {
        fields.group_key = raw.key.map(|keys| {
            keys.into_iter()
                .filter_map(|key| {
                    let sound = GROUP_FIELDS.contains(&key.value.as_str());
                    let field = sound.then(|| key.value.clone());
                    self.or_bad(&key, field, "write category, asset, device or place")
                })
                .collect()
        });
        fields.group_radius_m = raw.radius_m;
        fields.group_window = self.clock(raw.window);
        fields.min_count = raw.min_count.as_ref().map(|count| count.value);
        if let Some(count) = raw.min_count.filter(|count| count.value == 0) {
            let remedy = "write 1 or more";
            self.found.error(at(&count), "BAD_VALUE", "min_count is 0", remedy);
        }
        fields.count_window = self.clock(raw.count_window);
        fields.recurrence_days = raw.recurrence_days;
    }

    fn lead(&mut self, raw: Option<Text>) -> Option<Lead> {
        let text = raw?;
        let lead = Lead::from_text(&text.value);
        if let Some(Lead::Unit(unit)) = &lead {
            self.unit(&text, unit);
        }
        self.or_bad(&text, lead, "write place, asset_maintainer, command_post or a unit id")
    }

    fn assists(&mut self, list: &[RawAssist]) -> Vec<Assist> {
        let mut assists = Vec::new();
        for RawAssist { who: text, mandatory } in list {
            let who = Who::from_text(&text.value);
            if let Some(Who::Unit(unit)) = &who {
                self.unit(text, unit);
            }
            let who = self.or_bad(text, who, "write place@TIER or a unit id");
            assists.extend(who.map(|who| Assist { who, mandatory: *mandatory }));
        }
        assists
    }

    fn milestones(&mut self, list: Vec<RawMilestone>) -> Vec<(String, Span)> {
        list.into_iter()
            .filter_map(|RawMilestone { name, budget }| Some((name, self.span(Some(budget))?)))
            .collect()
    }

    fn evidence(&mut self, list: Option<Vec<Text>>) -> Option<Vec<Evidence>> {
        let mut one = |text: Text| {
            self.or_bad(&text, Evidence::from_text(&text.value), "write e.g. photo or photo>=2")
        };
        Some(list?.into_iter().filter_map(&mut one).collect())
    }

    fn calendar(&mut self, raw: Option<Text>) -> Option<Arc<str>> {
        let text = raw?;
        let known = self.known.calendars.get_key_value(text.value.as_str());
        if known.is_none() {
            let message = format!("calendar {} is not in calendars.yaml", text.value);
            let remedy = "name a calendar or add it";
            self.found.error(at(&text), "CALENDAR_UNKNOWN", message, remedy);
        }
        known.map(|(id, _)| id.clone())
    }

    fn span(&mut self, raw: Option<Text>) -> Option<Span> {
        self.read(raw, Span::parse, "write a number and s, m, h, d, wm, wh or wd")
    }

    /// A span around the clock.
    fn clock(&mut self, raw: Option<Text>) -> Option<Span> {
        let parse = |text: &str| Span::parse(text).filter(|span| !span.is_working());
        self.read(raw, parse, "write a number and s, m, h or d")
    }

    fn read<T>(
        &mut self,
        raw: Option<Text>,
        parse: impl Fn(&str) -> Option<T>,
        remedy: &str,
    ) -> Option<T> {
        let text = raw?;
        self.or_bad(&text, parse(&text.value), remedy)
    }

    fn or_bad<T>(&mut self, text: &Text, value: Option<T>, remedy: &str) -> Option<T> {
        if value.is_none() {
            let message = format!("`{}` is no value for this key", text.value);
            self.found.error(at(text), "BAD_VALUE", message, remedy);
        }
        value
    }

    fn unit(&mut self, text: &Text, id: &str) -> Option<UnitKind> {
        let kind = (self.known.units)(id);
        if kind.is_none() {
            let message = format!("unit {id} does not exist");
            let remedy = "name a unit of units.tsv or departments.tsv";
            self.found.error(at(text), "UNKNOWN_UNIT", message, remedy);
        }
        kind
    }
}

/// Level I (特别重大) is 1.
fn level(text: &str) -> Option<u8> {
    Some(match text {
        "I" => 1,
        "II" => 2,
        "III" => 3,
        "IV" => 4,
        _ => return None,
    })
}
