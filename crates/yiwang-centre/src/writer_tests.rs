//! What the writer does with each class of failure (delivery contract, section 6), each brought about for real but the
//! panics of the core, which are put in its place.

use tempfile::TempDir;
use tonic::Code;
use yiwang_core::district::FileSet;
use yiwang_core::incident::{Outcome, Terms};
use yiwang_core::record::{AlarmSeverity, SignalKind};
use yiwang_log::{Log, MemoryConfig, standard_topics};
use yiwang_store::{IncidentFilter, Limits, Scope};

use super::*;
use crate::caller;

const POISON: &str = "poison";

struct Desk {
    writer: Writer,
    store: Store,
    folder: TempDir,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // It is soon seen what a centre does when another process holds the file.
        let limits = Limits { busy_max: Duration::from_millis(50), ..Limits::default() };
        let store = store(&folder, limits).await;
        let parts = Parts {
            log: Log::open_memory(MemoryConfig::default(), standard_topics(1)).unwrap(),
            store: store.clone(),
            in_force: Arc::new(ArcSwap::from_pointee(InForce {
                district: Arc::new(district()),
                terms: Arc::new(Terms::default()),
            })),
        };
        let writer = Writer::open(&config(), &parts, &CancellationToken::new()).await.unwrap();
        Self { writer, store, folder }
    }

    fn signal(&self, event_id: &str) -> Signal {
        let now = self.writer.now();
        Signal {
            source: format!("device/gas-01/{event_id}"),
            event_id: event_id.to_owned(),
            kind: SignalKind::Raise,
            alarm_key: "leak".to_owned(),
            category: "pipe.gas".to_owned(),
            severity: AlarmSeverity::Major,
            time: now,
            since: now,
            received_at: now,
            device: format!("gas-01/{event_id}"),
            asset: None,
            place: Some("310118001001".to_owned()),
            point: None,
            cause: String::new(),
            text: "12.5 %LEL".to_owned(),
            reading: None,
            members: Vec::new(),
        }
    }

    /// That of another process, which waits while the centre writes.
    async fn other_store(&self) -> Store {
        store(&self.folder, Limits::default()).await
    }

    async fn incidents(&self) -> u64 {
        self.store.count(&Scope::All, &IncidentFilter::default()).await.unwrap()
    }
}

async fn store(folder: &TempDir, limits: Limits) -> Store {
    let path = folder.path().join("store.db");
    Store::open(&yiwang_store::Config::Sqlite { path, limits }).await.unwrap()
}

fn district() -> District {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/district");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read_to_string(entry.path()).unwrap())
    };
    let files: FileSet = std::fs::read_dir(folder).unwrap().map(file).collect();
    let (district, problems) = District::load(&files);
    district.unwrap_or_else(|| panic!("{problems:#?}"))
}

fn config() -> Config {
    Config {
        name: "a".to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        batch_signals_max: 100,
        unsent_changes_max: 100,
        unsent_bytes_max: 1 << 20,
        heartbeat: Duration::from_secs(1),
        streams_max: 1,
        lease: Duration::from_secs(60),
        outbox_age_max: Duration::from_secs(60),
        token_key: [7; 32],
        build: "test".to_owned(),
    }
}

fn at(seq: u64) -> Option<Position> {
    Some(Position { epoch: 0, partition: 0, seq })
}

/// Stages most of an incident before it panics.
fn panics_on_poison(session: &mut Session<'_>, signal: &Signal) -> Staged<Answer> {
    let staged = session.signal(signal);
    assert!(!signal.event_id.starts_with(POISON), "a bug in the core");
    staged
}

#[tokio::test]
async fn poison_is_rejected_with_its_row_kept_and_holds_up_nobody() {
    let desk = Desk::new().await;
    let names = ["one", "poison-1", "two", "poison-2", "three"];
    let batch = names.map(|name| desk.signal(name));
    let answers = desk.writer.judged(&batch, at(5), panics_on_poison).await.unwrap();
    let outcomes: Vec<Outcome> = answers.iter().map(|answer| answer.outcome).collect();
    use Outcome::{Opened, Rejected};
    assert_eq!(outcomes, [Opened, Rejected, Opened, Rejected, Opened]);
    assert_eq!(desk.incidents().await, 3);
    let key = |signal: &Signal| (signal.source.clone(), signal.event_id.clone());
    let (source, event_id) = key(&batch[1]);
    let rows = desk.store.known_signals(&[(&source, &event_id)]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].outcome, rows[0].reason.as_str()), (Rejected, PANICKED));
    assert_eq!(rows[0].signal, batch[1]);
    assert_eq!(desk.store.positions(TOPIC).await.unwrap(), [at(5).unwrap()]);
    // It is known now, like any other: the core is not asked again.
    let again = desk.writer.signals(&batch, at(5)).await.unwrap();
    assert!(again.iter().all(|answer| answer.duplicate));
}

#[tokio::test]
async fn a_clock_on_which_the_core_panics_is_left_out() {
    let desk = Desk::new().await;
    let batch = ["one", "two"].map(|name| desk.signal(name));
    desk.writer.signals(&batch, at(2)).await.unwrap();
    let far = i64::MAX;
    let clocks = desk.store.due_clocks(far, 100).await.unwrap();
    let due: Vec<Due> = clocks
        .iter()
        .map(|clock| Due {
            incident: clock.incident,
            clock: clock.id,
            generation: clock.generation,
        })
        .collect();
    assert!(due.len() > 1);
    let always = |_: &mut Session<'_>, _: Due| -> Staged<u32> { panic!("a bug in the core") };
    let fired = desk.writer.struck(&due, always).await.unwrap();
    assert_eq!((fired.rungs, fired.left_out.len()), (0, due.len()));
    // None of them is due by its own time yet: the writer goes on as if nothing had been.
    let fired = desk.writer.fire(&due).await.unwrap();
    assert!(fired.left_out.is_empty());
    assert_eq!(desk.incidents().await, 2);
}

#[tokio::test]
async fn retry_what_another_holds_and_tell_a_person_to_try_again() {
    let desk = Desk::new().await;
    let other = desk.other_store().await;
    let held = other.begin(None).await.unwrap();
    let error = desk.writer.report(&desk.signal("r-1")).await.unwrap_err();
    let status = caller::failed(&error);
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let batch = [desk.signal("one")];
    // Tried until it is done: it is, once the other has gone.
    let (done, gone) = tokio::join!(desk.writer.signals(&batch, at(1)), held.rollback());
    gone.unwrap();
    assert_eq!(done.unwrap()[0].outcome, Outcome::Opened);
    assert_eq!(desk.incidents().await, 1);
}

#[tokio::test]
async fn overload_is_resource_exhausted() {
    let desk = Desk::new().await;
    let signal = desk.signal("r-1");
    let busy = async || {
        let error = desk.writer.report(&signal).await.unwrap_err();
        assert!(matches!(error, Error::Busy), "{error:?}");
        assert_eq!(caller::failed(&error).code(), Code::ResourceExhausted);
    };
    // One too many waits: refused at once.
    let all = u32::try_from(WAITING_MAX).unwrap();
    let waiting = desk.writer.waiting.try_acquire_many(all).unwrap();
    busy().await;
    drop(waiting);
    // A transaction that takes too long: refused after a while, nothing of it begun.
    let state = desk.writer.state.lock().await;
    tokio::time::pause();
    busy().await;
    tokio::time::resume();
    drop(state);
    assert_eq!(desk.incidents().await, 0);
    desk.writer.report(&signal).await.unwrap().unwrap();
    assert_eq!(desk.incidents().await, 1);
}

#[tokio::test]
async fn halt_is_the_last_thing_a_centre_does() {
    let desk = Desk::new().await;
    desk.writer.signals(&[desk.signal("one")], at(5)).await.unwrap();
    // The log has less than was committed: somebody's picture is wrong.
    let ended = desk.writer.signals(&[desk.signal("two")], at(3)).await;
    assert!(matches!(ended, Err(Error::Store(_))), "{ended:?}");
    assert!(matches!(desk.writer.end.come().await, Error::Halt(_)));
    let report = desk.writer.report(&desk.signal("r-1")).await;
    assert!(matches!(report, Err(Error::Halt(_))), "{report:?}");
    assert_eq!(desk.incidents().await, 1);
    assert_eq!(desk.store.positions(TOPIC).await.unwrap(), [at(5).unwrap()]);
}

#[tokio::test]
async fn a_report_finds_out_that_the_centre_is_fenced() {
    let desk = Desk::new().await;
    let other = desk.other_store().await;
    let name = &config().name;
    other.acquire_lease("centre", name, Duration::from_secs(60)).await.unwrap().unwrap();
    let report = desk.writer.report(&desk.signal("r-1")).await;
    let Err(error @ Error::Fenced) = report else { panic!("{report:?}") };
    assert_eq!(caller::failed(&error).code(), Code::Unavailable);
    assert!(matches!(desk.writer.end.come().await, Error::Fenced));
    assert_eq!(desk.incidents().await, 0);
}

#[tokio::test]
async fn what_is_handed_over_is_what_the_store_has() {
    let desk = Desk::new().await;
    let mut signals = ["one", "two", "three"].map(|name| desk.signal(name));
    desk.writer.signals(&signals[..2], at(2)).await.unwrap();
    let stored = desk.store.outbox_after(0, 100).await.unwrap();
    let handed = desk.writer.take_handed(1);
    assert!(handed.len() > 2);
    let arrivals: Vec<Millis> = handed.iter().filter_map(|change| change.arrival).collect();
    assert_eq!(arrivals, signals[..2].iter().map(|signal| signal.received_at).collect::<Vec<_>>());
    let entries: Vec<_> = handed.into_iter().map(|change| change.entry).collect();
    assert_eq!(entries, stored);
    // Texts that the store changes are left to it: the feed finds a hole.
    let head = stored.len() as u64;
    signals[2].text = "a\0b".to_owned();
    desk.writer.signals(&signals[2..], at(3)).await.unwrap();
    desk.writer.signals(&[desk.signal("four")], at(4)).await.unwrap();
    assert!(desk.writer.take_handed(head + 1).is_empty());
    let stored = desk.store.outbox_after(head, 100).await.unwrap();
    assert_eq!(stored[0].row.view.text, "a\u{fffd}b");
    // Behind the hole it goes on.
    let behind = stored.iter().find(|entry| entry.row.view.source.ends_with("/four")).unwrap();
    let handed = desk.writer.take_handed(behind.seq);
    assert_eq!(handed[0].entry, *behind);
}
