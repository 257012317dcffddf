//! The one place where the core's session meets the store: stages a batch, commits it, and only then lets the index of
//! open incidents and the streams know.
//!
//! Writes of a centre run one after another. A batch that could not be committed is computed again from what is
//! committed; nothing of it has been shown to anybody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, MutexGuard, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use yiwang_core::district::District;
use yiwang_core::ids::Id;
use yiwang_core::incident::{
    Answer, Case, Changes, Command, Done, Due, Inputs, OpenIndex, Refusal, Session, Staged,
};
use yiwang_core::record::{Millis, Signal};
use yiwang_store::{Applied, Lease, Numbering, Position, Store};

use crate::answers::{Count, Inputted, counted, received, record_answers};
use crate::end::End;
use crate::guard::guarded;
use crate::handed::{HandOver, Handed};
use crate::reload::read_index;
use crate::retry::retry;
use crate::time::{Clock, day_of};
use crate::{Config, Error, InForce, Parts, lease, metrics};

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

const TOPIC: &str = "signals";
/// A call of a person waits no longer for the transactions before it.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Calls of persons that wait for their turn; one more is refused at once.
const WAITING_MAX: usize = 1_024;
/// Reason on the row of a signal on which the core panicked.
const PANICKED: &str = "PANICKED";

/// Answers of a batch of signals, in its order.
pub type Answers = Vec<Answer>;

/// Stages and commits; shared by all loops and services.
pub struct Writer {
    store: Store,
    in_force: Arc<ArcSwap<InForce>>,
    clock: Clock,
    lease: Lease,
    lease_for: Duration,
    stop: CancellationToken,
    state: Mutex<State>,
    waiting: Semaphore,
    /// Why nothing more is written, once that is so.
    pub(crate) end: End,
    committed: watch::Sender<u64>,
    caught_up: watch::Sender<bool>,
    /// Whether the store did not answer the last batch that is tried until it is committed.
    away: AtomicBool,
    /// Committed changes that the feed has not taken yet.
    handed: HandOver,
}

/// How a signal gets its outcome.
type Judge = fn(&mut Session<'_>, &Signal) -> Staged<Answer>;
/// How a due clock fires its rung.
type Strike = fn(&mut Session<'_>, Due) -> Staged<u32>;

struct State {
    index: OpenIndex,
    /// A commit has begun whose outcome is not known: the index may lack what it wrote.
    doubtful: bool,
}

impl Writer {
    /// Takes the lease (waiting for its last holder) and reads the open incidents.
    ///
    /// # Errors
    /// [`Error::Store`] if the store fails for good; unreachable ones are waited for.
    pub async fn open(
        config: &Config,
        parts: &Parts,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let Parts { store, in_force, .. } = parts;
        let terms = Arc::clone(&in_force.load().terms);
        let lease = lease::acquire(store, &config.name, config.lease, stop).await?;
        let clock = Clock::default();
        let read = async {
            let index = retry(stop, || read_index(store, &terms, clock.now())).await?;
            Ok((index, retry(stop, || store.outbox_span()).await?.head))
        };
        let (index, head) = lease::hold(store, &lease, config.lease, read).await?;
        metrics::record_open(index.len());
        Ok(Self {
            store: store.clone(),
            in_force: Arc::clone(in_force),
            clock,
            lease,
            lease_for: config.lease,
            stop: stop.clone(),
            state: Mutex::new(State { index, doubtful: false }),
            waiting: Semaphore::new(WAITING_MAX),
            end: End::default(),
            committed: watch::Sender::new(head),
            caught_up: watch::Sender::new(false),
            away: AtomicBool::new(false),
            handed: HandOver::default(),
        })
    }

    /// Renews the lease until it is lost.
    pub(crate) async fn keep_lease(&self) -> Error {
        let lost = lease::renew(&self.store, &self.lease, self.lease_for).await;
        self.end.note(&lost);
        lost
    }

    /// Gives the lease back, once no transaction is under way.
    pub(crate) async fn close(&self) {
        let _state = self.state.lock().await;
        lease::release(&self.store, &self.lease).await;
    }

    /// The changes committed here from a number on, without a gap.
    pub(crate) fn take_handed(&self, from: u64) -> Vec<Handed> {
        self.handed.take(from)
    }

    /// The state, in accordance with the store.
    async fn enter(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state.lock().await;
        if let Some(over) = self.end.known() {
            return Err(over);
        }
        if state.doubtful {
            tracing::warn!("the outcome of a commit is not known; reading what the store holds");
            let terms = Arc::clone(&self.in_force.load().terms);
            state.index = read_index(&self.store, &terms, self.clock.now()).await?;
            self.committed.send_replace(self.store.outbox_span().await?.head);
            state.doubtful = false;
        }
        Ok(state)
    }

    /// The same for a person, who does not wait for ever.
    async fn enter_soon(&self) -> Result<MutexGuard<'_, State>, Error> {
        let _waits = self.waiting.try_acquire().map_err(|_| Error::Busy)?;
        let entered = tokio::time::timeout(WAIT_MAX, self.enter()).await;
        entered.map_err(|_| match self.away.load(Ordering::Relaxed) {
            true => Error::Away,
            false => Error::Busy,
        })?
    }

    /// Remembers whether the store answered.
    async fn noting<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let done = work.await;
        self.away.store(done.as_ref().is_err_and(Error::passes), Ordering::Relaxed);
        done
    }

    /// Number of the newest committed change.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Whether the signals that were there at start have been read: no rung fires before.
    pub(crate) fn caught_up(&self) -> watch::Receiver<bool> {
        self.caught_up.subscribe()
    }

    pub(crate) fn set_caught_up(&self) {
        self.caught_up.send_replace(true);
    }

    /// The centre's time.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// The district in force.
    pub(crate) fn district(&self) -> Arc<District> {
        Arc::clone(&self.in_force.load().district)
    }

    /// Gives every signal its outcome and moves the read position, in one transaction. Tried until it is committed. A
    /// signal on which the core panics is rejected, the others are not held up by it.
    ///
    /// # Errors
    /// [`Error::Fenced`], or a failure of the store that waiting does not cure.
    pub async fn signals(
        &self,
        batch: &[Signal],
        position: Option<Position>,
    ) -> Result<Answers, Error> {
        self.judged(batch, position, |session, signal| session.signal(signal)).await
    }

    async fn judged(
        &self,
        batch: &[Signal],
        position: Option<Position>,
        judge: Judge,
    ) -> Result<Answers, Error> {
        retry(&self.stop, || self.noting(self.try_signals(batch, position, judge))).await
    }

    async fn try_signals(
        &self,
        batch: &[Signal],
        position: Option<Position>,
        judge: Judge,
    ) -> Result<Answers, Error> {
        let mut state = self.enter().await?;
        let mut poison = HashSet::new();
        let (changes, answers) = loop {
            match self.stage(&state.index, batch, &poison, judge).await? {
                Ok(staged) => break staged,
                Err(at) => poison.insert(at),
            };
        };
        let received = received(batch, &answers);
        let effects = Effects {
            changes,
            position,
            counts: &counted(&answers),
            received,
            inputs: Inputted::of_signals(batch),
        };
        self.commit(&mut state, effects).await?;
        record_answers(&answers);
        Ok(answers)
    }

    /// Stages a batch; names the signal on which the core panicked: nothing of the batch is kept then.
    async fn stage(
        &self,
        index: &OpenIndex,
        batch: &[Signal],
        poison: &HashSet<usize>,
        judge: Judge,
    ) -> Result<Result<(Changes, Answers), usize>, Error> {
        let in_force = self.in_force.load_full();
        let mut session = Session::new(self.inputs(&in_force, index));
        let keys: Vec<_> = batch.iter().map(|s| (s.source.as_str(), s.event_id.as_str())).collect();
        for row in self.store.known_signals(&keys).await? {
            session.know_signal(&row);
        }
        // Only a hint: what it misses is asked for one by one.
        let wanted = guarded(|| session.wanted(batch)).unwrap_or_default();
        for case in self.store.cases(&wanted).await? {
            session.add_case(case);
        }
        let mut answers = Vec::with_capacity(batch.len());
        for (at, signal) in batch.iter().enumerate() {
            if poison.contains(&at) {
                answers.push(session.reject(signal, PANICKED));
                continue;
            }
            match self.supply(&mut session, |session| judge(session, signal)).await {
                Ok(answer) => answers.push(answer),
                Err(Error::Panicked(words)) => {
                    let (source, event_id) = (&signal.source, &signal.event_id);
                    tracing::error!(
                        source,
                        event_id,
                        words,
                        "a signal is rejected: the core panicked"
                    );
                    return Ok(Err(at));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ok((session.finish(), answers)))
    }

    /// A report of a partner or a citizen.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub async fn report(&self, signal: &Signal) -> Result<Result<Answer, Refusal>, Error> {
        let mut state = self.enter_soon().await?;
        let in_force = self.in_force.load_full();
        let mut session = Session::new(self.inputs(&in_force, &state.index));
        for row in self.store.known_signals(&[(&signal.source, &signal.event_id)]).await? {
            session.know_signal(&row);
        }
        let answer = self.supply(&mut session, |session| session.report(signal)).await?;
        let changes = session.finish();
        let counts =
            answer.as_ref().map(|answer| counted(std::slice::from_ref(answer))).unwrap_or_default();
        let inputs = Inputted::of_signals(std::slice::from_ref(signal));
        self.commit(&mut state, Effects { counts: &counts, inputs, ..Effects::of(changes) })
            .await?;
        if let Ok(answer) = &answer {
            record_answers(std::slice::from_ref(answer));
        }
        Ok(answer)
    }

    /// Does a command of a person once, or says why not. The refusal is committed to the audit like the deed.
    ///
    /// # Errors
    /// The store's; a caller may try again with the same `request_id`.
    pub async fn command(&self, command: &Command) -> Result<Result<Done, Refusal>, Error> {
        let mut state = self.enter_soon().await?;
        let in_force = self.in_force.load_full();
        let mut session = Session::new(self.inputs(&in_force, &state.index));
        if let Some(known) = self.store.command(&command.request_id).await? {
            session.know_command(known);
        }
        let done = self.supply(&mut session, |session| session.command(command)).await?;
        let changes = session.finish();
        let inputs = Inputted::of_command(command);
        self.commit(&mut state, Effects { inputs, ..Effects::of(changes) }).await?;
        Ok(done)
    }

    /// Fires the clocks that are due. A clock on which the core panics is left out, the others are not held up by it.
    ///
    /// # Errors
    /// [`Error::Fenced`], or a failure of the store that waiting does not cure.
    pub(crate) async fn fire(&self, due: &[Due]) -> Result<Fired, Error> {
        self.struck(due, |session, due| session.fire(due)).await
    }

    async fn struck(&self, due: &[Due], strike: Strike) -> Result<Fired, Error> {
        retry(&self.stop, || self.noting(self.try_fire(due, strike))).await
    }

    async fn try_fire(&self, due: &[Due], strike: Strike) -> Result<Fired, Error> {
        let mut state = self.enter().await?;
        let mut fired = Fired::default();
        let changes = loop {
            match self.stage_rungs(&state.index, due, strike, &mut fired).await {
                Err(Error::Panicked(words)) => {
                    let clocks = fired.left_out.len();
                    tracing::error!(clocks, words, "a clock is left out: the core panicked");
                }
                staged => break staged?,
            }
        };
        self.commit(&mut state, Effects::of(changes)).await?;
        metrics::record_rungs(fired.rungs);
        Ok(fired)
    }

    /// Stages the rungs of clocks but those left out; adds the one on which the core panicked.
    async fn stage_rungs(
        &self,
        index: &OpenIndex,
        due: &[Due],
        strike: Strike,
        fired: &mut Fired,
    ) -> Result<Changes, Error> {
        let in_force = self.in_force.load_full();
        let mut session = Session::new(self.inputs(&in_force, index));
        let mut ids: Vec<Id> = due.iter().map(|due| due.incident).collect();
        ids.sort_unstable();
        ids.dedup();
        for case in self.store.cases(&ids).await? {
            session.add_case(case);
        }
        fired.rungs = 0;
        for due in due {
            if fired.left_out.contains(&due.clock) {
                continue;
            }
            match self.supply(&mut session, |session| strike(session, *due)).await {
                Ok(rung) => fired.rungs += u64::from(rung),
                Err(error) => {
                    if matches!(error, Error::Panicked(_)) {
                        fired.left_out.insert(due.clock);
                    }
                    return Err(error);
                }
            }
        }
        Ok(session.finish())
    }

    fn inputs<'a>(&self, in_force: &'a InForce, index: &'a OpenIndex) -> Inputs<'a> {
        let InForce { district, terms } = in_force;
        Inputs { district, index, terms, now: self.clock.now(), mode_epoch: 0 }
    }

    /// Calls a step until it has every case that it asks for. After a panic the session is good for nothing.
    async fn supply<T>(
        &self,
        session: &mut Session<'_>,
        mut step: impl FnMut(&mut Session<'_>) -> Staged<T>,
    ) -> Result<T, Error> {
        loop {
            match guarded(|| step(session))? {
                Staged::Done(answer) => return Ok(answer),
                Staged::Need(id) => match self.case(id).await? {
                    Some(case) => session.add_case(case),
                    None => session.absent(id),
                },
            }
        }
    }

    /// A case as committed.
    pub(crate) async fn case(&self, id: Id) -> Result<Option<Case>, Error> {
        Ok(self.store.cases(&[id]).await?.pop())
    }

    async fn commit(&self, state: &mut State, effects: Effects<'_>) -> Result<(), Error> {
        let Effects { mut changes, position, counts, received, inputs } = effects;
        if changes.is_empty() && position.is_none() && counts.is_empty() {
            return Ok(());
        }
        // Should this call be given up half way, the next one finds the mark.
        state.doubtful = true;
        let written = self.write(&changes, position, counts).await;
        state.doubtful = written.as_ref().is_err_and(Error::in_doubt);
        let applied = written.inspect_err(|error| self.end.note(error))?;
        state.index.apply(&changes);
        metrics::record_open(state.index.len());
        let outbox = std::mem::take(&mut changes.outbox);
        let changed = outbox.len() as u64;
        if changed > 0 {
            if inputs == Inputted::AsStored {
                self.handed.put(outbox, &applied, &received);
            }
            self.committed.send_replace(applied.first_seq + changed - 1);
        }
        Ok(())
    }

    /// One transaction.
    async fn write(
        &self,
        changes: &Changes,
        position: Option<Position>,
        counts: &[Count],
    ) -> Result<Applied, Error> {
        let district = self.district();
        let day = day_of(self.clock.now(), district.zone());
        let mut tx = self.store.begin(Some(&self.lease)).await?;
        let applied = tx.apply(changes, &Numbering { district: district.id(), day: &day }).await?;
        tx.count(counts)?;
        if let Some(position) = position {
            tx.set_position(TOPIC, position).await?;
        }
        tx.commit().await?;
        Ok(applied)
    }
}

/// What one transaction is to write, and what is told of it afterwards.
struct Effects<'a> {
    changes: Changes,
    position: Option<Position>,
    counts: &'a [Count],
    /// When the signals that opened incidents were received.
    received: HashMap<Id, Millis>,
    inputs: Inputted,
}

impl Effects<'_> {
    fn of(changes: Changes) -> Self {
        let (position, counts, inputs) = (None, &[][..], Inputted::AsStored);
        Self { changes, position, counts, received: HashMap::new(), inputs }
    }
}

/// What became of due clocks.
#[derive(Default)]
pub(crate) struct Fired {
    pub(crate) rungs: u64,
    /// Clocks on which the core panicked.
    pub(crate) left_out: HashSet<Id>,
}
