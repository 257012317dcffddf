//! Reading incidents: whole cases for a step, pages for people, clocks for the timers.
//!
//! Scope is part of the statement, never a filter over a page: a unit outside cannot tell a hidden
//! incident from none by content, count or page length.

use std::collections::HashMap;

use yiwang_core::ids::Id;
use yiwang_core::incident::{
    Case, Clock, ClockSegment, History, Incident, Request, State, Task, UnitId,
};
use yiwang_core::record::{AlarmSeverity, Millis};

use crate::Error;
use crate::engine::{Kind, Value};
use crate::rows::{Row, Table, read_all};
use crate::store::{Store, first_int};

/// Whose eyes look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The system itself.
    All,
    /// A unit: incidents whose current audience it belongs to.
    Unit(UnitId),
}

/// Which incidents of the scope; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// These states; none means any.
    pub states: Vec<State>,
    /// Only open ones: a page then walks the open ones alone.
    pub open_only: bool,
    /// This category or one below it, by dotted segment.
    pub category: Option<String>,
    /// Place inside this unit of the tree.
    pub under: Option<UnitId>,
    /// Unit that has to act next.
    pub holder: Option<UnitId>,
    /// At least this bad.
    pub severity_min: Option<AlarmSeverity>,
    /// Joint-duty items only, or others only.
    pub joint_duty: Option<bool>,
    /// Drills only, or real ones only.
    pub drill: Option<bool>,
}

/// Last row of the page before; pages run from the newest report to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListAfter {
    /// Its time of report.
    pub reported_at: Millis,
    /// Its id.
    pub id: Id,
}

/// The words of the partial index on open incidents, as the migration spells them.
const OPEN: &str = "i.state NOT IN ('CLOSED', 'EVALUATED', 'DECLINED', 'VOIDED', 'MERGED')";

impl Store {
    /// One incident, if it is in scope.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn incident(&self, id: Id, scope: &Scope) -> Result<Option<Incident>, Error> {
        let table = &self.shared.tables.incident;
        let mut text = format!("SELECT {} FROM incident i WHERE i.id = $1", table.select("i"));
        let mut values = vec![Value::id(id)];
        if let Scope::Unit(unit) = scope {
            values.push(Value::text(unit));
            text.push_str(&sees(2));
        }
        Ok(read_all(self.rows(&text, values, &table.kinds).await?)?.pop())
    }

    /// The id behind a number; not cut by scope, so ask for the incident next.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn incident_by_no(&self, no: &str) -> Result<Option<Incident>, Error> {
        let table = &self.shared.tables.incident;
        let text = format!("SELECT {} FROM incident WHERE no = $1", table.select(table.name));
        Ok(read_all(self.rows(&text, vec![Value::text(no)], &table.kinds).await?)?.pop())
    }

    /// Incidents with everything that hangs on them; ids that are not there are left out.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn cases(&self, ids: &[Id]) -> Result<Vec<Case>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let tables = &self.shared.tables;
        let incidents: Vec<Incident> = self.children(&tables.incident, "n", "n", ids).await?;
        let tasks: Vec<Task> = self.children(&tables.task, "incident", "number", ids).await?;
        let clocks: Vec<Clock> =
            self.children(&tables.clock, "incident", "started_at, id", ids).await?;
        let requests: Vec<Request> =
            self.children(&tables.request, "incident", "asked_at, id", ids).await?;
        let mut tasks = by_incident(tasks, |task| task.incident);
        let mut clocks = by_incident(clocks, |clock| clock.incident);
        let mut requests = by_incident(requests, |request| request.incident);
        let case = |incident: Incident| Case {
            tasks: tasks.remove(&incident.id).unwrap_or_default(),
            clocks: clocks.remove(&incident.id).unwrap_or_default(),
            requests: requests.remove(&incident.id).unwrap_or_default(),
            incident,
        };
        Ok(incidents.into_iter().map(case).collect())
    }

    /// A page of incidents in scope, newest report first. `Scope::All` without `open_only` sorts
    /// the whole table: ask as the district instead, whose audience is an index.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn list(
        &self,
        scope: &Scope,
        filter: &IncidentFilter,
        after: Option<ListAfter>,
        limit: u32,
    ) -> Result<Vec<Incident>, Error> {
        let table = &self.shared.tables.incident;
        let mut query = Query::of(self, scope, filter);
        if let Some(after) = after {
            let (time, id) = query.order;
            let reported_at = query.bind(Value::int(after.reported_at));
            let last = query.bind(Value::id(after.id));
            query.and(&format!(
                "({time}, {id}) < (${reported_at}, (SELECT n FROM incident WHERE id = ${last}))"
            ));
        }
        let limit = query.bind(Value::int(i64::from(limit)));
        let (time, id) = query.order;
        let text = format!(
            "SELECT {} FROM {} ORDER BY {time} DESC, {id} DESC LIMIT ${limit}",
            table.select("i"),
            query.text
        );
        read_all(self.rows(&text, query.values, &table.kinds).await?)
    }

    /// How many incidents a list would have in all its pages.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn count(&self, scope: &Scope, filter: &IncidentFilter) -> Result<u64, Error> {
        let query = Query::of(self, scope, filter);
        let text = format!("SELECT COUNT(*) FROM {}", query.text);
        let rows = self.rows(&text, query.values, &[Kind::Int]).await?;
        Ok(first_int(&rows).unwrap_or_default() as u64)
    }

    /// Incidents closed since a time, for recurrence; newest first.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn closed_since(&self, since: Millis, limit: u32) -> Result<Vec<Incident>, Error> {
        let table = &self.shared.tables.incident;
        let text = format!(
            "SELECT {} FROM incident WHERE closed_at >= $1 \
             ORDER BY closed_at DESC, n DESC LIMIT $2",
            table.select(table.name)
        );
        let values = vec![Value::int(since), Value::int(i64::from(limit))];
        read_all(self.rows(&text, values, &table.kinds).await?)
    }

    /// The history of an incident after a version, in order.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn history(
        &self,
        incident: Id,
        after: i64,
        limit: u32,
    ) -> Result<Vec<History>, Error> {
        let table = &self.shared.tables.history;
        let text = format!(
            "SELECT {} FROM history \
             WHERE incident = (SELECT n FROM incident WHERE id = $1) AND version > $2 \
             ORDER BY version LIMIT $3",
            table.select(table.name)
        );
        let values = vec![Value::id(incident), Value::int(after), Value::int(i64::from(limit))];
        read_all(self.rows(&text, values, &table.kinds).await?)
    }

    /// Clocks whose next rung is due, the longest due first.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn due_clocks(&self, now: Millis, limit: u32) -> Result<Vec<Clock>, Error> {
        let table = &self.shared.tables.clock;
        let text = format!(
            "SELECT {} FROM clock WHERE fire_at IS NOT NULL AND fire_at <= $1 \
             ORDER BY fire_at LIMIT $2",
            table.select(table.name)
        );
        let values = vec![Value::int(now), Value::int(i64::from(limit))];
        read_all(self.rows(&text, values, &table.kinds).await?)
    }

    /// When the next rung of any clock is due.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn next_fire_at(&self) -> Result<Option<Millis>, Error> {
        let text = "SELECT MIN(fire_at) FROM clock WHERE fire_at IS NOT NULL";
        Ok(first_int(&self.rows(text, vec![], &[Kind::Int]).await?))
    }

    /// Every stretch of time charged to the clocks of an incident: the proof of its due times.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn segments(&self, incident: Id) -> Result<Vec<ClockSegment>, Error> {
        let table = &self.shared.tables.segment;
        self.children(table, "incident", "clock, generation", &[incident]).await
    }

    async fn children<R: Row>(
        &self,
        table: &Table,
        key: &str,
        order: &str,
        ids: &[Id],
    ) -> Result<Vec<R>, Error> {
        let member = self.shared.engine.dialect().member("id", 1, Kind::Bytes);
        let text = format!(
            "SELECT {} FROM {} WHERE {key} IN (SELECT n FROM incident WHERE {member}) \
             ORDER BY {order}",
            table.select(table.name),
            table.name
        );
        read_all(self.rows(&text, vec![Value::Ids(ids.to_vec())], &table.kinds).await?)
    }
}

fn by_incident<R>(rows: Vec<R>, key: impl Fn(&R) -> Id) -> HashMap<Id, Vec<R>> {
    let mut map: HashMap<Id, Vec<R>> = HashMap::new();
    for row in rows {
        map.entry(key(&row)).or_default().push(row);
    }
    map
}

/// The unit bound to `$number` sees the incident `i`.
fn sees(number: usize) -> String {
    format!(
        " AND EXISTS (SELECT 1 FROM incident_audience a WHERE a.unit = ${number} \
         AND a.reported_at = i.reported_at AND a.incident = i.n)"
    )
}

/// The one builder of lists and counts: both are cut by the same words.
struct Query<'a> {
    /// From the tables on.
    text: String,
    values: Vec<Value<'a>>,
    /// Time and id of the index that is walked.
    order: (&'static str, &'static str),
}

impl<'a> Query<'a> {
    fn of(store: &Store, scope: &'a Scope, filter: &'a IncidentFilter) -> Self {
        let mut query = Self {
            text: "incident i WHERE TRUE".to_owned(),
            values: Vec::new(),
            order: ("i.reported_at", "i.n"),
        };
        match scope {
            Scope::All => {}
            Scope::Unit(unit) if filter.open_only => {
                let number = query.bind(Value::text(unit));
                query.text.push_str(&sees(number));
            }
            Scope::Unit(unit) => {
                let number = query.bind(Value::text(unit));
                query.text = format!(
                    "incident_audience a CROSS JOIN incident i \
                     WHERE i.n = a.incident AND a.unit = ${number}"
                );
                query.order = ("a.reported_at", "a.incident");
            }
        }
        query.filter(store, filter);
        query
    }

    fn filter(&mut self, store: &Store, filter: &'a IncidentFilter) {
        let dialect = store.shared.engine.dialect();
        if filter.open_only {
            self.and(OPEN);
        }
        if !filter.states.is_empty() {
            let states = filter.states.iter().map(|state| state.as_str()).collect();
            let number = self.bind(Value::Texts(states));
            self.and(&dialect.member("i.state", number, Kind::Text));
        }
        if let Some(category) = &filter.category {
            let number = self.bind(Value::text(category));
            // A prefix by segment: `.` is the character before `/`.
            self.and(&format!(
                "(i.category = ${number} OR substr(i.category, 1, length(${number}) + 1) \
                 = ${number} || '.')"
            ));
        }
        if let Some(under) = &filter.under {
            let number = self.bind(Value::text(under));
            let columns = ["district", "town", "station", "village", "grid", "place"];
            let any = columns.map(|column| format!("i.{column} = ${number}")).join(" OR ");
            self.and(&format!("({any})"));
        }
        if let Some(holder) = &filter.holder {
            let number = self.bind(Value::text(holder));
            self.and(&format!("i.holder = ${number}"));
        }
        if let Some(least) = filter.severity_min {
            let words = AlarmSeverity::ALL.into_iter().filter(|severity| *severity >= least);
            let number = self.bind(Value::Texts(words.map(AlarmSeverity::as_str).collect()));
            self.and(&dialect.member("i.severity", number, Kind::Text));
        }
        if let Some(joint_duty) = filter.joint_duty {
            let number = self.bind(Value::int(i64::from(joint_duty)));
            self.and(&format!("i.joint_duty = ${number}"));
        }
        if let Some(drill) = filter.drill {
            let not = if drill { " NOT" } else { "" };
            self.and(&format!("i.drill_id IS{not} NULL"));
        }
    }

    fn and(&mut self, condition: &str) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
    }

    fn bind(&mut self, value: Value<'a>) -> usize {
        self.values.push(value);
        self.values.len()
    }
}
