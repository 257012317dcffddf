//! Calendars: the worked examples of the access standard, and W and A as inverses of each other.

use proptest::prelude::*;

use super::*;
use crate::district::FileSet;
use crate::district::files::Findings;

const HOUR: i64 = 60 * MINUTE_MS;

fn calendar_of(text: &str) -> Result<Arc<Calendar>, Vec<(&'static str, u32)>> {
    let mut found = Findings::default();
    let files = FileSet::from([("calendars.yaml".to_owned(), text.to_owned())]);
    let calendars = read(&files, &mut found);
    let problems = found.problems.iter().map(|problem| (problem.code, problem.line)).collect();
    calendars.into_values().next().ok_or(problems)
}

fn office() -> Arc<Calendar> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/district/calendars.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut found = Findings::default();
    let files = FileSet::from([("calendars.yaml".to_owned(), text)]);
    read(&files, &mut found).remove("office-demo").unwrap()
}

/// An instant of autumn 2026 in Shanghai, `MM-DD HH:MM`.
fn at(text: &str) -> Millis {
    let (date, time) = text.split_once(' ').unwrap();
    let instant = format!("2026-{date}T{time}:00+08:00");
    instant.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[test]
fn x1_weekend_with_a_make_up_sunday() {
    assert_eq!(office().add(at("09-18 16:30"), 4 * HOUR), at("09-20 11:30"));
}

#[test]
fn x2_holiday() {
    let office = office();
    assert_eq!(office.day_minutes, 480);
    assert_eq!(office.add(at("09-30 15:00"), 8 * HOUR), at("10-08 15:00"));
    assert_eq!(office.worked(at("10-01 00:00"), at("10-08 00:00")), 0);
}

#[test]
fn edges_are_where_work_begins_and_ends() {
    let office = office();
    let edges = |from: &str, count: usize| {
        let next = |edge: &Millis| office.next_edge(*edge);
        std::iter::successors(office.next_edge(at(from)), next).take(count).collect::<Vec<_>>()
    };
    let friday = ["11-20 13:00", "11-20 18:00", "11-23 09:00", "11-23 12:00"].map(at);
    assert_eq!(edges("11-20 12:00", 4), friday);
    assert_eq!(edges("11-20 12:59", 1), [at("11-20 13:00")]);
    for edge in edges("09-18 00:00", 60) {
        assert_ne!(office.is_open(edge - 1), office.is_open(edge), "{edge}");
    }
    assert_eq!(office.next_edge(Millis::MAX), None);
    assert!(office.next_edge(Millis::MIN).is_some_and(|first| office.is_open(first)));
}

#[test]
fn x3_pause_and_x4_extension() {
    let office = office();
    let start = at("10-08 09:00");
    assert_eq!(office.add(start, 16 * HOUR), at("10-09 18:00"));
    let consumed = office.worked(start, at("10-09 11:00"));
    assert_eq!(consumed, 10 * HOUR);
    let resumed = at("10-12 13:30");
    assert_eq!(office.add(resumed, 16 * HOUR - consumed), at("10-13 10:30"));
    assert_eq!(office.add(resumed, 16 * HOUR * 80 / 100 - consumed), at("10-12 16:18"));
    let approved = at("10-13 10:00");
    let consumed = consumed + office.worked(resumed, approved);
    assert_eq!(consumed, 15 * HOUR + HOUR / 2);
    assert_eq!(office.add(approved, 24 * HOUR - consumed), at("10-14 10:30"));
    assert_eq!(office.add(approved, 24 * HOUR * 80 / 100 - consumed), at("10-13 14:42"));
}

#[test]
fn x5_x6_and_x8_where_they_are_calendar() {
    let office = office();
    assert_eq!(office.add(at("10-12 09:00"), 8 * HOUR), at("10-12 18:00"));
    assert_eq!(office.add(at("10-12 09:50"), 6 * HOUR), at("10-12 16:50"));
    assert_eq!(office.add(at("10-09 14:00"), 8 * HOUR), at("10-10 14:00"));
    assert_eq!(office.worked(at("10-09 14:00"), at("10-09 17:00")), 3 * HOUR);
    assert_eq!(office.add(at("10-09 19:00"), 3 * HOUR), at("10-10 12:00"));
    assert_eq!(office.worked(at("10-12 10:00"), at("10-12 13:30")), 2 * HOUR + HOUR / 2);
    assert_eq!(office.add(at("10-13 09:30"), HOUR + HOUR / 2), at("10-13 11:00"));
}

#[test]
fn edges_of_a_span() {
    let office = office();
    let (noon, one) = (at("10-12 12:00"), at("10-12 13:00"));
    assert!(office.is_open(noon - 1) && !office.is_open(noon));
    assert!(!office.is_open(one - 1) && office.is_open(one));
    assert_eq!(office.add(noon, 0), noon, "no time asked, no waiting");
    assert_eq!(office.add(noon, -1), noon);
    assert_eq!(office.add(at("10-12 11:00"), HOUR), noon, "the earliest of all that fit");
    assert_eq!(office.worked(one, noon), 0);
    assert_eq!(office.add(noon, i64::MAX), Millis::MAX);
}

#[test]
fn a_day_without_end_is_one_span() {
    let always = calendar_of(
        "calendars:
  - id: always
    version: '1'
    zone: Asia/Shanghai
    day_minutes: 1440
    week:
      {mon: ['00:00-24:00'], tue: ['00:00-24:00'], wed: ['00:00-24:00'], thu: ['00:00-24:00'],
       fri: ['00:00-24:00'], sat: ['00:00-24:00'], sun: ['00:00-24:00']}
    covers_to: 2029-12-31
",
    )
    .unwrap();
    assert_eq!(always.starts.len(), 1);
    assert_eq!(always.add(at("10-01 03:00"), 30 * HOUR), at("10-02 09:00"));
}

#[test]
fn a_zone_with_summer_time() {
    let text = "calendars:
  - id: ny
    version: '1'
    zone: America/New_York
    day_minutes: 1440
    week: {sun: ['00:00-24:00']}
    covers_to: 2029-12-31
";
    let sunday = calendar_of(text).unwrap();
    let instant = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let (spring, autumn) = (instant("2026-03-08T05:00:00Z"), instant("2026-11-01T04:00:00Z"));
    assert_eq!(sunday.worked(spring, spring + 48 * HOUR), 23 * HOUR);
    assert_eq!(sunday.worked(autumn, autumn + 48 * HOUR), 25 * HOUR);
}

#[test]
fn an_instant_keeps_its_time_of_day() {
    let zone = read::zone("Asia/Shanghai").unwrap();
    let instant = |text: &str| read::instant(text, &zone);
    let midnight = 1_796_054_400_000;
    assert_eq!(instant("2026-12-01"), Some(midnight));
    assert_eq!(instant("2026-12-01T08:30:00+08:00"), Some(midnight + 8 * HOUR + HOUR / 2));
    assert_eq!(instant("2026-12-01T00:30:00Z"), Some(midnight + 8 * HOUR + HOUR / 2));
    for wrong in ["2026-12-01T08:30:00", "2026-12-01 at 8", "tomorrow", ""] {
        assert_eq!(instant(wrong), None, "{wrong}");
    }
}

#[test]
fn every_error_has_its_line() {
    let good = "calendars:
  - id: office
    version: '1'
    zone: Asia/Shanghai
    day_minutes: 480
    week: {mon: ['09:00-12:00', '13:00-18:00']}
    holidays: [2026-10-01]
    makeup_days: [2026-10-10]
    makeup_hours: ['09:00-12:00']
    covers_to: 2026-12-31
";
    assert!(calendar_of(good).is_ok());
    for (from, to, line) in [
        ("Asia/Shanghai", "Asia/Qingpu", 4),
        ("480", "0", 5),
        ("mon:", "moon:", 6),
        ("mon: ['09:00-12:00', '13:00-18:00']", "", 6),
        ("'13:00-18:00'", "'11:00-18:00'", 6),
        ("13:00-18:00", "13:00-24:01", 6),
        ("2026-10-01", "2026-10-32", 7),
        ("2026-10-10", "2026-10-01", 8),
        ("    makeup_hours: ['09:00-12:00']\n", "", 8),
        ("2026-12-31", "soon", 10),
    ] {
        let found = calendar_of(&good.replacen(from, to, 1)).unwrap_err();
        assert!(found.contains(&("CALENDAR_INVALID", line)), "{from} → {to}: {found:?}");
    }
    let found = calendar_of(&good.replacen("version", "edition", 1)).unwrap_err();
    assert_eq!(found[0].0, "YAML_INVALID");
}

/// Working time of office-demo, counted minute by minute over whole minutes: slow and plain.
fn slow_worked(from: Millis, to: Millis) -> i64 {
    let holidays = ["09-25", "09-26", "09-27"];
    let minutes = (from / MINUTE_MS)..(to / MINUTE_MS);
    let open = |minute: &i64| {
        let zoned = jiff::Timestamp::from_millisecond(minute * MINUTE_MS).unwrap();
        let wall = zoned.in_tz("Asia/Shanghai").unwrap().datetime();
        let day = format!("{:02}-{:02}", wall.month(), wall.day());
        let national = wall.month() == 10 && wall.day() <= 7;
        let makeup = day == "09-20" || day == "10-10";
        let weekend = wall.weekday().to_monday_zero_offset() >= 5;
        let works = makeup || !(weekend || national || holidays.contains(&day.as_str()));
        works && (9..18).contains(&wall.hour()) && wall.hour() != 12
    };
    minutes.filter(open).count() as i64 * MINUTE_MS
}

fn instants() -> impl Strategy<Value = Millis> {
    let (from, to) = (at("09-14 00:00"), at("10-19 00:00"));
    from..to
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn add_is_the_inverse_of_worked(from in instants(), span in 1i64..400 * HOUR) {
        let office = office_once();
        let due = office.add(from, span);
        prop_assert!(due > from);
        prop_assert_eq!(office.worked(from, due), span);
        prop_assert_eq!(office.worked(from, due - 1), span - 1, "the earliest such instant");
    }

    #[test]
    fn worked_is_additive_and_monotone(mut t in [instants(), instants(), instants()]) {
        let office = office_once();
        t.sort_unstable();
        let [a, b, c] = t;
        prop_assert_eq!(office.worked(a, b) + office.worked(b, c), office.worked(a, c));
        prop_assert!(office.worked(a, c) <= c - a);
        prop_assert_eq!(office.is_open(a), office.worked(a, a + 1) == 1);
    }

    #[test]
    fn add_goes_on_where_it_stopped(from in instants(), x in 0i64..90 * HOUR, y in 0i64..90 * HOUR) {
        let office = office_once();
        prop_assert_eq!(office.add(office.add(from, x), y), office.add(from, x + y).max(office.add(from, x)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn equal_to_the_slow_reckoning(from in instants(), days in 0i64..9) {
        let from = from / MINUTE_MS * MINUTE_MS;
        let to = from + days * DAY_MS + 77 * MINUTE_MS;
        prop_assert_eq!(office_once().worked(from, to), slow_worked(from, to));
    }
}

fn office_once() -> Arc<Calendar> {
    thread_local!(static OFFICE: Arc<Calendar> = office());
    OFFICE.with(Arc::clone)
}
