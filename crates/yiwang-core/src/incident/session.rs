//! A session stages the effects of one batch: signals, commands and rungs in, one [`Changes`] out.
//!
//! Invariant: nothing is visible outside until the caller has committed the changes and applied
//! them to the [`OpenIndex`]. The session refuses to guess: a case it was not given is asked for by
//! [`Staged::Need`], before anything of that effect is staged.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::changes::{Case, Changes};
use super::open_index::{OpenIndex, Standing};
use super::rows::{CommandRow, Incident, PolicyRow, SignalRow};
use super::step::{Context, Origin, Step, Work};
use super::terms::Terms;
use super::words::{CauseKind, Outcome};
use crate::district::District;
use crate::ids::{self, Id};
use crate::policy::{Mode, Policy};
use crate::record::{Millis, Signal};

/// Done, or in need of a case that the session does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staged<T> {
    /// Staged, or answered from what is known.
    Done(T),
    /// Give the case (or say that it does not exist) and call again; nothing was staged.
    Need(Id),
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The one outcome; for a repeat the current one.
    pub outcome: Outcome,
    /// Incident it opened, joined or cleared.
    pub incident: Option<Id>,
    /// It was known already.
    pub duplicate: bool,
    /// It was known with another content: the first is kept.
    pub content_differs: bool,
}

/// What a session looks at beside its cases.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The district in force.
    pub district: &'a District,
    /// Open incidents and standing alarms as committed.
    pub index: &'a OpenIndex,
    /// Rungs and limits.
    pub terms: &'a Terms,
    /// The centre's time.
    pub now: Millis,
    /// Number of the mode epoch in force.
    pub mode_epoch: i64,
}

/// A batch being staged.
pub struct Session<'a> {
    pub(super) context: Context<'a>,
    pub(super) index: &'a OpenIndex,
    pub(super) works: Vec<Work>,
    pub(super) by_id: HashMap<Id, usize>,
    pub(super) opened: HashMap<Id, Vec<usize>>,
    pub(super) alarms: HashMap<Id, Alarm>,
    pub(super) commands: HashMap<String, CommandRow>,
    pub(super) out: Changes,
    absent: HashSet<Id>,
    known: HashMap<Id, Known>,
    policies: Vec<Arc<Policy>>,
}

/// A signal that has its outcome.
#[derive(Clone, Copy)]
struct Known {
    digest: Id,
    outcome: Outcome,
    incident: Option<Id>,
}

/// An alarm as this session leaves it.
#[derive(Clone, Default)]
pub(super) struct Alarm {
    /// Where it stands.
    pub(super) standings: Vec<Standing>,
    /// Its signals staged in this session, by place in `out.signals`.
    pub(super) staged: Vec<usize>,
}

impl<'a> Session<'a> {
    /// A session with no cases.
    #[must_use]
    pub fn new(inputs: Inputs<'a>) -> Self {
        let Inputs { district, index, terms, now, mode_epoch } = inputs;
        Self {
            context: Context { district, terms, now, mode_epoch },
            index,
            works: Vec::new(),
            by_id: HashMap::new(),
            opened: HashMap::new(),
            alarms: HashMap::new(),
            commands: HashMap::new(),
            out: Changes::default(),
            absent: HashSet::new(),
            known: HashMap::new(),
            policies: Vec::new(),
        }
    }

    /// Gives a case as the store holds it.
    pub fn add_case(&mut self, case: Case) {
        let id = case.incident.id;
        if self.by_id.contains_key(&id) {
            return;
        }
        let policy = self.policy_of(&case.incident);
        self.by_id.insert(id, self.works.len());
        self.works.push(Work::load(self.context.district, case, policy));
    }

    /// Says that the store holds no such case.
    pub fn absent(&mut self, id: Id) {
        self.absent.insert(id);
    }

    /// Gives a signal that has its outcome. All known ones of the batch must be given before the
    /// batch.
    pub fn know_signal(&mut self, row: &SignalRow) {
        let id = ids::incident(&row.signal.source, &row.signal.event_id);
        let known = Known { digest: row.digest, outcome: row.outcome, incident: row.incident };
        self.known.insert(id, known);
    }

    /// Gives a command that was done. All known ones of the batch must be given before the batch.
    pub fn know_command(&mut self, row: CommandRow) {
        self.commands.insert(row.request_id.clone(), row);
    }

    /// An incident as staged so far.
    #[must_use]
    pub fn incident(&self, id: Id) -> Option<&Incident> {
        self.by_id.get(&id).map(|index| &self.works[*index].incident)
    }

    /// Ends the session: every changed row once, histories in order.
    #[must_use]
    pub fn finish(mut self) -> Changes {
        for work in self.works {
            work.finish(&mut self.out);
        }
        for policy in self.policies {
            self.out.policies.push(PolicyRow { id: policy.id, body: policy.to_text() });
        }
        self.out
    }

    /// The answer to a signal that has its outcome.
    pub(super) fn repeat(&self, id: Id, digest: Id) -> Option<Answer> {
        let known = self.known.get(&id)?;
        Some(Answer {
            outcome: known.outcome,
            incident: known.incident,
            duplicate: true,
            content_differs: known.digest != digest,
        })
    }

    /// Stages the row of a signal and remembers its outcome.
    pub(super) fn settle(&mut self, id: Id, row: SignalRow) -> Answer {
        let known = Known { digest: row.digest, outcome: row.outcome, incident: row.incident };
        self.known.insert(id, known);
        self.out.signals.push(row);
        Answer {
            outcome: known.outcome,
            incident: known.incident,
            duplicate: false,
            content_differs: false,
        }
    }

    /// The place of a loaded case: none when it does not exist, an error with its id when it is not
    /// loaded.
    pub(super) fn loaded(&self, id: Id) -> Result<Option<usize>, Id> {
        match self.by_id.get(&id) {
            Some(index) => Ok(Some(*index)),
            None if self.absent.contains(&id) => Ok(None),
            None => Err(id),
        }
    }

    /// Takes in an incident that this session opens.
    pub(super) fn push_work(&mut self, work: Work) -> usize {
        let place = self.works.len();
        self.by_id.insert(work.incident.id, place);
        self.opened.entry(work.incident.group_key).or_default().push(place);
        self.works.push(work);
        place
    }

    /// A step on one of the cases.
    pub(super) fn step(&mut self, work: usize, origin: Origin) -> Step<'_, 'a> {
        Step::new(self.context, &mut self.works[work], &mut self.out, origin)
    }

    /// A step of the source of a signal.
    pub(super) fn origin_of(&self, work: usize, signal: &Signal) -> Origin {
        let incident = &self.works[work].incident;
        let mut origin = Origin::system(incident, CauseKind::Signal, signal.event_id.clone());
        origin.by.role = super::words::Role::Src;
        origin
    }

    /// The policy of an incident: the snapshot it was filed under, before filing the one in force.
    fn policy_of(&self, incident: &Incident) -> Option<Arc<Policy>> {
        let snapshot = incident.policy_id.and_then(|id| self.index.policy(id)).cloned();
        snapshot.or_else(|| {
            let Context { district, .. } = self.context;
            district.resolve_policy(&incident.category, &incident.place, Mode::Ordinary)
        })
    }

    /// Stages the snapshot of a policy under which an incident is filed, unless it is stored.
    pub(super) fn keep_policy(&mut self, policy: &Arc<Policy>) {
        let stored = self.index.policy(policy.id).is_some();
        if !stored && !self.policies.iter().any(|known| known.id == policy.id) {
            self.policies.push(policy.clone());
        }
    }
}
