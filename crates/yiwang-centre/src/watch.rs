//! One stream of incidents: snapshot, then every change in sight, with a token to go on from anywhere.
//!
//! A stream is a task that writes into a bounded queue. While it catches up (snapshot, replay) it waits for its
//! reader; live changes never wait: a reader that leaves the queue full is cut with its last token, and nobody else
//! notices. Sight is membership in a change's audience, the same set that lists and snapshots filter by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use yiwang_core::access::Authorizer;
use yiwang_core::category::is_below;
use yiwang_core::district::District;
use yiwang_core::incident::{Case, ChangeKind, Incident, State, UnitId};
use yiwang_core::record::AlarmSeverity;
use yiwang_proto::incident::v1;
use yiwang_proto::status;
use yiwang_proto::view::{self, Shown};
use yiwang_store::{IncidentFilter, ListAfter, Scope};

use crate::auth::{self, Caller};
use crate::feed::Entry;
use crate::services::Shared;
use crate::token::{Audience, Place, hex};
use crate::{caller, metrics};

/// Incidents of one page of a snapshot.
const PAGE: u32 = 256;
/// Prefixes of one filter.
const CATEGORIES_MAX: usize = 64;

/// What a stream wants to see of what is in sight.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) states: Vec<State>,
    pub(crate) categories: Vec<String>,
    pub(crate) subtree: Option<String>,
    pub(crate) severity: Option<AlarmSeverity>,
    pub(crate) joint_duty: bool,
    pub(crate) drill: bool,
}

impl Filter {
    pub(crate) fn read(wire: v1::Filter, district: &District) -> Result<Self, Status> {
        if wire.categories.len() > CATEGORIES_MAX {
            return Err(caller::bad_argument("filter.categories", "more than 64"));
        }
        if !wire.subtree.is_empty() && district.unit(&wire.subtree).is_none() {
            return Err(caller::bad_argument("filter.subtree", "no such unit"));
        }
        let severity = v1::Severity::try_from(wire.severity_min)
            .map_err(|_| caller::bad_argument("filter.severity_min", "an unknown severity"))?;
        let state = |&number: &i32| v1::State::try_from(number).ok()?.to_core();
        let states = wire.states.iter().map(state).collect::<Option<_>>();
        Ok(Self {
            states: states
                .ok_or_else(|| caller::bad_argument("filter.states", "an unknown state"))?,
            categories: wire.categories,
            subtree: (!wire.subtree.is_empty()).then_some(wire.subtree),
            severity: severity.to_core(),
            joint_duty: wire.joint_duty,
            drill: wire.drill,
        })
    }

    /// Whether a change belongs to the stream: a closing always does unless states are named.
    fn admits(&self, incident: &Incident) -> bool {
        (self.states.is_empty() || self.states.contains(&incident.state)) && self.concerns(incident)
    }

    /// The part of the filter that does not change with the state.
    fn concerns(&self, incident: &Incident) -> bool {
        let under = |unit: &str| {
            let levels = [&incident.town, &incident.station, &incident.village, &incident.grid]
                .into_iter()
                .flatten();
            &*incident.district == unit || levels.into_iter().any(|level| &**level == unit)
        };
        (self.categories.is_empty()
            || self.categories.iter().any(|code| is_below(&incident.category, code)))
            && self.subtree.as_deref().is_none_or(under)
            && self.severity.is_none_or(|least| incident.severity >= least)
            && (!self.joint_duty || incident.joint_duty)
            && self.drill == incident.drill_id.is_some()
    }

    /// The same as far as the store can select by it; the rest is looked at row by row.
    pub(crate) fn for_store(&self) -> IncidentFilter {
        IncidentFilter {
            states: self.states.clone(),
            open_only: self.states.is_empty(),
            category: (self.categories.len() == 1).then(|| self.categories[0].clone()),
            under: self.subtree.as_deref().map(Into::into),
            severity_min: self.severity,
            joint_duty: self.joint_duty.then_some(true),
            drill: Some(self.drill),
            ..IncidentFilter::default()
        }
    }

    /// Whether a listed incident is wanted.
    pub(crate) fn lists(&self, incident: &Incident) -> bool {
        self.admits(incident) && (!self.states.is_empty() || incident.state.is_open())
    }
}

/// What goes out on a stream, and its size.
pub(crate) type Item = Result<v1::WatchResponse, Status>;

/// Counts what is queued for a reader, and holds what it is told after that.
#[derive(Default)]
pub(crate) struct Queued {
    bytes: AtomicUsize,
    last: Mutex<Option<Status>>,
}

impl Queued {
    /// An item has been handed to the reader.
    pub(crate) fn sent(&self, item: &Item) {
        if let Ok(item) = item {
            self.bytes.fetch_sub(item.encoded_len(), Ordering::AcqRel);
        }
    }

    /// How the stream ended: the reader gets it however late it reads what is queued before it.
    pub(crate) fn take_end(&self) -> Option<Status> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn end(&self, status: Status) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}

/// One stream.
pub(crate) struct Stream {
    pub(crate) shared: Shared,
    pub(crate) caller: Caller,
    /// Unit whose sight it has.
    pub(crate) unit: UnitId,
    pub(crate) consumer: String,
    pub(crate) audience: Audience,
    pub(crate) filter: Filter,
    pub(crate) out: mpsc::Sender<Item>,
    pub(crate) queued: Arc<Queued>,
    pub(crate) taken_over: CancellationToken,
    /// Number of the last change that was sent or passed over.
    pub(crate) sent: u64,
    /// Number of the last change known to be acknowledged.
    pub(crate) acked: u64,
}

/// Why a stream ended: the status its reader gets, if it still reads.
enum End {
    Status(Status),
    ReaderGone,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<yiwang_store::Error> for End {
    fn from(error: yiwang_store::Error) -> Self {
        Self::Status(caller::store_failed(error))
    }
}

impl Stream {
    /// The place of a token.
    ///
    /// # Errors
    /// `TOKEN_BAD`, `TOKEN_FOREIGN` or `RESYNC`.
    pub(crate) async fn resume(&mut self, token: &[u8]) -> Result<(), Status> {
        let opened = caller::open_token(&self.shared.signer, self.audience.consumer, token)?;
        if opened.audience.view != self.audience.view {
            return Err(resync("the filter is another one"));
        }
        let place = opened.place;
        let span = self.shared.parts.store.outbox_span().await.map_err(caller::store_failed)?;
        let seq = u64::try_from(place.seq).unwrap_or_default();
        if place.log_epoch != span.log_epoch || seq + 1 < span.first || seq > span.head {
            return Err(resync("the changes after the token are no longer kept"));
        }
        self.sent = seq;
        Ok(())
    }

    /// Runs until the reader goes, is cut, or the centre stops.
    pub(crate) async fn run(mut self, snapshot: bool, stop: CancellationToken) {
        // Listening begins before the snapshot is read: nothing committed in between is missed.
        let live = self.shared.feed.listen();
        let taken_over = self.taken_over.clone();
        let end = tokio::select! {
            end = self.follow(snapshot, live) => end,
            () = taken_over.cancelled() => {
                Err(caller::status(Code::Aborted, "TAKEN_OVER", "the same consumer has connected again").into())
            }
            () = stop.cancelled() => {
                Err(caller::status(Code::Unavailable, "STOPPING", "the centre stops; connect again with the token").into())
            }
        };
        if let Err(End::Status(status)) = end {
            metrics::record_cut(reason_of(&status));
            self.queued.end(status);
        }
    }

    async fn follow(
        &mut self,
        snapshot: bool,
        mut live: broadcast::Receiver<Arc<Entry>>,
    ) -> Result<(), End> {
        if snapshot {
            self.send_snapshot().await?;
        }
        self.replay().await?;
        let mut beat = tokio::time::interval(self.shared.config.heartbeat);
        loop {
            tokio::select! {
                entry = live.recv() => match entry {
                    Ok(entry) if entry.seq <= self.sent => {}
                    Ok(entry) if entry.seq == self.sent + 1 => self.offer(&entry)?,
                    // A hole, or so far behind that the ring has moved on: the outbox has everything.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.replay().await?,
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                _ = beat.tick() => self.heartbeat().await?,
                () = self.out.closed() => return Err(End::ReaderGone),
            }
        }
    }

    async fn send_snapshot(&mut self) -> Result<(), End> {
        let store = self.shared.parts.store.clone();
        let head = store.outbox_span().await?.head;
        let scope = Scope::Unit(Arc::clone(&self.unit));
        let filter = self.filter.for_store();
        let (mut after, mut count) = (None, 0);
        loop {
            let page = store.list(&scope, &filter, after, PAGE).await?;
            let wanted: Vec<_> =
                page.iter().filter(|incident| self.filter.lists(incident)).collect();
            let ids: Vec<_> = wanted.iter().map(|incident| incident.id).collect();
            let cases: HashMap<_, _> =
                store.cases(&ids).await?.into_iter().map(|case| (case.incident.id, case)).collect();
            let district = self.shared.parts.district();
            // Between the two reads one may have left: its change says so.
            let authorizer = Authorizer::new(&district);
            let in_sight =
                |case: &&Case| authorizer.may_read(&self.unit, &case.incident, &case.tasks);
            let found = wanted.iter().filter_map(|incident| cases.get(&incident.id));
            for case in found.filter(in_sight) {
                let shown = Shown {
                    incident: &case.incident,
                    tasks: &case.tasks,
                    clocks: &case.clocks,
                    last: None,
                };
                let incident = Some(view::incident(shown, &district));
                self.wait(item(v1::watch_response::Item::SnapshotItem(v1::SnapshotItem {
                    incident,
                })))
                .await?;
                count += 1;
            }
            let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
            after = Some(ListAfter { reported_at: last.reported_at, id: last.id });
        }
        self.sent = head;
        let token = self.token();
        self.wait(item(v1::watch_response::Item::SnapshotEnd(v1::SnapshotEnd { token, count })))
            .await
    }

    /// Reads the outbox from the last change sent to its end, at the reader's pace.
    async fn replay(&mut self) -> Result<(), End> {
        loop {
            let page = self.shared.parts.store.outbox_after(self.sent, PAGE).await?;
            if let Some(first) = page.first()
                && first.seq != self.sent + 1
            {
                return Err(resync("the changes after the token are no longer kept").into());
            }
            let more = page.len() == PAGE as usize;
            for entry in page {
                let entry = Entry::new(entry, None);
                self.sent = entry.seq;
                if let Some(item) = self.item_of(&entry) {
                    self.wait(item).await?;
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// A live change: in the queue or, when that is full, the end of the stream.
    fn offer(&mut self, entry: &Entry) -> Result<(), End> {
        self.sent = entry.seq;
        let Some(item) = self.item_of(entry) else { return Ok(()) };
        let size = item.encoded_len();
        let queued = self.queued.bytes.fetch_add(size, Ordering::AcqRel) + size;
        let full = queued > self.shared.config.unsent_bytes_max;
        match self.out.try_send(Ok(item)) {
            Ok(()) if !full => {
                metrics::record_delivered(1);
                if let Some(arrival) = entry.take_arrival() {
                    metrics::record_latency(arrival, self.shared.writer.now());
                }
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(End::ReaderGone),
            _ => {
                let text =
                    "the reader is too slow; connect again with the token of the last change read";
                // What did not fit was not delivered.
                self.sent = entry.seq - 1;
                let facts = [("token", hex(&self.token()))];
                let facts = facts.each_ref().map(|(name, value)| (*name, value.as_str()));
                Err(status::status(Code::ResourceExhausted, "SLOW", text, &facts).into())
            }
        }
    }

    /// What this stream shows of a change: the change, that it left, or nothing.
    fn item_of(&self, entry: &Entry) -> Option<v1::WatchResponse> {
        let unit = &self.unit;
        let row = &entry.row;
        if row.audience.binary_search(unit).is_err() {
            return row.left.contains(unit).then(|| self.left(entry, "SIGHT"));
        }
        if !self.filter.admits(&row.view) {
            let known = self.filter.concerns(&row.view) && row.kind != ChangeKind::Opened;
            return known.then(|| self.left(entry, "FILTER"));
        }
        let district = self.shared.parts.district();
        let incident = entry.view(&district).clone();
        let change = view::change(row, unit, self.token(), incident, &district);
        Some(item(v1::watch_response::Item::Change(change)))
    }

    fn left(&self, entry: &Entry, reason: &str) -> v1::WatchResponse {
        item(v1::watch_response::Item::LeftScope(v1::LeftScope {
            token: self.token(),
            incident: view::incident_name(entry.row.incident),
            version: entry.row.version,
            reason: reason.to_owned(),
        }))
    }

    async fn heartbeat(&mut self) -> Result<(), End> {
        let store = &self.shared.parts.store;
        let now = self.shared.writer.now();
        // A revoked token ends the stream no later than this; a store that is away ends nothing.
        match auth::unit_of(store, self.caller.token, now).await {
            Err(status) if status.code() == Code::Unavailable => {}
            known => drop(known?),
        }
        let acked = store.cursor(&self.consumer).await;
        let acked = acked.ok().flatten().map_or(self.acked, |cursor| cursor.seq);
        self.acked = acked;
        let int = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let beat = v1::Heartbeat {
            head_seq: int(self.shared.feed.head()),
            sent_seq: int(self.sent),
            acked_seq: int(acked),
            server_time: Some(view::timestamp(now)),
            build: self.shared.config.build.clone(),
            token: self.token(),
        };
        let beat = item(v1::watch_response::Item::Heartbeat(beat));
        let size = beat.encoded_len();
        self.queued.bytes.fetch_add(size, Ordering::AcqRel);
        match self.out.try_send(Ok(beat)) {
            Ok(()) => Ok(()),
            // A full queue is no time for small talk.
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.queued.bytes.fetch_sub(size, Ordering::AcqRel);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(End::ReaderGone),
        }
    }

    /// Hands over at the reader's pace.
    async fn wait(&self, item: v1::WatchResponse) -> Result<(), End> {
        self.queued.bytes.fetch_add(item.encoded_len(), Ordering::AcqRel);
        metrics::record_delivered(1);
        self.out.send(Ok(item)).await.map_err(|_| End::ReaderGone)
    }

    fn token(&self) -> Vec<u8> {
        let seq = i64::try_from(self.sent).unwrap_or(i64::MAX);
        let log_epoch = self.shared.parts.store.log_epoch();
        self.shared.signer.sign(self.audience, Place { log_epoch, seq })
    }
}

fn item(item: v1::watch_response::Item) -> v1::WatchResponse {
    v1::WatchResponse { item: Some(item) }
}

fn resync(what: &str) -> Status {
    caller::status(Code::OutOfRange, "RESYNC", format!("{what}: watch without a token"))
}

fn reason_of(status: &Status) -> &'static str {
    match status.code() {
        Code::ResourceExhausted => "SLOW",
        Code::Aborted => "TAKEN_OVER",
        Code::Unavailable => "STOPPING",
        Code::Unauthenticated => "TOKEN",
        Code::OutOfRange => "RESYNC",
        _ => "FAILED",
    }
}
