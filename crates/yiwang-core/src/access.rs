//! The authorisation decision: which unit sees which incident, and who may do what to it.
//!
//! Invariant: [`audience`] is exactly the set of units for which [`sees`] holds, so a stream
//! filters by membership. Outside its sight a unit gets the same answer as for something that does
//! not exist.

use crate::district::{District, UnitId};
use crate::incident::{Action, Incident, Role, Task, TaskRole};

/// Whether a unit sees an incident: its subtree holds the place, a border candidate or a live task,
/// or it is the desk. Departments and companies have no subtree: they see by task or desk.
#[must_use]
pub fn sees(district: &District, unit: &str, incident: &Incident, tasks: &[Task]) -> bool {
    let holds = |inner: &UnitId| &**inner == unit || district.in_subtree(inner, unit);
    holds(&incident.place)
        || &*incident.desk == unit
        || incident.candidates.iter().any(holds)
        || tasks.iter().any(|task| task.state.is_live() && holds(&task.unit))
}

/// Every unit with sight, sorted.
#[must_use]
pub fn audience(district: &District, incident: &Incident, tasks: &[Task]) -> Vec<UnitId> {
    let mut units = Vec::with_capacity(8);
    let mut add = |inner: &UnitId| {
        if units.contains(inner) {
            return;
        }
        units.push(inner.clone());
        for unit in district.ancestors(inner).skip(1) {
            if units.contains(&unit.id) {
                break;
            }
            units.push(unit.id.clone());
        }
    };
    add(&incident.place);
    incident.candidates.iter().for_each(&mut add);
    tasks.iter().filter(|task| task.state.is_live()).for_each(|task| add(&task.unit));
    // A desk alone gives no sight to its ancestors; today it always is the place's town or the
    // root.
    if !units.contains(&incident.desk) {
        units.push(incident.desk.clone());
    }
    units.sort_unstable();
    units
}

/// What the authoriser says of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on, in this role; an ancestor acts on behalf of the unit named.
    Allowed {
        /// Role in which the caller acts.
        role: Role,
        /// Desk or lead for which an ancestor acts.
        on_behalf_of: Option<UnitId>,
    },
    /// Outside the caller's sight: the same as absent.
    NotFound,
    /// In sight, but not theirs.
    NotYours,
}

/// Decides for unit tokens: the token of a unit holds every role of that unit.
#[derive(Clone, Copy)]
pub struct Authorizer<'a> {
    district: &'a District,
}

impl<'a> Authorizer<'a> {
    /// An authoriser over a district.
    #[must_use]
    pub fn new(district: &'a District) -> Self {
        Self { district }
    }

    /// Whether `unit` may read the incident.
    #[must_use]
    pub fn may_read(&self, unit: &str, incident: &Incident, tasks: &[Task]) -> bool {
        sees(self.district, unit, incident, tasks)
    }

    /// Whether `unit` may do `action` to the incident, and in which role. State and persons are not
    /// looked at.
    #[must_use]
    pub fn decide(
        &self,
        unit: &str,
        action: Action,
        incident: &Incident,
        tasks: &[Task],
    ) -> Decision {
        if !sees(self.district, unit, incident, tasks) {
            return Decision::NotFound;
        }
        let allowed = match action {
            Action::Accept | Action::Decline => self.desk(unit, incident, Role::Clerk),
            Action::File | Action::Close => self.desk(unit, incident, Role::Leader),
            Action::Dispatch => self.desk(unit, incident, Role::Disp),
            Action::StartCheck | Action::Rework => self.desk(unit, incident, Role::Checker),
            Action::Reassign | Action::WaiveAssist | Action::Return | Action::Deny => {
                self.desk(unit, incident, Role::Disp).or_else(|| self.above_lead(unit, incident))
            }
            Action::Acknowledge | Action::FeedBack | Action::Request => lead(unit, incident),
            Action::TaskAck | Action::TaskDone => assist(unit, tasks),
            Action::AddAssist => {
                lead(unit, incident).or_else(|| self.desk(unit, incident, Role::Disp))
            }
            Action::Comment => Some((Role::Unit, None)),
            _ => None,
        };
        match allowed {
            Some((role, on_behalf_of)) => Decision::Allowed { role, on_behalf_of },
            None => Decision::NotYours,
        }
    }

    /// The desk itself, or an ancestor of it acting for it.
    fn desk(&self, unit: &str, incident: &Incident, role: Role) -> Option<(Role, Option<UnitId>)> {
        if &*incident.desk == unit {
            return Some((role, None));
        }
        let above = self.district.in_subtree(&incident.desk, unit);
        above.then(|| (role, Some(incident.desk.clone())))
    }

    /// A dispatcher of a unit above the lead, inside its own subtree.
    fn above_lead(&self, unit: &str, incident: &Incident) -> Option<(Role, Option<UnitId>)> {
        let lead = incident.lead.as_ref()?;
        let above = &**lead != unit && self.district.in_subtree(lead, unit);
        above.then_some((Role::Disp, None))
    }
}

fn lead(unit: &str, incident: &Incident) -> Option<(Role, Option<UnitId>)> {
    (incident.lead.as_deref() == Some(unit)).then_some((Role::Unit, None))
}

fn assist(unit: &str, tasks: &[Task]) -> Option<(Role, Option<UnitId>)> {
    let own =
        |task: &Task| task.role == TaskRole::Assist && task.state.is_live() && &*task.unit == unit;
    tasks.iter().any(own).then_some((Role::Unit, None))
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
