//! The worked examples of incidents section 10, on the calendar `office-demo`.

use super::clock::{ClockSpec, Fold, worked};
use super::fixture::{DAY, FRI_18_SEP, HOUR, MINUTE, office};
use super::*;
use crate::calendar::Calendar;
use crate::ids::Id;
use crate::record::Millis;

const WD: i64 = 480 * MINUTE;

/// An instant of 2026 in Shanghai.
fn at(month: u32, day: u32, hour: i64, minute: i64) -> Millis {
    let days = i64::from(if month == 9 { day } else { day + 30 }) - 18;
    FRI_18_SEP + days * DAY + hour * HOUR + minute * MINUTE
}

struct Bench {
    clock: Clock,
    segments: Vec<ClockSegment>,
    office: Calendar,
    working: bool,
}

impl Bench {
    fn start(now: Millis, budget_ms: i64) -> Self {
        let spec = ClockSpec {
            incident: Id(1),
            owner: Id(1),
            kind: ClockKind::Handle,
            budget_ms,
            calendar: Some("office-demo".into()),
            rungs: "rungs-default".into(),
        };
        let mut bench = Self {
            clock: Clock::start(spec, now),
            segments: vec![],
            office: office(),
            working: true,
        };
        bench.run(now, |fold, clock| fold.plan(clock));
        bench
    }

    fn run(&mut self, now: Millis, act: impl FnOnce(&mut Fold<'_>, &mut Clock)) {
        let terms = Terms::default();
        let calendar = self.working.then_some(&self.office);
        let segments = &mut self.segments;
        let mut fold = Fold { calendar, terms: &terms, now, cause: Action::Rung, segments };
        act(&mut fold, &mut self.clock);
    }

    fn due(&self) -> Millis {
        self.clock.due(self.working.then_some(&self.office)).expect("running")
    }

    fn rung(&self) -> Option<(u32, Millis)> {
        self.clock.next_rung.zip(self.clock.fire_at)
    }
}

#[test]
fn x1_weekend_with_a_make_up_sunday() {
    assert_eq!(Bench::start(at(9, 18, 16, 30), 4 * HOUR).due(), at(9, 20, 11, 30));
}

#[test]
fn x2_holiday() {
    assert_eq!(Bench::start(at(9, 30, 15, 0), WD).due(), at(10, 8, 15, 0));
}

#[test]
fn x3_pause_and_x4_extension() {
    let mut bench = Bench::start(at(10, 8, 9, 0), 2 * WD);
    assert_eq!(bench.due(), at(10, 9, 18, 0));
    bench.run(at(10, 9, 11, 0), |fold, clock| fold.pause(clock));
    assert_eq!(bench.clock.consumed_ms, 10 * HOUR);
    assert_eq!(bench.rung(), None);
    bench.run(at(10, 12, 13, 30), |fold, clock| fold.resume(clock));
    assert_eq!(bench.due(), at(10, 13, 10, 30));
    assert_eq!(bench.rung(), Some((8000, at(10, 12, 16, 18))));
    bench.run(at(10, 13, 10, 0), |fold, clock| fold.rebudget(clock, 3 * WD));
    assert_eq!(bench.clock.budget_no, 2);
    assert_eq!(bench.clock.consumed_ms, 15 * HOUR + 30 * MINUTE);
    assert_eq!(bench.due(), at(10, 14, 10, 30));
    assert_eq!(bench.rung(), Some((8000, at(10, 13, 14, 42))));
    let charged: i64 = bench.segments.iter().map(|segment| segment.added_ms).sum();
    assert_eq!(charged, bench.clock.consumed_ms);
}

#[test]
fn x6_mode_on_and_off() {
    let mut bench = Bench::start(at(10, 9, 14, 0), 8 * HOUR);
    assert_eq!(bench.due(), at(10, 10, 14, 0));
    bench.run(at(10, 9, 17, 0), |fold, clock| fold.rebudget(clock, 6 * HOUR));
    bench.working = false;
    assert_eq!(bench.due(), at(10, 9, 20, 0));
    bench.run(at(10, 9, 19, 0), |fold, clock| fold.rebudget(clock, 8 * HOUR));
    assert_eq!(bench.clock.consumed_ms, 5 * HOUR);
    bench.working = true;
    assert_eq!(bench.due(), at(10, 10, 12, 0));
}

#[test]
fn x8_check_and_rework() {
    let mut bench = Bench::start(at(10, 12, 10, 0), 4 * HOUR);
    bench.run(at(10, 12, 13, 30), |fold, clock| fold.pause(clock));
    assert_eq!(bench.clock.consumed_ms, 2 * HOUR + 30 * MINUTE);
    bench.run(at(10, 13, 9, 30), |fold, clock| fold.resume(clock));
    assert_eq!(bench.due(), at(10, 13, 11, 0));
}

#[test]
fn overdue_is_latched_at_the_due_time_once() {
    let mut bench = Bench::start(at(10, 8, 9, 0), HOUR);
    bench.run(at(10, 8, 10, 0), |fold, clock| fold.fold(clock));
    assert_eq!(bench.clock.overdue_at, None, "spent, not overspent");
    bench.run(at(10, 8, 11, 0), |fold, clock| fold.pause(clock));
    assert_eq!(bench.clock.overdue_at, Some(at(10, 8, 10, 0)));
    bench.run(at(10, 8, 12, 0), |fold, clock| fold.stop(clock));
    assert_eq!(bench.clock.overdue_at, Some(at(10, 8, 10, 0)));
}

#[test]
fn arithmetic_without_a_calendar_is_plain() {
    assert_eq!(worked(None, 5, 5), 0);
    assert_eq!(worked(None, 5, 3), 0);
    assert_eq!(super::clock::after(None, 5, 0), 5);
    assert_eq!(super::clock::after(None, 5, 7), 12);
}
