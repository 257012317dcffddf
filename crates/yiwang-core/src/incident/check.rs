//! The invariants of incidents (section 2.5), as a check that tests and `doctor` run over stored
//! cases.

use super::changes::Case;
use super::machine;
use super::rows::{History, Task};
use super::words::{Action, Role, State, TaskRole};

/// Names the first invariant that a case with its whole history breaks.
///
/// # Errors
/// A sentence that names the incident and the broken invariant.
pub fn check(case: &Case, history: &[History]) -> Result<(), String> {
    let incident = &case.incident;
    let say = |what: &str| Err(format!("incident {} v{}: {what}", incident.id, incident.version));
    let open = incident.state.is_open();
    if open != incident.holder.is_some() {
        return say("an open incident has one holder, a closed one none");
    }
    let leads = case.tasks.iter().filter(|task| live_lead(task)).count();
    let led = matches!(
        incident.state,
        State::Dispatched | State::Handling | State::FedBack | State::Checking
    );
    if leads > 1 || (led && leads != 1) {
        return say("from dispatch to check exactly one LEAD task is live");
    }
    if led && case.tasks.iter().find(|t| live_lead(t)).map(|t| &t.unit) != incident.lead.as_ref() {
        return say("the lead is the unit of the live LEAD task");
    }
    let running = case.clocks.iter().any(|clock| clock.running_since.is_some());
    if open && !running && incident.state != State::Suspended {
        return say("an open incident has a running clock");
    }
    if !open && running {
        return say("a closed incident has no running clock");
    }
    if case
        .clocks
        .iter()
        .any(|c| c.fire_at.is_some() != (c.running_since.is_some() && c.next_rung.is_some()))
    {
        return say("a clock is scheduled if and only if it runs and has a rung left");
    }
    if case.requests.iter().filter(|r| r.decided_at.is_none()).count() > 1 {
        return say("one pending request of a kind");
    }
    fold(case, history).or_else(|what| say(&what))
}

/// The state equals the fold of the history, which has no gap and nothing outside the table.
fn fold(case: &Case, history: &[History]) -> Result<(), String> {
    let mut state = None;
    for (number, row) in history.iter().enumerate() {
        if row.version != number as i64 + 1 {
            return Err(format!("history has a gap before version {}", row.version));
        }
        if row.from != state {
            return Err(format!("version {} does not start where the last one ended", row.version));
        }
        let next = machine::next(row.action, state);
        if next != Some(row.to) || !machine::transition(row.action).roles.contains(&row.actor.role)
        {
            return Err(format!("version {} is not in the table", row.version));
        }
        let closes = row.to == State::Closed && row.actor.role == Role::Sys;
        if closes && row.action != Action::AutoCheck {
            return Err(format!("version {}: the system closes by T15 alone", row.version));
        }
        state = next;
    }
    let end = (history.len() as i64, state);
    if end == (case.incident.version, Some(case.incident.state)) {
        Ok(())
    } else {
        Err("the state is not the fold of the history".into())
    }
}

fn live_lead(task: &Task) -> bool {
    task.role == TaskRole::Lead && task.state.is_live()
}
