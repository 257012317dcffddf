//! The worked examples of devices §5 with their ids, and load errors.

use super::model::{AttributeModel, Model, PropertyKind, PropertyModel};
use super::*;
use crate::ids;
use crate::route::bytes::{Reader, Writer};
use crate::sample::{Flags, PropertyRef, Quality, Sampled, Value};
use crate::thing::{AlarmSpec, Expression, LatePolicy, SeveritySpec, SeverityStep};

pub(super) const VERSION: u8 = snapshot::FIRST_WITH_EDGES;

/// 2026-11-23 00:00 +08:00
pub(super) const DAY: Millis = 1_795_363_200_000;
pub(super) const MINUTE: Millis = 60_000;

pub(super) fn at(clock: &str) -> Millis {
    let parts: Vec<i64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    DAY + parts[0] * 3_600_000 + parts[1] * MINUTE + parts.get(2).unwrap_or(&0) * 1000
}

pub(super) fn property(
    identifier: &str,
    name: &str,
    unit: &str,
    kind: PropertyKind,
) -> PropertyModel {
    let (identifier, name, unit) = (identifier.into(), name.into(), unit.into());
    PropertyModel { identifier, name, unit, kind }
}

pub(super) fn condition_at(line: u32, text: &str) -> Expression {
    Expression { text: text.to_owned(), line }
}

pub(super) fn some(text: &str) -> Option<Expression> {
    Some(condition_at(32, text))
}

pub(super) fn plain(id: &str, when: &str, base: AlarmSeverity, category: &str) -> AlarmSpec {
    AlarmSpec {
        id: id.into(),
        name: id.into(),
        when: condition_at(31, when),
        clear: None,
        hold: Hold::None,
        clear_hold: None,
        quiet_clear: None,
        late: LatePolicy::History,
        category: category.into(),
        category_line: 31,
        severity: SeveritySpec { base, steps: Vec::new(), step_down: true },
        missing: MissingPolicy::Reset,
        remind: None,
        flap: Flap::default(),
        schedule: None,
        line: 31,
    }
}

pub(super) fn water() -> (Model, Vec<AlarmSpec>) {
    let model = Model {
        file: "wl-radar-01.thing.yaml".into(),
        product: "wl-radar-01".into(),
        properties: vec![
            property("level", "水位", "m", PropertyKind::Number),
            property("battery", "电池", "V", PropertyKind::Number),
        ],
        attributes: vec![
            AttributeModel { identifier: "warnLevel".into(), default: Some(3.5) },
            AttributeModel { identifier: "dangerLevel".into(), default: Some(3.8) },
        ],
        valid_for: Some(10 * MINUTE),
    };
    let step = SeverityStep {
        when: condition_at(33, "level >= attr('dangerLevel')"),
        until: some("level < attr('dangerLevel') - 0.1"),
        is: AlarmSeverity::Critical,
        line: 33,
    };
    let when = "level >= attr('warnLevel')";
    let mut high = plain("high-level", when, AlarmSeverity::Major, "flood.level");
    high.clear = some("level < attr('warnLevel') - 0.1");
    high.hold = Hold::For(10 * MINUTE);
    high.clear_hold = Some(10 * MINUTE);
    high.severity.steps.push(step);
    let silent = plain("silent", "absent(30m)", AlarmSeverity::Minor, "device.fault");
    (model, vec![high, silent])
}

pub(super) fn smoke() -> (Model, Vec<AlarmSpec>) {
    let model = Model {
        file: "smoke-01.thing.yaml".into(),
        product: "smoke-01".into(),
        properties: vec![property("smoke", "烟雾", "", PropertyKind::Bool)],
        ..Model::default()
    };
    let mut rule = plain("smoke", "smoke", AlarmSeverity::Critical, "fire.smoke");
    rule.quiet_clear = Some(5 * MINUTE);
    rule.late = LatePolicy::Raise;
    (model, vec![rule])
}

pub(super) fn compiled((model, rules): &(Model, Vec<AlarmSpec>)) -> RuleSet {
    let (set, problems) = RuleSet::compile_specs(model, rules, &calendars());
    assert_eq!(problems, []);
    set.unwrap()
}

/// Two spans a day, with a gap of seven minutes; and the evening, over midnight.
pub(super) const CALENDARS: &str = "calendars:
  - id: gaps
    version: '1'
    zone: Asia/Shanghai
    day_minutes: 60
    week:
      mon: ['00:00-00:20', '00:27-01:05', '02:00-24:00']
      tue: ['00:00-06:00']
    covers_to: 2029-12-31
  - id: evening
    version: '1'
    zone: Asia/Shanghai
    day_minutes: 60
    week:
      mon: ['22:00-24:00']
      tue: ['00:00-06:00', '22:00-24:00']
    covers_to: 2029-12-31
";

pub(super) fn calendars() -> Calendars {
    let files = [("calendars.yaml".to_owned(), CALENDARS.to_owned())].into();
    let mut found = crate::district::files::Findings::default();
    let calendars = crate::calendar::read(&files, &mut found);
    assert_eq!(found.problems, []);
    calendars
}

/// One device behind a hub that ticks every second.
pub(super) struct Hub {
    pub(super) rules: RuleSet,
    device: String,
    pub(super) state: DeviceRules,
    listening_since: Millis,
    pub(super) held: bool,
    pub(super) windows: Vec<Span>,
    pub(super) out: Vec<Emitted>,
    ids: Vec<String>,
}

impl Hub {
    pub(super) fn new(rules: RuleSet, dn: &str) -> Self {
        let device = format!("{}/{dn}", rules.product);
        let state = DeviceRules::new(&rules);
        let (windows, out, ids) = (Vec::new(), Vec::new(), Vec::new());
        Self { rules, device, state, listening_since: 0, held: false, windows, out, ids }
    }

    pub(super) fn run<R>(
        &mut self,
        step: impl FnOnce(&mut DeviceRules, &Context<'_>, &mut Vec<Emitted>) -> R,
    ) {
        let cx = Context {
            rules: &self.rules,
            attributes: &[],
            valid_for: self.rules.valid_for,
            clock_skew: 10 * MINUTE,
            late_after: 24 * 60 * MINUTE,
            held: self.held,
            windows: &self.windows,
        };
        step(&mut self.state, &cx, &mut self.out);
    }

    /// One message of one or more sets of property 0; gives the state letters of rule 0 after it.
    pub(super) fn message(&mut self, rx: &str, n: u64, sets: &[(&str, f64)]) -> char {
        let raw = ids::raw_by_sequence(&self.device, 1, n);
        let first = self.out.len();
        let bool = self.rules.properties.first().is_none_or(|p| p.kind == PropertyKind::Bool);
        for (t, value) in sets {
            let value = if bool { Value::Bool(*value == 1.0) } else { Value::Float(*value) };
            let property = PropertyRef::Known(0);
            let (quality, flags) = (Quality::Good, Flags::default());
            let values = [Sampled { property, value, quality, flags }];
            let mark = Mark { t: at(t), raw: Id(0) };
            let sample = Sample { mark, rx: at(rx), values: &values };
            self.run(|state, cx, out| state.sample(cx, &sample, out));
        }
        let mut index = sets.len() as u64;
        for one in &self.out[first..] {
            let id = match one.born {
                Born::Sample => {
                    index += 1;
                    ids::output(raw, index - 1)
                }
                Born::Timer(edge) => self.edge_id(one, edge),
            };
            self.ids.push(id.to_string());
        }
        self.letter(0)
    }

    pub(super) fn edge_id(&self, one: &Emitted, edge: Edge) -> Id {
        let rule = &self.rules.rules[usize::from(one.rule)];
        edge.id(&self.rules.product, &rule.id, one.kind, &self.device)
    }

    pub(super) fn tick(&mut self, now: &str) -> char {
        let (first, listening) = (self.out.len(), self.listening_since);
        self.run(|state, cx, out| state.tick(cx, at(now), listening, out));
        for one in &self.out[first..] {
            let Born::Timer(edge) = one.born else { panic!("a tick has no sample") };
            self.ids.push(self.edge_id(one, edge).to_string());
        }
        self.letter(0)
    }

    /// The device is in service again.
    pub(super) fn end_maintenance(&mut self, now: &str) {
        self.held = false;
        let first = self.out.len();
        self.run(|state, cx, out| state.release(cx, at(now), out));
        for one in &self.out[first..] {
            let Born::Timer(edge) = one.born else { panic!("no sample ends a maintenance") };
            self.ids.push(self.edge_id(one, edge).to_string());
        }
    }

    pub(super) fn letter(&self, rule: usize) -> char {
        match self.state.phase(rule) {
            Phase::Normal => 'N',
            Phase::Pending => 'P',
            Phase::Firing => 'F',
            Phase::Clearing => 'C',
        }
    }

    /// Kind, clock, severity, cause and id of everything said, and forgets it.
    pub(super) fn said(&mut self) -> Vec<String> {
        let all = self.out.drain(..).zip(self.ids.drain(..)).map(|(one, id)| {
            let clock = (one.time - DAY) / 1000;
            let (h, m, s) = (clock / 3600, clock / 60 % 60, clock % 60);
            let (kind, severity) = (one.kind.as_str(), one.severity.as_str());
            let cause = one.cause.as_str();
            format!("{kind} {h:02}:{m:02}:{s:02} {severity} {cause} {id}").replace("  ", " ")
        });
        all.collect()
    }

    /// Through bytes and back, as after a restart.
    pub(super) fn restart(&mut self) {
        let mut bytes = Writer::default();
        self.state.encode(&mut bytes);
        let mut reader = Reader::new(&bytes.bytes);
        self.state = DeviceRules::decode(&mut reader, VERSION).unwrap();
        assert!(reader.is_empty());
        let legend = Legend::of(&self.rules);
        self.run(|state, cx, _| assert_eq!(state.adopt(&legend, true, cx), []));
    }
}

#[test]
fn e1_hold_steps_dead_band_and_clear_hold() {
    let mut hub = Hub::new(compiled(&water()), "R-0001");
    let samples = [
        ("09:45", 3.42, 'N'),
        ("09:50", 3.52, 'P'),
        ("09:55", 3.47, 'N'),
        ("10:00", 3.51, 'P'),
        ("10:05", 3.55, 'P'),
        ("10:10", 3.61, 'F'),
        ("10:15", 3.83, 'F'),
        ("10:20", 3.76, 'F'),
        ("10:25", 3.62, 'F'),
        ("10:30", 3.45, 'F'),
        ("10:35", 3.38, 'C'),
        ("10:40", 3.41, 'F'),
        ("10:45", 3.36, 'C'),
        ("10:50", 3.31, 'C'),
        ("10:55", 3.30, 'N'),
    ];
    for (n, (t, level, phase)) in (1..).zip(samples) {
        assert_eq!(hub.message(&format!("{t}:02"), n, &[(t, level)]), phase, "{t}");
    }
    assert_eq!(hub.out[0].since, at("10:00"));
    assert_eq!(hub.out[0].text, "水位 3.61 m（阈值 3.5）");
    let expected = [
        "raise 10:10:00 MAJOR 671e15be4d4f99f7dec413d1cd425ead",
        "severity 10:15:00 CRITICAL 6fe47e452a9f6ab06eb864a5f76a8303",
        "severity 10:35:00 MAJOR 4e7c60cd45c6ce84f8b8cb2a8ed89614",
        "clear 10:55:00 MAJOR 0061926f780a8cefc30f08dd9a9de59d",
    ];
    assert_eq!(hub.said(), expected);
}

#[test]
fn e2_quiet_clear_late_and_ticks() {
    let mut hub = Hub::new(compiled(&smoke()), "S-0007");
    assert_eq!(hub.message("02:00:01", 11, &[("02:00:00", 1.0)]), 'F');
    assert_eq!(hub.message("02:00:31", 12, &[("02:00:30", 1.0)]), 'F');
    assert_eq!(hub.message("02:01:01", 13, &[("02:01:00", 0.0)]), 'F', "0 clears nothing");
    assert_eq!(hub.message("02:03:00", 10, &[("01:59:50", 1.0)]), 'F', "late: history only");
    assert_eq!(hub.tick("02:05:40"), 'F');
    hub.restart();
    assert_eq!(hub.tick("02:05:41"), 'N');
    assert_eq!(hub.message("02:06:00", 14, &[("02:00:45", 1.0)]), 'N', "late, t <= E");
    assert_eq!(hub.message("02:20:00", 15, &[("02:20:00", 1.0)]), 'F');
    let expected = [
        "raise 02:00:00 CRITICAL 7e7679407bdaaaf4c748bd75cc07bcde",
        "clear 02:05:30 CRITICAL QUIET c1b36ccb0def478d05d37e41a01ee4da",
        "raise 02:20:00 CRITICAL 3ba7ab2c4318db0afd955885193a5b0b",
    ];
    assert_eq!(hub.said(), expected);

    let mut hub = Hub::new(compiled(&smoke()), "S-0008");
    assert_eq!(hub.message("03:30:01", 31, &[("03:30:00", 0.0)]), 'N');
    assert_eq!(hub.message("03:30:05", 21, &[("03:00:00", 1.0)]), 'N');
    assert_eq!(hub.message("03:30:05", 22, &[("03:00:30", 1.0)]), 'N', "late, t <= E");
    let expected = [
        "raise 03:00:00 CRITICAL LATE e877d69f5307be296be257d75c2922b1",
        "clear 03:30:00 CRITICAL LATE 3d7c22cf6d4d5d8ba0901c45930b9af6",
    ];
    assert_eq!(hub.said(), expected);
}

#[test]
fn e3_missing_data_batch_and_late() {
    let mut hub = Hub::new(compiled(&water()), "R-0002");
    assert_eq!(hub.message("11:00:02", 1, &[("11:00", 3.55)]), 'P');
    assert_eq!(hub.tick("11:10:11"), 'P');
    assert_eq!(hub.tick("11:10:12"), 'N', "lapse wins");
    let batch = [
        ("11:05", 3.56),
        ("11:10", 3.57),
        ("11:15", 3.58),
        ("11:20", 3.59),
        ("11:25", 3.60),
        ("11:30", 3.61),
    ];
    let mut killed = Hub::new(compiled(&water()), "R-0002");
    killed.message("11:00:02", 1, &[("11:00", 3.55)]);
    killed.tick("11:10:12");
    killed.restart();
    killed.message("11:31:00", 2, &batch);
    assert_eq!(hub.message("11:31:00", 2, &batch), 'F');
    assert_eq!(hub.out[0].since, at("11:05"));
    assert_eq!(hub.out, killed.out);
    assert_eq!(hub.said(), ["raise 11:15:00 MAJOR e85df7c369e59c7cfa1463823069a020"]);
    assert_eq!(hub.message("11:35:02", 3, &[("11:35", 3.30)]), 'C');
    assert_eq!(hub.message("11:36:00", 4, &[("11:33", 3.90)]), 'C', "late");
    assert_eq!(hub.tick("11:45:11"), 'C');
    assert_eq!(hub.tick("11:45:12"), 'F', "one good sample does not clear");
    assert!(hub.state.is_stale(0));
    hub.restart();
    assert!(hub.state.is_stale(0));
    assert_eq!(hub.message("11:46:02", 5, &[("11:40", 3.31)]), 'C', "newest measured");
    assert_eq!(hub.tick("11:49:59"), 'C');
    assert!(hub.said().is_empty());
}

#[test]
fn e4_absent_while_we_listened() {
    let mut hub = Hub::new(compiled(&water()), "R-0003");
    hub.message("12:00:02", 1, &[("12:00", 1.0)]);
    hub.tick("12:10:00");
    hub.listening_since = at("13:00:00");
    hub.tick("13:00:00");
    hub.tick("13:30:09");
    assert!(hub.out.is_empty());
    hub.restart();
    hub.tick("13:30:10");
    hub.message("13:45:02", 2, &[("13:45", 1.0)]);
    assert_eq!(hub.out[0].text, "30 分钟无有效读数");
    let expected = [
        "raise 12:30:00 MINOR c50369e258f48bdd9e8998fc1b3706fa",
        "clear 13:45:00 MINOR 3cd326d5e4f1cbf8b95d964df12cc4b3",
    ];
    assert_eq!(hub.said(), expected);
}

pub(super) fn manhole() -> (Model, Vec<AlarmSpec>) {
    let model = Model {
        product: "manhole-01".into(),
        properties: vec![property("open", "井盖开启", "", PropertyKind::Bool)],
        ..Model::default()
    };
    let mut rule = plain("open", "open", AlarmSeverity::Major, "part.manhole");
    rule.flap = Flap { count: 3, within: 10 * MINUTE, quiet: 15 * MINUTE };
    (model, vec![rule])
}

#[test]
fn e5_flapping() {
    let mut hub = Hub::new(compiled(&manhole()), "M-0001");
    for minute in 0..8 {
        let (t, rx) = (format!("08:0{minute}:00"), format!("08:0{minute}:01"));
        hub.message(&rx, minute + 1, &[(&t, ((minute + 1) % 2) as f64)]);
    }
    hub.tick("08:22:10");
    assert_eq!(hub.letter(0), 'C');
    hub.restart();
    hub.tick("08:22:11");
    let said: Vec<String> =
        hub.said().iter().map(|said| said.rsplit_once(' ').unwrap().0.to_owned()).collect();
    let expected = [
        "raise 08:00:00 MAJOR",
        "clear 08:01:00 MAJOR",
        "raise 08:02:00 MAJOR",
        "clear 08:03:00 MAJOR",
        "raise 08:04:00 MAJOR FLAPPING",
        "clear 08:22:00 MAJOR",
    ];
    assert_eq!(said, expected);
}

#[test]
fn our_own_time_never_enters_an_id() {
    let mut hub = Hub::new(compiled(&smoke()), "S-0009");
    let raw = ids::raw_by_sequence(&hub.device, 1, 1);
    let mark = Mark { t: at("02:00"), raw };
    let values = [Sampled {
        property: PropertyRef::Known(0),
        value: Value::Bool(true),
        quality: Quality::Good,
        flags: Flags::default(),
    }];
    hub.run(|state, cx, out| state.sample(cx, &Sample { mark, rx: mark.t, values: &values }, out));
    hub.run(|state, cx, out| state.tick(cx, at("02:30"), 0, out));
    assert_eq!(hub.out[1].born, Born::Timer(Edge::Raw(raw)));
    let expected = ids::Hasher::new().text("t").text("smoke-01/smoke/clear").text(&hub.device);
    assert_eq!(hub.edge_id(&hub.out[1], Edge::Raw(raw)), expected.id(raw).finish());
}

#[test]
fn invalid_values_are_no_samples() {
    let mut hub = Hub::new(compiled(&manhole()), "M-0002");
    let bad = Sampled {
        property: PropertyRef::Known(0),
        value: Value::Bool(true),
        quality: Quality::Bad,
        flags: Flags::default(),
    };
    let flagged = Sampled { quality: Quality::Good, flags: Flags::OUT_OF_RANGE, ..bad };
    for values in [[bad], [flagged]] {
        let mark = Mark { t: at("08:00"), raw: Id(0) };
        let sample = Sample { mark, rx: mark.t, values: &values };
        hub.run(|state, cx, out| state.sample(cx, &sample, out));
    }
    assert!(hub.out.is_empty());
    assert_eq!(hub.state.newest(), None);
}

#[test]
fn load_errors_name_line_and_cause() {
    let (model, rules) = water();
    let tries: [(&str, &str); 14] = [
        ("levle > 3", "unknown property `levle`"),
        ("level", "a condition must be true or false"),
        ("level > attr('nope')", "unknown attribute 'nope'"),
        ("level > 3 and battery", "`and` needs true or false, found a number"),
        ("prev(level, 3) > 3", "prev() takes one property"),
        ("avg(level) > 3", "avg() takes a property and a duration"),
        ("avg(level, 32d) > 3", "avg() spans 12 ms to 2678400000 ms"),
        ("median(level, 1h) > 3", "unknown function `median`"),
        ("level > ", "unexpected end of the condition"),
        ("level > 3)", "column 10: unexpected `)`"),
        ("level > 'high'", "cannot compare a number with the word 'high'"),
        ("absent(30m) and level > 3", "absent() must be the whole of `when`"),
        ("level > 3 § 4", "unexpected character `§`"),
        ("((((((((((((((((((((((((((((((((((level))))))", "nested deeper than"),
    ];
    for (when, message) in tries {
        let mut rule = rules[0].clone();
        rule.when.text = when.to_owned();
        let (set, problems) = RuleSet::compile_specs(&model, &[rule], &calendars());
        assert!(set.is_none(), "{when}");
        assert_eq!(problems[0].line, 31);
        assert!(problems[0].message.contains(message), "{when}: {}", problems[0]);
    }
}
