//! Signals, answered commands and the audit: what is known already, and which alarms still stand.

use yiwang_core::ids::Id;
use yiwang_core::incident::{AuditRow, CommandRow, SignalRow};
use yiwang_core::record::Millis;

use crate::Error;
use crate::engine::{Kind, Value, storable};
use crate::rows::read_all;
use crate::store::Store;

/// Names an alarm of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlarmRef<'a> {
    /// Source of the signals.
    pub source: &'a str,
    /// Their alarm key.
    pub alarm_key: &'a str,
}

impl Store {
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
            "SELECT {} FROM signal WHERE incident = $1 ORDER BY signal_time, signal_event_id",
            table.select("")
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
        let text = format!("SELECT {} FROM command WHERE {member}", table.select(""));
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
            table.select("")
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
