//! `calendars.yaml`: from text to compiled calendars.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Calendar, DAY_MS, Head, MINUTE_MS};
use crate::district::files::{self, At, CALENDARS, FileSet, Findings};
use crate::record::Millis;

/// The years that a calendar is compiled for.
const YEARS: std::ops::RangeInclusive<i16> = 2020..=2059;
const DAY_MINUTES: i64 = 24 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    calendars: Vec<RawCalendar>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCalendar {
    id: Spanned<String>,
    version: String,
    zone: Spanned<String>,
    day_minutes: Spanned<u32>,
    week: Spanned<BTreeMap<String, Vec<Spanned<String>>>>,
    #[serde(default)]
    holidays: Vec<Spanned<String>>,
    #[serde(default)]
    makeup_days: Vec<Spanned<String>>,
    #[serde(default)]
    makeup_hours: Vec<Spanned<String>>,
    covers_to: Spanned<String>,
}

/// Working hours of one day, in minutes from midnight.
type Hours = Vec<(i64, i64)>;

/// Reads every calendar of the file.
pub(crate) fn read(files: &FileSet, found: &mut Findings) -> BTreeMap<Arc<str>, Arc<Calendar>> {
    let mut calendars = BTreeMap::new();
    let Some(raw) = files::yaml::<RawFile>(files, CALENDARS, found) else { return calendars };
    for raw in raw.calendars {
        let at = at(&raw.id);
        let Some(calendar) = compile(raw, found) else { continue };
        if calendars.insert(calendar.id.clone(), Arc::new(calendar)).is_some() {
            found.error(at, "ID_DUPLICATE", "a calendar with this id stands above", "rename it");
        }
    }
    calendars
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(CALENDARS, value)
}

fn compile(raw: RawCalendar, found: &mut Findings) -> Option<Calendar> {
    let errors = found.problems.len();
    let zone = zone(&raw.zone.value);
    if zone.is_none() {
        let message = format!("unknown time zone `{}`", raw.zone.value);
        found.error(at(&raw.zone), "CALENDAR_INVALID", message, "use a name like Asia/Shanghai");
    }
    if !(1..=DAY_MINUTES).contains(&i64::from(raw.day_minutes.value)) {
        let message = "day_minutes is not within 1 to 1440";
        found.error(at(&raw.day_minutes), "CALENDAR_INVALID", message, "write the length of 1wd");
    }
    let week = week(&raw.week, found);
    let makeup_hours = hours(&raw.makeup_hours, found);
    let mut holidays = BTreeSet::new();
    let mut makeup = BTreeSet::new();
    for day in &raw.holidays {
        date(day, found).map(|date| holidays.insert(date));
    }
    for day in &raw.makeup_days {
        let Some(date) = date(day, found) else { continue };
        makeup.insert(date);
        if holidays.contains(&date) {
            let message = format!("{} is a holiday and a make-up working day", day.value);
            found.error(at(day), "CALENDAR_INVALID", message, "keep one of the two");
        }
        if makeup_hours.is_empty() {
            let remedy = "add makeup_hours";
            found.error(at(day), "CALENDAR_INVALID", "a make-up day without hours", remedy);
        }
    }
    let covers_to = date(&raw.covers_to, found)?;
    let zone = Zone::new(zone?);
    if found.problems.len() > errors {
        return None;
    }
    let spans = days().flat_map(|day| {
        let hours: &[(i64, i64)] = if holidays.contains(&day) {
            &[]
        } else if makeup.contains(&day) {
            &makeup_hours
        } else {
            // 1970-01-01 was a Thursday.
            &week[(day + 3).rem_euclid(7) as usize]
        };
        hours
            .iter()
            .map(|(from, to)| (zone.instant(day, *from), zone.instant(day, *to)))
            .collect::<Vec<_>>()
    });
    let head = Head {
        id: raw.id.value.into(),
        version: raw.version,
        zone: raw.zone.value,
        day_minutes: raw.day_minutes.value,
        covers_to: zone.instant(covers_to, 0),
    };
    Some(Calendar::new(head, spans))
}

/// Days since 1970-01-01 of the years compiled.
fn days() -> std::ops::Range<i64> {
    let first = |year| epoch_day(Date::constant(year, 1, 1));
    first(*YEARS.start())..first(*YEARS.end() + 1)
}

fn epoch_day(date: Date) -> i64 {
    let midnight =
        date.to_zoned_datetime(TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_millisecond());
    midnight.div_euclid(DAY_MS)
}

fn week(raw: &Spanned<BTreeMap<String, Vec<Spanned<String>>>>, found: &mut Findings) -> [Hours; 7] {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let mut week: [Hours; 7] = Default::default();
    for (name, list) in &raw.value {
        match NAMES.iter().position(|known| known == name) {
            Some(day) => week[day] = hours(list, found),
            None => {
                let message = format!("unknown day `{name}`");
                found.error(
                    at(raw),
                    "CALENDAR_INVALID",
                    message,
                    "write mon tue wed thu fri sat sun",
                );
            }
        }
    }
    if week.iter().all(Vec::is_empty) {
        let message = "no day of the week has working hours";
        found.error(at(raw), "CALENDAR_INVALID", message, "give at least one day hours");
    }
    week
}

/// Hours like `09:00-12:00`, ascending and apart.
fn hours(list: &[Spanned<String>], found: &mut Findings) -> Hours {
    let mut hours = Hours::new();
    for text in list {
        let parsed = text.value.split_once('-').and_then(|(a, b)| Some((minute(a)?, minute(b)?)));
        let last = hours.last().map_or(0, |(_, to)| *to);
        match parsed.filter(|(from, to)| last <= *from && from < to) {
            Some(span) => hours.push(span),
            None => {
                let message = format!("`{}` are no hours after those before them", text.value);
                let remedy = "write HH:MM-HH:MM, ascending, at most 24:00";
                found.error(at(text), "CALENDAR_INVALID", message, remedy);
            }
        }
    }
    hours
}

fn minute(text: &str) -> Option<i64> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u8>().ok()).flatten();
    let (hour, minute) = (i64::from(digits(hour)?), i64::from(digits(minute)?));
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY_MINUTES).then_some(minutes)
}

fn date(text: &Spanned<String>, found: &mut Findings) -> Option<i64> {
    let day = text.value.parse::<Date>().ok().map(epoch_day).filter(|day| days().contains(day));
    if day.is_none() {
        let message = format!("`{}` is not a date from 2020 to 2059", text.value);
        found.error(at(text), "CALENDAR_INVALID", message, "write YYYY-MM-DD");
    }
    day
}

/// A zone of the bundled database.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// The start of a date in a zone, or an instant with an offset.
pub(crate) fn instant(text: &str, zone: &TimeZone) -> Option<Millis> {
    // The parser of dates passes over a time of day that follows, so only what is no longer than a date is one.
    if text.len() > "2026-12-01".len() {
        return text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    }
    let midnight = text.parse::<Date>().ok()?.to_zoned_datetime(zone.clone()).ok()?;
    Some(midnight.timestamp().as_millisecond())
}

/// From local day and minute to an instant. A zone without clock changes in our years is plain arithmetic.
struct Zone {
    zone: TimeZone,
    fixed_offset_ms: Option<i64>,
}

impl Zone {
    fn new(zone: TimeZone) -> Self {
        let start = Date::constant(*YEARS.start(), 1, 1).to_zoned_datetime(TimeZone::UTC);
        let fixed_offset_ms = start.ok().map(|zoned| zoned.timestamp()).and_then(|start| {
            let fixed = zone.following(start).next().is_none();
            fixed.then(|| i64::from(zone.to_offset(start).seconds()) * 1000)
        });
        Self { zone, fixed_offset_ms }
    }

    fn instant(&self, day: i64, minute: i64) -> Millis {
        let local = day * DAY_MS + minute * MINUTE_MS;
        if let Some(offset) = self.fixed_offset_ms {
            return local - offset;
        }
        let wall = jiff::Timestamp::from_millisecond(local).ok().map(|instant| {
            let wall = TimeZone::UTC.to_datetime(instant);
            self.zone.to_ambiguous_timestamp(wall).compatible().ok()
        });
        wall.flatten().map_or(local, jiff::Timestamp::as_millisecond)
    }
}
