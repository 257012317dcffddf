//! The machine's state as bytes, in the codec of the router's other snapshots. Equal states have equal bytes.
//!
//! What can be told from the rest (the queue, the wakes, the counts of devices) is not written.

use std::collections::BTreeSet;

use super::{Counts, Folding, Held, Outage, Source, State};
use crate::record::{Absence, Absent, AlarmSeverity, Group, Limits, Point, Signal, SignalKind};
use crate::route::bytes::{Damaged, Reader, Writer};

/// Version of the bytes.
const VERSION: u8 = 1;

impl Folding {
    /// The state as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.byte(VERSION);
        to.int(self.clock);
        let mut counts = self.counts.clone();
        to.count(counts.all().len());
        counts.all().into_iter().for_each(|count| to.uint(*count));
        to.count(self.sources.len());
        for (partition, Source { clock, newest }) in &self.sources {
            to.uint(u64::from(*partition));
            to.int(*clock);
            to.int(newest.0);
            to.uint(newest.1);
        }
        to.uint(u64::from(self.partitions));
        to.int(self.late);
        to.count(self.waiting.len());
        for ((_, partition, _), absence) in &self.waiting {
            to.uint(u64::from(*partition));
            write_absence(&mut to, absence);
        }
        to.count(self.groups.len());
        self.groups.values().for_each(|state| state.encode(&mut to));
        to.bytes
    }

    /// The state of some bytes.
    ///
    /// # Errors
    /// Damaged bytes, or those of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes);
        if from.byte()? != VERSION {
            return Err(Damaged("unknown version"));
        }
        let mut folding = Self { clock: from.int()?, ..Self::default() };
        let counts = from.list(Reader::uint)?;
        for (to, count) in folding.counts.all().into_iter().zip(counts) {
            *to = count;
        }
        let source =
            |r: &mut Reader<'_>| Ok(Source { clock: r.int()?, newest: (r.int()?, r.uint()?) });
        folding.sources = from.list(|r| Ok((r.small()?, source(r)?)))?.into_iter().collect();
        (folding.partitions, folding.late) = (from.small()?, from.int()?);
        for (partition, absence) in from.list(|r| Ok((r.small()?, read_absence(r)?)))? {
            folding.waiting.insert((absence.clock, partition, absence.number), absence);
        }
        for state in from.list(State::decode)? {
            folding.put(state.group.key.clone(), state);
        }
        if from.is_empty() { Ok(folding) } else { Err(Damaged("bytes left over")) }
    }
}

impl Counts {
    /// Later ones at the end: older snapshots have fewer.
    fn all(&mut self) -> [&mut u64; 9] {
        [
            &mut self.absences,
            &mut self.singly,
            &mut self.folded,
            &mut self.undone,
            &mut self.unsent,
            &mut self.outages,
            &mut self.over,
            &mut self.signals,
            &mut self.repeats,
        ]
    }
}

impl State {
    fn encode(&self, to: &mut Writer) {
        write_group(to, &self.group);
        to.int(self.newest);
        to.count(self.held.len());
        for (key, held) in &self.held {
            to.text(key);
            to.int(held.at);
            to.count(held.signals.len());
            held.signals.iter().for_each(|one| write_signal(to, one));
        }
        to.bool(self.outage.is_some());
        if let Some(outage) = &self.outage {
            to.text(&outage.first);
            to.int(outage.since);
            to.count(outage.out.len());
            outage.out.iter().for_each(|key| to.text(key));
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut state = Self::new(&read_group(from)?);
        state.newest = from.int()?;
        let held = from.list(|r| {
            let key: Box<str> = r.text()?.into();
            Ok((key, Held { at: r.int()?, signals: r.list(read_signal)? }))
        })?;
        if held.iter().any(|(_, held)| held.signals.is_empty()) {
            return Err(Damaged("nothing is held"));
        }
        let count = held.len();
        held.into_iter().for_each(|(key, held)| state.hold(key, held));
        if state.held.len() != count {
            return Err(Damaged("held twice"));
        }
        if from.bool()? {
            let (first, since) = (from.text()?.into(), from.int()?);
            let out: Vec<Box<str>> = from.list(|r| Ok(r.text()?.into()))?;
            state.outage = Some(Outage { first, since, out: BTreeSet::from_iter(out) });
        }
        Ok(state)
    }
}

fn write_absence(to: &mut Writer, absence: &Absence) {
    write_signal(to, &absence.signal);
    write_group(to, &absence.group);
    to.bool(absence.what == Absent::Left);
    to.int(absence.clock);
    to.uint(absence.number);
}

fn read_absence(from: &mut Reader<'_>) -> Result<Absence, Damaged> {
    let (signal, group) = (read_signal(from)?, read_group(from)?);
    let what = if from.bool()? { Absent::Left } else { Absent::Says };
    Ok(Absence { signal, group, what, clock: from.int()?, number: from.uint()? })
}

fn write_group(to: &mut Writer, group: &Group) {
    let Group { key, size, limits, category, severity, name, device, asset, place, point: at } =
        group;
    let texts = [key, category, name, device, place];
    texts.into_iter().for_each(|text| to.text(text));
    to.text(asset.as_deref().unwrap_or_default());
    for count in [*size, limits.share_percent, limits.members_min] {
        to.uint(u64::from(count));
    }
    to.int(limits.within);
    to.int(limits.quiet);
    to.byte(*severity as u8);
    write_point(to, *at);
}

fn read_group(from: &mut Reader<'_>) -> Result<Group, Damaged> {
    let mut text = || Ok::<Box<str>, Damaged>(from.text()?.into());
    let (key, category, name, device, place) = (text()?, text()?, text()?, text()?, text()?);
    let asset = Some(text()?).filter(|asset| !asset.is_empty());
    let (size, share_percent, members_min) = (from.small()?, from.small()?, from.small()?);
    let limits = Limits { share_percent, members_min, within: from.int()?, quiet: from.int()? };
    let (severity, point) = (read_severity(from)?, read_point(from)?);
    Ok(Group { key, size, limits, category, severity, name, device, asset, place, point })
}

fn write_point(to: &mut Writer, point: Option<Point>) {
    to.bool(point.is_some());
    if let Some(point) = point {
        to.int(i64::from(point.lon_e6));
        to.int(i64::from(point.lat_e6));
    }
}

fn read_point(from: &mut Reader<'_>) -> Result<Option<Point>, Damaged> {
    if !from.bool()? {
        return Ok(None);
    }
    let mut degree = || i32::try_from(from.int()?).map_err(|_| Damaged("no degree is so large"));
    Ok(Some(Point { lon_e6: degree()?, lat_e6: degree()? }))
}

fn read_severity(from: &mut Reader<'_>) -> Result<AlarmSeverity, Damaged> {
    let severity = AlarmSeverity::ALL.get(usize::from(from.byte()?));
    severity.copied().ok_or(Damaged("unknown severity"))
}

fn write_signal(to: &mut Writer, signal: &Signal) {
    let texts = [
        &signal.source,
        &signal.event_id,
        &signal.alarm_key,
        &signal.category,
        &signal.device,
        &signal.cause,
        &signal.text,
    ];
    texts.into_iter().for_each(|text| to.text(text));
    let kind = SignalKind::ALL.iter().position(|kind| *kind == signal.kind);
    to.byte(kind.unwrap_or_default() as u8);
    to.byte(signal.severity as u8);
    for time in [signal.time, signal.since, signal.received_at] {
        to.int(time);
    }
    for text in [&signal.asset, &signal.place] {
        to.text(text.as_deref().unwrap_or_default());
    }
    write_point(to, signal.point);
    to.bool(signal.reading.is_some());
    if let Some(reading) = signal.reading {
        to.id(reading);
    }
    to.count(signal.members.len());
    signal.members.iter().for_each(|member| to.text(member));
}

fn read_signal(from: &mut Reader<'_>) -> Result<Signal, Damaged> {
    let mut text = || Ok(from.text()?.to_owned());
    let (source, event_id, alarm_key, category) = (text()?, text()?, text()?, text()?);
    let (device, cause, line) = (text()?, text()?, text()?);
    let kind = SignalKind::ALL.get(usize::from(from.byte()?));
    let kind = *kind.ok_or(Damaged("unknown kind"))?;
    let severity = read_severity(from)?;
    let (time, since, received_at) = (from.int()?, from.int()?, from.int()?);
    let mut some = || Ok(Some(from.text()?.to_owned()).filter(|text| !text.is_empty()));
    let (asset, place) = (some()?, some()?);
    let point = read_point(from)?;
    let reading = if from.bool()? { Some(from.id()?) } else { None };
    let members = from.list(|r| Ok(r.text()?.to_owned()))?;
    let text = line;
    Ok(Signal {
        source,
        event_id,
        kind,
        alarm_key,
        category,
        severity,
        time,
        since,
        received_at,
        device,
        asset,
        place,
        point,
        cause,
        text,
        reading,
        members,
    })
}
