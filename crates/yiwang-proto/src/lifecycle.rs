//! Rows of topic `lifecycle`: signals of absences on their way to whoever sees the whole group, and the passing of time.

use prost::Message;
use yiwang_core::ids::Id;
use yiwang_core::record::{Absence, Absent, AlarmSeverity, Group, Limits, Passed, SignalKind};

use crate::convert::{Malformed, point_from_wire, point_to_wire, signal_from_wire, signal_to_wire};
use crate::record::v1;

/// The axis of everything that is written here.
const AXIS: &str = "liveness";
/// Value of a row that says [`Absent::Left`].
const LEFT: &str = "LEFT";

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub enum Lifecycle {
    /// Time has passed.
    Time(Passed),
    /// Something is said of an absence.
    Absence {
        /// Partition of `raw` that it came of.
        partition: u16,
        /// What is said.
        absence: Box<Absence>,
    },
}

/// The bytes of a row about an absence that came of a partition of `raw`.
#[must_use]
pub fn absence_to_bytes(partition: u16, absence: &Absence) -> Vec<u8> {
    let Absence { signal, group, what, clock, number } = absence;
    let value = match (what, signal.kind) {
        (Absent::Left, _) => LEFT,
        (Absent::Says, SignalKind::Clear) => "FRESH",
        (Absent::Says, _) => "SILENT",
    };
    let id = Id::parse(&signal.event_id).filter(|_| *what == Absent::Says);
    v1::Lifecycle {
        id: id.map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
        device: signal.device.clone(),
        axis: AXIS.to_owned(),
        value: value.to_owned(),
        since: signal.since,
        cause: signal.cause.clone(),
        epoch: 0,
        at: *clock,
        partition: u32::from(partition),
        number: *number,
        group: Some(group_to_wire(group)),
        signal: Some(signal_to_wire(signal)),
        partitions: 0,
        late_ms: 0,
    }
    .encode_to_vec()
}

/// The bytes of a row that says how late it is on a partition of `raw`.
#[must_use]
pub fn time_to_bytes(passed: &Passed) -> Vec<u8> {
    let row = v1::Lifecycle {
        at: passed.at,
        partition: u32::from(passed.partition),
        partitions: u32::from(passed.partitions),
        late_ms: passed.late,
        ..v1::Lifecycle::default()
    };
    row.encode_to_vec()
}

/// The row of some bytes; `None` if it is about something else.
///
/// # Errors
/// [`Malformed`] if they are no row, or one with an unknown word.
pub fn lifecycle_from_bytes(bytes: &[u8]) -> Result<Option<Lifecycle>, Malformed> {
    let malformed = |what: String| Malformed { topic: "lifecycle", what };
    let row = v1::Lifecycle::decode(bytes).map_err(|error| malformed(error.to_string()))?;
    let number =
        |number: u32| u16::try_from(number).map_err(|_| malformed(format!("partition {number}")));
    let partition = number(row.partition)?;
    if row.device.is_empty() {
        let partitions = number(row.partitions)?;
        let passed = Passed { partition, partitions, at: row.at, late: row.late_ms };
        return Ok(Some(Lifecycle::Time(passed)));
    }
    let (Some(group), Some(signal)) = (row.group, row.signal) else { return Ok(None) };
    if signal.device != row.device {
        return Err(malformed(format!("a signal of {} under {}", signal.device, row.device)));
    }
    let absence = Absence {
        signal: signal_from_wire(signal)?,
        group: group_from_wire(group)?,
        what: if row.value == LEFT { Absent::Left } else { Absent::Says },
        clock: row.at,
        number: row.number,
    };
    Ok(Some(Lifecycle::Absence { partition, absence: Box::new(absence) }))
}

fn group_to_wire(group: &Group) -> v1::Group {
    v1::Group {
        key: group.key.to_string(),
        size: group.size,
        share_percent: group.limits.share_percent,
        members_min: group.limits.members_min,
        within_ms: group.limits.within,
        quiet_ms: group.limits.quiet,
        category: group.category.to_string(),
        severity: group.severity.as_str().to_owned(),
        name: group.name.to_string(),
        device: group.device.to_string(),
        asset: group.asset.as_deref().unwrap_or_default().to_owned(),
        place: group.place.to_string(),
        point: group.point.map(point_to_wire),
    }
}

fn group_from_wire(group: v1::Group) -> Result<Group, Malformed> {
    let severity = AlarmSeverity::parse(&group.severity).ok_or_else(|| Malformed {
        topic: "lifecycle",
        what: format!("severity {}", group.severity),
    })?;
    let limits = Limits {
        share_percent: group.share_percent,
        members_min: group.members_min,
        within: group.within_ms,
        quiet: group.quiet_ms,
    };
    Ok(Group {
        key: group.key.into(),
        size: group.size,
        limits,
        category: group.category.into(),
        severity,
        name: group.name.into(),
        device: group.device.into(),
        asset: Some(group.asset).filter(|asset| !asset.is_empty()).map(Into::into),
        place: group.place.into(),
        point: group.point.map(point_from_wire),
    })
}

#[cfg(test)]
mod tests {
    use yiwang_core::record::{Point, Signal};

    use super::*;

    fn absence(what: Absent, kind: SignalKind, members: &[&str]) -> Absence {
        let limits = Limits { share_percent: 30, members_min: 20, within: 60_000, quiet: 600_000 };
        let point = Some(Point { lon_e6: 121_120_000, lat_e6: 31_150_000 });
        let signal = Signal {
            source: "device/p/d".into(),
            event_id: Id(7).to_hex(),
            kind,
            alarm_key: "p/d/silent".into(),
            category: "device.fault".into(),
            severity: AlarmSeverity::Minor,
            time: 5,
            since: 4,
            received_at: 6,
            device: "p/d".into(),
            asset: Some("lamp-1".into()),
            place: Some("310118001001".into()),
            point,
            cause: "MISSING".into(),
            text: "silent".into(),
            reading: Some(Id(9)),
            members: members.iter().copied().map(String::from).collect(),
        };
        let group = Group {
            key: "gateway/p/g".into(),
            size: 40,
            limits,
            category: "device.outage".into(),
            severity: AlarmSeverity::Major,
            name: "g".into(),
            device: "p/g".into(),
            asset: None,
            place: "310118001".into(),
            point,
        };
        Absence { signal, group, what, clock: 8, number: 3 }
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        for (what, kind, value) in [
            (Absent::Says, SignalKind::Raise, "SILENT"),
            (Absent::Says, SignalKind::Remind, "SILENT"),
            (Absent::Says, SignalKind::Clear, "FRESH"),
            (Absent::Left, SignalKind::Event, "LEFT"),
        ] {
            let absence = Box::new(absence(what, kind, &["p/a", "p/b"]));
            let bytes = absence_to_bytes(5, &absence);
            let row = lifecycle_from_bytes(&bytes).expect("it is read");
            assert_eq!(row, Some(Lifecycle::Absence { partition: 5, absence }));
            let shown = crate::json::record("lifecycle", b"", &bytes).expect("it is shown");
            assert_eq!((&shown["value"], &shown["group"]["size"]), (&value.into(), &40.into()));
            assert_eq!(shown["signal"]["members"][1], "p/b");
        }
        let passed = Passed { partition: 3, partitions: 8, at: 9, late: 300_000 };
        let time = lifecycle_from_bytes(&time_to_bytes(&passed)).expect("it is read");
        assert_eq!(time, Some(Lifecycle::Time(passed)));
        assert!(lifecycle_from_bytes(b"\xff").is_err());
        // Of another axis.
        let row = v1::Lifecycle { device: "p/d".into(), ..v1::Lifecycle::default() };
        assert_eq!(lifecycle_from_bytes(&row.encode_to_vec()).expect("it is read"), None);
    }
}
