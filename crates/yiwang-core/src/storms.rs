//! When devices that fall silent together are one outage, as data.
//!
//! `storms.yaml` gives the limits, the tier whose areas are groups, and what an outage is called; a district without
//! the file folds nothing. What the limits mean is the business of [`crate::outage`].

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::district::files::{self, At, FileSet, Findings, STORMS};
use crate::district::{District, Tier};
use crate::problem::Problem;
use crate::record::{AlarmSeverity, Limits, Millis};
use crate::thing::node::duration_text;

/// Longest that a raise may be held back.
const WITHIN_MAX: Millis = 10 * 60_000;
/// Longest time without single ones.
const QUIET_MAX: Millis = 24 * 60 * 60_000;
/// Longest that a part of the router which is behind may be waited for.
const LATE_MAX: Millis = 24 * 60 * 60_000;

/// What of a district's absences is folded, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storms {
    /// When absences are told together.
    pub limits: Limits,
    /// Longest that a partition which is behind is waited for.
    pub late: Millis,
    /// Devices without a gateway device are of the group of their area at this tier.
    pub tier: Tier,
    /// Category of an outage.
    pub category: Box<str>,
    /// How bad it is.
    pub severity: AlarmSeverity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    share_percent: Spanned<u32>,
    members_min: Spanned<u32>,
    within: Spanned<String>,
    quiet: Spanned<String>,
    late: Spanned<String>,
    tier: Spanned<String>,
    category: Spanned<String>,
    severity: Spanned<String>,
}

impl Storms {
    /// Reads the file of a district; every problem with its line, `None` on any error and where there is no file.
    #[must_use]
    pub fn load(files: &FileSet, district: &District) -> (Option<Self>, Vec<Problem>) {
        let mut found = Findings::default();
        if !files.contains_key(STORMS) {
            return (None, found.problems);
        }
        let raw = files::yaml::<RawFile>(files, STORMS, &mut found);
        let storms = raw.and_then(|raw| check(&raw, district, &mut found));
        (storms.filter(|_| !found.has_errors()), found.problems)
    }
}

fn check(raw: &RawFile, district: &District, found: &mut Findings) -> Option<Storms> {
    let mut number = |raw: &Spanned<u32>, from: u32, to: u32| {
        if !(from..=to).contains(&raw.value) {
            let message = format!("{} is out of {from} to {to}", raw.value);
            found.error(at(raw), "NUMBER_INVALID", message, "correct it");
        }
        raw.value
    };
    let share_percent = number(&raw.share_percent, 1, 100);
    let members_min = number(&raw.members_min, 2, u32::MAX);
    let within = duration(&raw.within, WITHIN_MAX, found);
    let quiet = duration(&raw.quiet, QUIET_MAX, found);
    let late = duration(&raw.late, LATE_MAX, found);
    if within.zip(quiet).is_some_and(|(within, quiet)| quiet <= within) {
        let message = "quiet is no longer than within";
        found.error(at(&raw.quiet), "DURATION_INVALID", message, "make it longer");
    }
    let tier = Tier::parse(&raw.tier.value).filter(|tier| district.tiers().contains(tier));
    if tier.is_none() {
        let message = format!("the district has no tier `{}`", raw.tier.value);
        found.error(at(&raw.tier), "TIER_UNKNOWN", message, "write a tier of district.yaml");
    }
    let category = district.category(&raw.category.value).filter(|category| !category.retired);
    if category.is_none() {
        let message = format!("category `{}` is not in the list", raw.category.value);
        let remedy = "use a code of categories.yaml that is not retired, or add it there";
        found.error(at(&raw.category), "UNKNOWN_CATEGORY", message, remedy);
    }
    let severity = AlarmSeverity::parse(&raw.severity.value);
    if severity.is_none() {
        let message = format!("unknown severity `{}`", raw.severity.value);
        let remedy = "write INFO, MINOR, MAJOR or CRITICAL";
        found.error(at(&raw.severity), "BAD_VALUE", message, remedy);
    }
    Some(Storms {
        limits: Limits { share_percent, members_min, within: within?, quiet: quiet? },
        late: late?,
        tier: tier?,
        category: (&*category?.code).into(),
        severity: severity?,
    })
}

fn duration(raw: &Spanned<String>, most: Millis, found: &mut Findings) -> Option<Millis> {
    let ms = duration_text(&raw.value).filter(|ms| (1..=most).contains(ms));
    if ms.is_none() {
        let message = format!("`{}` is no duration up to {} s", raw.value, most / 1_000);
        found.error(at(raw), "DURATION_INVALID", message, "write e.g. 60s");
    }
    ms
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(STORMS, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::fixture;

    const SHIPPED: &str = include_str!("../../../config/district/storms.yaml");

    fn load(text: &str) -> (Option<Storms>, Vec<String>) {
        let files = FileSet::from([("storms.yaml".to_owned(), text.to_owned())]);
        let (storms, problems) = Storms::load(&files, &fixture::DISTRICT);
        (storms, problems.iter().map(|it| format!("{} {}", it.line, it.code)).collect())
    }

    #[test]
    fn limits_are_data() {
        let (storms, problems) = load(SHIPPED);
        assert_eq!(problems, Vec::<String>::new());
        let limits = Limits { share_percent: 30, members_min: 20, within: 60_000, quiet: 600_000 };
        assert_eq!(storms.unwrap().limits, limits);
        let (none, problems) = Storms::load(&FileSet::new(), &fixture::DISTRICT);
        assert!(none.is_none() && problems.is_empty());
    }

    #[test]
    fn every_mistake_has_its_line() {
        let line = |key: &str| 1 + SHIPPED.lines().position(|it| it.starts_with(key)).unwrap();
        for (key, wrong, code) in [
            ("share_percent", "0", "NUMBER_INVALID"),
            ("members_min", "1", "NUMBER_INVALID"),
            ("within", "1h", "DURATION_INVALID"),
            ("quiet", "60s", "DURATION_INVALID"),
            ("late", "soon", "DURATION_INVALID"),
            ("tier", "COUNTRY", "TIER_UNKNOWN"),
            ("category", "device.none", "UNKNOWN_CATEGORY"),
            ("severity", "BAD", "BAD_VALUE"),
            ("share_percent", "many", "YAML_INVALID"),
        ] {
            let replace = |it: &str| match it.starts_with(key) {
                true => format!("{key}: {wrong}\n"),
                false => format!("{it}\n"),
            };
            let (storms, problems) = load(&SHIPPED.lines().map(replace).collect::<String>());
            assert_eq!(problems, [format!("{} {code}", line(key))]);
            assert!(storms.is_none());
        }
    }
}
