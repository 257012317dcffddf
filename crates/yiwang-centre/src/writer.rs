//! The one place where the core's session meets the store: stages a batch, commits it, and only then lets the index of
//! open incidents and the streams know.
//!
//! Writes of a centre run one after another. A batch that could not be committed is computed again from what is
//! committed; nothing of it has been shown to anybody.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use yiwang_core::district::District;
use yiwang_core::ids::Id;
use yiwang_core::incident::{
    Answer, Case, Changes, Command, Done, Due, Inputs, OpenIndex, Refusal, Session, Staged,
    Standing, Terms, alarm_id,
};
use yiwang_core::record::Signal;
use yiwang_store::{Action, IncidentFilter, Lease, ListAfter, Numbering, Position, Scope, Store};

use crate::time::{Clock, day_of};
use crate::{Config, Error, Parts, metrics};

const LEASE_NAME: &str = "centre";
const TOPIC: &str = "signals";
const STAGE: &str = "centre";
/// First and longest pause before a transaction is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Incidents closed longer ago are not looked up for recurrence.
const RECURRENCE_MAX_MS: i64 = 30 * 86_400_000;
/// Rows of one page while the index is built.
const PAGE: u32 = 1_000;

/// Answers of a batch of signals, in its order.
pub type Answers = Vec<Answer>;

/// Stages and commits; shared by all loops and services.
pub struct Writer {
    store: Store,
    district: Arc<ArcSwap<District>>,
    terms: Arc<Terms>,
    clock: Clock,
    lease_for: Duration,
    state: Mutex<State>,
    committed: watch::Sender<u64>,
    caught_up: watch::Sender<bool>,
}

struct State {
    index: OpenIndex,
    lease: Lease,
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
        let Parts { store, district, terms, .. } = parts;
        let lease = acquire(store, &config.name, config.lease, stop).await?;
        let clock = Clock::default();
        let index = retry(|| read_index(store, terms, clock.now())).await?;
        metrics::record_open(index.len());
        let head = retry(|| store.outbox_span()).await?.head;
        Ok(Self {
            store: store.clone(),
            district: Arc::clone(district),
            terms: Arc::clone(terms),
            clock,
            lease_for: config.lease,
            state: Mutex::new(State { index, lease }),
            committed: watch::Sender::new(head),
            caught_up: watch::Sender::new(false),
        })
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
        self.district.load_full()
    }

    /// Gives every signal its outcome and moves the read position, in one transaction. Tried until it is committed.
    ///
    /// # Errors
    /// [`Error::Fenced`], or a failure of the store that waiting does not cure.
    pub async fn signals(
        &self,
        batch: &[Signal],
        position: Option<Position>,
    ) -> Result<Answers, Error> {
        retry_own(|| self.try_signals(batch, position)).await
    }

    async fn try_signals(
        &self,
        batch: &[Signal],
        position: Option<Position>,
    ) -> Result<Answers, Error> {
        let mut state = self.state.lock().await;
        let district = self.district();
        let mut session = Session::new(self.inputs(&district, &state.index));
        let keys: Vec<_> = batch.iter().map(|s| (s.source.as_str(), s.event_id.as_str())).collect();
        for row in self.store.known_signals(&keys).await? {
            session.know_signal(&row);
        }
        self.give_standing(batch, &state.index, &mut session).await?;
        let mut answers = Vec::with_capacity(batch.len());
        for signal in batch {
            answers.push(self.supply(&mut session, |session| session.signal(signal)).await?);
        }
        let changes = session.finish();
        self.commit(&mut state, changes, position, &counted(&answers)).await?;
        record_answers(&answers);
        Ok(answers)
    }

    /// The cases in which alarms of the batch stand, in one query instead of one each.
    async fn give_standing(
        &self,
        batch: &[Signal],
        index: &OpenIndex,
        session: &mut Session<'_>,
    ) -> Result<(), Error> {
        let mut ids: Vec<Id> = batch
            .iter()
            .flat_map(|signal| index.alarm(alarm_id(&signal.source, &signal.alarm_key)))
            .map(|standing: &Standing| standing.incident)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for case in self.store.cases(&ids).await? {
            session.add_case(case);
        }
        Ok(())
    }

    /// A report of a partner or a citizen.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub async fn report(&self, signal: &Signal) -> Result<Result<Answer, Refusal>, Error> {
        let mut state = self.state.lock().await;
        let district = self.district();
        let mut session = Session::new(self.inputs(&district, &state.index));
        for row in self.store.known_signals(&[(&signal.source, &signal.event_id)]).await? {
            session.know_signal(&row);
        }
        let answer = self.supply(&mut session, |session| session.report(signal)).await?;
        let changes = session.finish();
        let counts =
            answer.as_ref().map(|answer| counted(std::slice::from_ref(answer))).unwrap_or_default();
        self.commit(&mut state, changes, None, &counts).await?;
        Ok(answer)
    }

    /// Does a command of a person once, or says why not. The refusal is committed to the audit like the deed.
    ///
    /// # Errors
    /// The store's; a caller may try again with the same `request_id`.
    pub async fn command(&self, command: &Command) -> Result<Result<Done, Refusal>, Error> {
        let mut state = self.state.lock().await;
        let district = self.district();
        let mut session = Session::new(self.inputs(&district, &state.index));
        if let Some(known) = self.store.command(&command.request_id).await? {
            session.know_command(known);
        }
        let done = self.supply(&mut session, |session| session.command(command)).await?;
        let changes = session.finish();
        self.commit(&mut state, changes, None, &[]).await?;
        Ok(done)
    }

    /// Fires the clocks that are due; the answer is the number of rungs.
    ///
    /// # Errors
    /// [`Error::Fenced`], or a failure of the store that waiting does not cure.
    pub(crate) async fn fire(&self, due: &[Due]) -> Result<u64, Error> {
        retry_own(|| self.try_fire(due)).await
    }

    async fn try_fire(&self, due: &[Due]) -> Result<u64, Error> {
        let mut state = self.state.lock().await;
        let district = self.district();
        let mut session = Session::new(self.inputs(&district, &state.index));
        let mut ids: Vec<Id> = due.iter().map(|due| due.incident).collect();
        ids.sort_unstable();
        ids.dedup();
        for case in self.store.cases(&ids).await? {
            session.add_case(case);
        }
        let mut fired = 0;
        for due in due {
            fired += u64::from(self.supply(&mut session, |session| session.fire(*due)).await?);
        }
        let changes = session.finish();
        self.commit(&mut state, changes, None, &[]).await?;
        metrics::record_rungs(fired);
        Ok(fired)
    }

    fn inputs<'a>(&'a self, district: &'a District, index: &'a OpenIndex) -> Inputs<'a> {
        Inputs { district, index, terms: &self.terms, now: self.clock.now(), mode_epoch: 0 }
    }

    /// Calls a step until it has every case that it asks for.
    async fn supply<T>(
        &self,
        session: &mut Session<'_>,
        mut step: impl FnMut(&mut Session<'_>) -> Staged<T>,
    ) -> Result<T, Error> {
        loop {
            match step(session) {
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

    async fn commit(
        &self,
        state: &mut State,
        changes: Changes,
        position: Option<Position>,
        counts: &[Count],
    ) -> Result<(), Error> {
        if changes.is_empty() && position.is_none() {
            return Ok(());
        }
        let head = self.write(&state.lease, &changes, position, counts).await?;
        state.index.apply(&changes);
        metrics::record_open(state.index.len());
        if let Some(head) = head {
            self.committed.send_replace(head);
        }
        Ok(())
    }

    /// One transaction; the answer is the number of the last change, if there was one.
    async fn write(
        &self,
        lease: &Lease,
        changes: &Changes,
        position: Option<Position>,
        counts: &[Count],
    ) -> Result<Option<u64>, Error> {
        let district = self.district();
        let day = day_of(self.clock.now(), district.zone());
        let mut tx = self.store.begin(Some(lease)).await?;
        let applied = tx.apply(changes, &Numbering { district: district.id(), day: &day }).await?;
        tx.count(counts).await?;
        if let Some(position) = position {
            tx.set_position(TOPIC, position).await?;
        }
        tx.commit().await?;
        let changed = changes.outbox.len() as u64;
        Ok((changed > 0).then(|| applied.first_seq + changed - 1))
    }
}

/// Renews the lease until told to stop, then gives it back.
pub(crate) async fn keep_lease(writer: Arc<Writer>, stop: CancellationToken) -> Result<(), Error> {
    let lease = writer.state.lock().await.lease.clone();
    let mut beat = tokio::time::interval(writer.lease_for / 4);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = stop.cancelled() => break,
        }
        match writer.store.renew_lease(&lease, writer.lease_for).await {
            Ok(()) => {}
            Err(error) if error.action() == Action::Retry => {
                tracing::warn!(%error, "failed to renew the lease of the centre");
            }
            Err(error) => return Err(error.into()),
        }
    }
    // The lock is free only when no transaction is under way: nobody is let in before it has ended.
    let _state = writer.state.lock().await;
    if let Err(error) = writer.store.release_lease(&lease).await {
        tracing::warn!(%error, "failed to give the lease back; it runs out by itself");
    }
    Ok(())
}

async fn acquire(
    store: &Store,
    name: &str,
    ttl: Duration,
    stop: &CancellationToken,
) -> Result<Lease, Error> {
    let mut told = false;
    loop {
        match retry(|| store.acquire_lease(LEASE_NAME, name, ttl)).await? {
            Some(lease) => return Ok(lease),
            None if !told => tracing::info!("another centre is active; waiting for its lease"),
            None => {}
        }
        told = true;
        tokio::select! {
            () = tokio::time::sleep(ttl / 8) => {}
            () = stop.cancelled() => return Err(Error::Fenced),
        }
    }
}

/// The open incidents with their standing alarms, the policies they were filed under, and what was closed of late.
async fn read_index(
    store: &Store,
    terms: &Terms,
    now: i64,
) -> Result<OpenIndex, yiwang_store::Error> {
    let mut index = OpenIndex::new(terms.closed_max);
    for policy in store.policies().await? {
        if !index.insert_policy(&policy) {
            tracing::warn!(policy = %policy.id, "a stored policy cannot be read; the one in force is used");
        }
    }
    let closed_max = u32::try_from(terms.closed_max).unwrap_or(u32::MAX);
    for incident in store.closed_since(now - RECURRENCE_MAX_MS, closed_max).await? {
        index.insert(&incident);
    }
    let filter = IncidentFilter { open_only: true, ..IncidentFilter::default() };
    let mut after = None;
    loop {
        let page = store.list(&Scope::All, &filter, after, PAGE).await?;
        for incident in &page {
            index.insert(incident);
            for row in store.signals_of(incident.id).await? {
                let standing = row.cleared_at.is_none() && !row.signal.alarm_key.is_empty();
                if standing && !row.signal.clears() {
                    let at = Standing { incident: incident.id, time: row.signal.time };
                    index.insert_alarm(&row.signal.source, &row.signal.alarm_key, at);
                }
            }
        }
        let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
        after = Some(ListAfter { reported_at: last.reported_at, id: last.id });
    }
    Ok(index)
}

/// A counter of the ledger: stage, name, how many.
type Count = (&'static str, &'static str, i64);

/// What the ledger counts beside the outcomes, which the store counts with their rows.
fn counted(answers: &[Answer]) -> Vec<Count> {
    let duplicates = answers.iter().filter(|answer| answer.duplicate).count();
    let differ = answers.iter().filter(|answer| answer.content_differs).count();
    let count = |name, number| (STAGE, name, i64::try_from(number).unwrap_or(i64::MAX));
    vec![
        count("signals", answers.len()),
        count("duplicate", duplicates),
        count("content_differs", differ),
    ]
}

fn record_answers(answers: &[Answer]) {
    let duplicates = answers.iter().filter(|answer| answer.duplicate).count();
    metrics::record_duplicates(duplicates as u64);
    for answer in answers.iter().filter(|answer| !answer.duplicate) {
        metrics::record_signals(answer.outcome, 1);
    }
}

/// Tries until it is done or fails for good.
async fn retry<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, yiwang_store::Error>>,
{
    retry_own(|| {
        let attempt = attempt();
        async { attempt.await.map_err(Error::from) }
    })
    .await
}

/// The same for steps that fail in our own words.
async fn retry_own<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = RETRY.0;
    loop {
        match attempt().await {
            Err(Error::Store(error)) if error.action() == Action::Retry => {
                tracing::warn!(%error, "the store is away; trying again");
                metrics::record_retry();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
            done => return done,
        }
    }
}
