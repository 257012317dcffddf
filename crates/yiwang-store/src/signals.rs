//! Signals, answered commands and the audit: what is known already, and which alarms still stand.

use yiwang_core::ids::Id;
use yiwang_core::incident::{AuditRow, CommandRow, SignalRow};
use yiwang_core::record::Millis;

use crate::Error;
use crate::engine::{Kind, Value, storable};
use crate::rows::{Cells, read_all};
use crate::store::Store;

/// Names an alarm of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlarmRef<'a> {
    /// Source of the signals.
    pub source: &'a str,
    /// Their alarm key.
    pub alarm_key: &'a str,
}

/// A signal of an alarm that has not been cleared, with the incident it opened or joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingAlarm {
    /// Source of the signal.
    pub source: String,
    /// Its alarm key.
    pub alarm_key: String,
    /// Its event id.
    pub event_id: String,
    /// Its time.
    pub time: Millis,
    /// The incident.
    pub incident: Id,
}

impl Store {
    /// A page of everything that stands, for a start; `after` is the last of the page before.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn standing_alarms(
        &self,
        after: Option<&StandingAlarm>,
        limit: u32,
    ) -> Result<Vec<StandingAlarm>, Error> {
        const KEY: &str = "signal_source, signal_alarm_key, signal_event_id";
        let text = format!(
            "SELECT {KEY}, signal_time, \
             (SELECT link.id FROM incident link WHERE link.n = signal.incident) \
             FROM signal WHERE ({KEY}) > ($1, $2, $3) \
             AND cleared_at IS NULL AND signal_alarm_key <> '' AND signal_kind <> 'clear' \
             AND incident IS NOT NULL ORDER BY {KEY} LIMIT $4"
        );
        let key = after.map_or(["", "", ""], |row| [&row.source, &row.alarm_key, &row.event_id]);
        let mut values: Vec<_> = key.into_iter().map(Value::text).collect();
        values.push(Value::int(i64::from(limit)));
        let kinds = [Kind::Text, Kind::Text, Kind::Text, Kind::Int, Kind::Bytes];
        let alarm = |mut row: Vec<Value<'static>>| {
            let mut cells = Cells::new(&mut row);
            Ok(StandingAlarm {
                source: cells.next("source")?,
                alarm_key: cells.next("alarm_key")?,
                event_id: cells.next("event_id")?,
                time: cells.next("time")?,
                incident: cells.next("incident")?,
            })
        };
        self.rows(&text, values, &kinds).await?.into_iter().map(alarm).collect()
    }

    /// Those of the signals, given as (source, event id), that are stored already.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn known_signals(&self, keys: &[(&str, &str)]) -> Result<Vec<SignalRow>, Error> {
        self.signals_by("s.signal_event_id = j.value->>1", keys.iter().copied()).await
    }

    /// The signals of these alarms that have not been cleared.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn standing_signals(&self, alarms: &[AlarmRef<'_>]) -> Result<Vec<SignalRow>, Error> {
        let on = "s.signal_alarm_key = j.value->>1 AND s.cleared_at IS NULL \
                  AND s.signal_alarm_key <> '' AND s.signal_kind <> 'clear'";
        self.signals_by(on, alarms.iter().map(|alarm| (alarm.source, alarm.alarm_key))).await
    }

    async fn signals_by(
        &self,
        on: &str,
        keys: impl Iterator<Item = (&str, &str)>,
    ) -> Result<Vec<SignalRow>, Error> {
        let lists: Vec<_> = keys.map(|(a, b)| [storable(a), storable(b)]).collect();
        if lists.is_empty() {
            return Ok(Vec::new());
        }
        let json = serde_json::to_string(&lists).unwrap_or_default();
        let table = &self.shared.tables.signal;
        let text = format!(
            "SELECT {} FROM {} CROSS JOIN signal s WHERE s.signal_source = j.value->>0 AND {on}",
            table.select("s"),
            self.shared.engine.dialect().lists(1),
        );
        read_all(self.rows(&text, vec![Value::owned(json)], &table.kinds).await?)
    }

    /// All signals of an incident, by their time.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn signals_of(&self, incident: Id) -> Result<Vec<SignalRow>, Error> {
        let table = &self.shared.tables.signal;
        let text = format!(
            "SELECT {} FROM signal WHERE incident = (SELECT n FROM incident WHERE id = $1) \
             ORDER BY signal_time, signal_event_id",
            table.select(table.name)
        );
        read_all(self.rows(&text, vec![Value::id(incident)], &table.kinds).await?)
    }

    /// The stored answers of these request ids.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn commands(&self, request_ids: &[&str]) -> Result<Vec<CommandRow>, Error> {
        if request_ids.is_empty() {
            return Ok(Vec::new());
        }
        let table = &self.shared.tables.command;
        let member = self.shared.engine.dialect().member("request_id", 1, Kind::Text);
        let text = format!("SELECT {} FROM command WHERE {member}", table.select(table.name));
        read_all(self.rows(&text, vec![Value::Texts(request_ids.to_vec())], &table.kinds).await?)
    }

    /// Audit rows from a time on, in the order of time.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn audit_after(&self, from: Millis, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let table = &self.shared.tables.audit;
        let text = format!(
            "SELECT {} FROM audit WHERE at >= $1 ORDER BY at, id LIMIT $2",
            table.select(table.name)
        );
        let values = vec![Value::int(from), Value::int(i64::from(limit))];
        read_all(self.rows(&text, values, &table.kinds).await?)
    }

    /// The stored answer of one request id.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn command(&self, request_id: &str) -> Result<Option<CommandRow>, Error> {
        Ok(self.commands(&[request_id]).await?.pop())
    }
}
