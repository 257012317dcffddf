//! Correlation (incidents, section 6): each signal gets exactly one outcome, a repeat gets the same
//! again.
//!
//! Invariant: a clear is never refused, limited or grouped away; a signal joins open incidents
//! only; no signal closes an incident but by T15.

use std::sync::Arc;

use super::command::Refusal;
use super::locate::{self, Spotted};
use super::open_index::{self, Fit, Probe, Spot, Standing, alarm_id, clearable, raise};
use super::rows::{AlarmCleared, Incident, SignalRow, UnitId};
use super::session::{Answer, Session, Staged};
use super::step::Work;
use super::words::{Action, Cause, CloseMethod, Outcome, RefusalCode, State};
use crate::district::District;
use crate::ids::{self, Hasher, Id};
use crate::policy::{Mode, Policy};
use crate::record::{Millis, Signal, SignalKind};

/// Where signals of unknown category go.
const OTHER: &str = "other";
/// One day in milliseconds.
const DAY_MS: i64 = 86_400_000;

impl Session<'_> {
    /// Gives one signal its outcome.
    pub fn signal(&mut self, signal: &Signal) -> Staged<Answer> {
        let id = ids::incident(&signal.source, &signal.event_id);
        let digest = digest(signal);
        if let Some(answer) = self.repeat(id, digest) {
            return Staged::Done(answer);
        }
        let result = if signal.source.is_empty() || signal.event_id.is_empty() {
            Ok(self.row(signal, digest, Outcome::Rejected).reason("NO_ID"))
        } else if signal.clears() {
            self.clear(signal, digest)
        } else {
            self.raise(signal, id, digest)
        };
        match result {
            Ok(Row(row)) => Staged::Done(self.settle(id, row)),
            Err(id) => Staged::Need(id),
        }
    }

    /// Rejects a signal whose outcome cannot be found: its row is kept, with the reason.
    pub fn reject(&mut self, signal: &Signal, reason: &str) -> Answer {
        let id = ids::incident(&signal.source, &signal.event_id);
        let digest = digest(signal);
        self.repeat(id, digest).unwrap_or_else(|| {
            let Row(row) = self.row(signal, digest, Outcome::Rejected).reason(reason);
            self.settle(id, row)
        })
    }

    /// The cases that a batch will most likely ask for, so that a store can load them at once. A
    /// hint: what it misses comes as [`Staged::Need`].
    #[must_use]
    pub fn wanted(&self, signals: &[Signal]) -> Vec<Id> {
        let mut wanted = Vec::new();
        let mut want = |id: Id| {
            if self.loaded(id).is_err() && self.index.is_open(id) && !wanted.contains(&id) {
                wanted.push(id);
            }
        };
        for signal in signals {
            if signal.clears() {
                let standings = self.standings(alarm_id(&signal.source, &signal.alarm_key));
                standings.iter().for_each(|standing| want(standing.incident));
            } else if let Some(id) = self.own_incident(signal).or_else(|| self.guess(signal)) {
                want(id);
            }
        }
        wanted
    }

    fn guess(&self, signal: &Signal) -> Option<Id> {
        let spotted = locate::locate(self.context.district, signal);
        let (category, policy) = self.policy_for(&signal.category, &spotted.place)?;
        self.best(&probe(signal, &spotted, &category, &policy))
    }

    /// A report of a partner or a citizen: as a signal, but strict about its fields and its id.
    pub fn report(&mut self, signal: &Signal) -> Staged<Result<Answer, Refusal>> {
        let refuse = |code, detail: &str| Staged::Done(Err(Refusal::new(code, detail)));
        if signal.event_id.is_empty() {
            return refuse(RefusalCode::RequestIdRequired, "a report carries a request_id");
        }
        if !current(self.context.district, &signal.category) {
            return refuse(RefusalCode::CategoryInvalid, "category is not in the list");
        }
        match self.signal(signal) {
            Staged::Done(answer) if answer.content_differs => {
                refuse(RefusalCode::CommandIdReused, "another report has this request_id")
            }
            Staged::Done(answer) => Staged::Done(Ok(answer)),
            Staged::Need(id) => Staged::Need(id),
        }
    }

    fn raise(&mut self, signal: &Signal, id: Id, digest: Id) -> Result<Row, Id> {
        let spotted = locate::locate(self.context.district, signal);
        let Some((category, policy)) = self.policy_for(&signal.category, &spotted.place) else {
            return Ok(self.row(signal, digest, Outcome::Rejected).reason("NO_POLICY"));
        };
        let late = signal.received_at - signal.time > policy.late_max_ms && !policy.late_opens;
        if late {
            return Ok(self.row(signal, digest, Outcome::Late).at_place(spotted.place));
        }
        let probe = probe(signal, &spotted, &category, &policy);
        let group_key = probe.group_key;
        let target = self.own_incident(signal).or_else(|| self.best(&probe));
        let place = spotted.place.clone();
        let (outcome, incident) = match target {
            Some(target) => {
                let Some(work) = self.loaded(target)? else { return Err(target) };
                self.attach(work, signal);
                (Outcome::Attached, target)
            }
            None => {
                let incident = self.draft(signal, id, &category, &policy, spotted, group_key);
                self.open(incident, signal, policy);
                (Outcome::Opened, id)
            }
        };
        self.stand(signal, incident);
        Ok(self.row(signal, digest, outcome).of(incident).at_place(place))
    }

    /// A change or reminder of an alarm goes to the open incident in which the alarm stands.
    fn own_incident(&self, signal: &Signal) -> Option<Id> {
        if !matches!(signal.kind, SignalKind::Severity | SignalKind::Remind) {
            return None;
        }
        let standings = self.standings(alarm_id(&signal.source, &signal.alarm_key));
        standings.iter().map(|standing| standing.incident).find(|id| self.is_open(*id))
    }

    fn is_open(&self, id: Id) -> bool {
        match self.incident(id) {
            Some(incident) => incident.state.is_open(),
            None => self.index.is_open(id),
        }
    }

    /// The best fitting open incident: same asset, nearest, oldest, id.
    fn best(&self, probe: &Probe<'_>) -> Option<Id> {
        let mut best: Option<Fit> = None;
        let mut consider = |fit: Option<Fit>| {
            if let Some(fit) = fit
                && best.is_none_or(|known| fit < known)
            {
                best = Some(fit);
            }
        };
        let changed = |incident: &Incident| {
            incident.state.is_open().then(|| Spot::of(incident).fit(probe)).flatten()
        };
        self.index.around(probe, |spot| {
            consider(match self.incident(spot.id) {
                Some(incident) => changed(incident),
                None => spot.fit(probe),
            });
        });
        for work in self.opened.get(&probe.group_key).into_iter().flatten() {
            consider(changed(&self.works[*work].incident));
        }
        best.map(|fit| fit.id)
    }

    /// The category as far as the district knows it, and its policy at a place.
    fn policy_for(&self, category: &str, place: &str) -> Option<(Arc<str>, Arc<Policy>)> {
        let district = self.context.district;
        let known = if current(district, category) { category } else { OTHER };
        let policy = district.resolve_policy(known, place, Mode::Ordinary);
        policy.map(|policy| (known.into(), policy))
    }

    fn open(&mut self, incident: Incident, signal: &Signal, policy: Arc<Policy>) {
        let files = policy.auto_accept && policy.auto_file;
        let fileable = current(self.context.district, &incident.category);
        if files && fileable {
            self.keep_policy(&policy);
        }
        let work = self.push_work(Work::open(incident, policy.clone()));
        let origin = self.origin_of(work, signal);
        let mut step = self.step(work, origin);
        step.report(signal.text.clone());
        step.as_system();
        if policy.auto_accept {
            step.accept();
        }
        if files && fileable {
            step.file();
            step.dispatch(Action::Dispatch, Cause::Filed, None);
        }
        step.finish();
    }

    fn attach(&mut self, work: usize, signal: &Signal) {
        let standing = self.standings(alarm_id(&signal.source, &signal.alarm_key));
        let id = self.works[work].incident.id;
        let stands = clearable(signal) && standing.iter().any(|known| known.incident == id);
        let origin = self.origin_of(work, signal);
        let mut step = self.step(work, origin);
        let quiet_ms = step.context.terms.attach_quiet_ms;
        let quiet = step.now() - step.work.incident.updated_at < quiet_ms;
        let incident = &mut step.work.incident;
        let worse = signal.severity > incident.severity;
        let back = incident.recovered_at.take().is_some();
        incident.signals += 1;
        incident.standing += u32::from(!stands);
        incident.severity = incident.severity.max(signal.severity);
        incident.first_signal_at = incident.first_signal_at.min(signal.time);
        incident.last_signal_at = incident.last_signal_at.max(signal.time);
        step.work.touch();
        if worse || back || !quiet {
            step.version(Action::AttachSignal, signal.text.clone());
        }
        step.finish();
    }

    /// Ends an alarm: every incident in which it stood loses it; the last one gone means recovery.
    fn clear(&mut self, signal: &Signal, digest: Id) -> Result<Row, Id> {
        let id = alarm_id(&signal.source, &signal.alarm_key);
        let ended: Vec<Standing> = self
            .standings(id)
            .iter()
            .filter(|standing| standing.time <= signal.time)
            .copied()
            .collect();
        let Some(first) = ended.first() else {
            return Ok(self.row(signal, digest, Outcome::ClearedNothing));
        };
        for standing in &ended {
            if self.is_open(standing.incident) {
                self.loaded(standing.incident)?;
            }
        }
        let row = self.row(signal, digest, Outcome::Cleared).of(first.incident);
        for standing in &ended {
            if let Ok(Some(work)) = self.loaded(standing.incident)
                && self.works[work].incident.state.is_open()
            {
                self.recover(work, signal);
            }
        }
        self.end_alarm(id, signal);
        Ok(row)
    }

    fn recover(&mut self, work: usize, signal: &Signal) {
        let origin = self.origin_of(work, signal);
        let mut step = self.step(work, origin);
        let incident = &mut step.work.incident;
        incident.standing = incident.standing.saturating_sub(1);
        step.work.touch();
        if step.work.incident.standing == 0 {
            step.work.incident.recovered_at = Some(signal.time);
            step.version(Action::ClearSignal, signal.text.clone());
            step.auto_check();
        }
        step.finish();
    }

    /// Marks the alarm's signals as cleared: those of this batch here, those of the store by a row.
    fn end_alarm(&mut self, id: Id, signal: &Signal) {
        let until = signal.time;
        if self.index.alarm(id).iter().any(|standing| standing.time <= until) {
            let (source, alarm_key) = (signal.source.clone(), signal.alarm_key.clone());
            self.out.cleared.push(AlarmCleared { source, alarm_key, until });
        }
        let alarm = self.alarm(id);
        alarm.standings.retain(|standing| standing.time > until);
        for place in std::mem::take(&mut alarm.staged) {
            let row = &mut self.out.signals[place];
            if row.signal.time <= until {
                row.cleared_at = Some(until);
            } else if let Some(alarm) = self.alarms.get_mut(&id) {
                alarm.staged.push(place);
            }
        }
    }

    /// Remembers that the alarm of a signal about to be staged stands in an incident.
    fn stand(&mut self, signal: &Signal, incident: Id) {
        if clearable(signal) {
            let place = self.out.signals.len();
            let alarm = self.alarm(alarm_id(&signal.source, &signal.alarm_key));
            raise(&mut alarm.standings, Standing { incident, time: signal.time });
            alarm.staged.push(place);
        }
    }

    fn standings(&self, id: Id) -> &[Standing] {
        match self.alarms.get(&id) {
            Some(alarm) => &alarm.standings,
            None => self.index.alarm(id),
        }
    }

    fn alarm(&mut self, id: Id) -> &mut super::session::Alarm {
        let index = self.index;
        self.alarms.entry(id).or_insert_with(|| super::session::Alarm {
            standings: index.alarm(id).to_vec(),
            staged: Vec::new(),
        })
    }

    fn row(&self, signal: &Signal, digest: Id, outcome: Outcome) -> Row {
        Row(SignalRow {
            signal: signal.clone(),
            digest,
            drill_id: None,
            outcome,
            reason: String::new(),
            incident: None,
            place: None,
            at: self.context.now,
            cleared_at: None,
        })
    }

    fn recurrence(&self, incident: &Incident, policy: &Policy) -> Option<Id> {
        let last = self.index.last_closed(open_index::recurrence_key(incident))?;
        let span_ms = i64::from(policy.recurrence_days) * DAY_MS;
        (self.context.now - last.closed_at < span_ms).then_some(last.incident)
    }

    fn draft(
        &self,
        signal: &Signal,
        id: Id,
        category: &Arc<str>,
        policy: &Policy,
        spotted: Spotted,
        group_key: Id,
    ) -> Incident {
        let mut incident = locate::draft(self.context.district, signal, id, category, spotted);
        let level = policy.level;
        let high = level.is_some_and(|level| level <= 3);
        incident.level = level;
        incident.urgent = high || policy.storm_exempt;
        if high {
            incident.desk = incident.district.clone();
        }
        incident.group_key = group_key;
        incident.group_radius_m = policy.group_radius_m;
        incident.group_window_ms = policy.group_window_ms;
        incident.reported_at = self.context.now;
        incident.updated_at = self.context.now;
        incident.mode_epoch = self.context.mode_epoch;
        incident.recurrence_of = self.recurrence(&incident, policy);
        incident
    }
}

impl super::step::Step<'_, '_> {
    /// T15, where the policy takes the sensor's word and the sensor has given it.
    pub(crate) fn auto_check(&mut self) {
        let takes = self.work.policy.as_ref().is_some_and(|policy| policy.auto_check);
        let incident = &self.work.incident;
        if takes && incident.state == State::FedBack && incident.recovered_at.is_some() {
            self.as_system();
            self.close(CloseMethod::Sensor);
        }
    }
}

/// A signal's row being filled.
struct Row(SignalRow);

impl Row {
    fn reason(mut self, reason: &str) -> Self {
        self.0.reason = reason.into();
        self
    }

    fn of(mut self, incident: Id) -> Self {
        self.0.incident = Some(incident);
        self
    }

    fn at_place(mut self, place: UnitId) -> Self {
        self.0.place = Some(place);
        self
    }
}

/// Whether the list takes new incidents of a category.
pub(super) fn current(district: &District, category: &str) -> bool {
    district.category(category).is_some_and(|category| !category.retired)
}

/// The signal as matching sees it.
fn probe<'s>(signal: &'s Signal, spotted: &Spotted, category: &str, policy: &Policy) -> Probe<'s> {
    Probe {
        group_key: group_key(policy, category, signal, spotted),
        asset: signal.asset.as_deref(),
        point: spotted.point,
        time: signal.time,
        radius_m: policy.group_radius_m,
    }
}

/// Hash of the values of the policy's group key fields.
fn group_key(policy: &Policy, category: &str, signal: &Signal, spotted: &Spotted) -> Id {
    let mut hasher = Hasher::new();
    for field in &policy.group_key {
        let value = match field.as_str() {
            "category" => category,
            "asset" => signal.asset.as_deref().unwrap_or_default(),
            "device" => &signal.device,
            "place" => &spotted.place,
            _ => "",
        };
        hasher = hasher.text(field).text(value);
    }
    hasher.finish()
}

/// What a signal says, without when we got it: a repeat has the same digest. The time of a report is
/// ours when its sender gave none; `since` then holds nothing, and what was given otherwise.
#[must_use]
pub fn digest(signal: &Signal) -> Id {
    let point = signal.point.map_or((0, 0), |point| (point.lon_e6, point.lat_e6));
    let told = if signal.kind == SignalKind::Report { 0 } else { signal.time };
    let time: [Millis; 2] = [told, signal.since];
    let digest = Hasher::new()
        .text(signal.kind.as_str())
        .text(&signal.alarm_key)
        .text(&signal.category)
        .text(signal.severity.as_str())
        .int(time[0])
        .int(time[1])
        .text(&signal.device)
        .text(signal.asset.as_deref().unwrap_or_default())
        .text(signal.place.as_deref().unwrap_or_default())
        .int(i64::from(point.0))
        .int(i64::from(point.1))
        .text(&signal.cause)
        .text(&signal.text)
        .id(signal.reading.unwrap_or_default());
    signal.members.iter().fold(digest, |digest, member| digest.text(member)).finish()
}
