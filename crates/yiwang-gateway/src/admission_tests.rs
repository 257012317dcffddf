//! Under pressure: a flood leaves the others their share, life safety goes first, nothing is lost or turned round.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use yiwang_log::{BatchLimit, Event, Faults, Log, MemoryConfig, Route, Start, TopicSpec};

use super::*;

const RECORD_BYTES: usize = 1_000;
/// Enough for everybody to have had many turns.
const RECORDS: u64 = 8_000;

/// A log whose queue is small and whose disk is slow: about 20 records in each 10 ms.
fn slow_log() -> Log {
    let faults = Faults { sync_delay_max: Duration::from_millis(10), ..Faults::default() };
    let config = MemoryConfig { seed: 3, faults, queue_bytes_max: 20 * RECORD_BYTES, opened_at: 0 };
    Log::open_memory(config, vec![TopicSpec::stream("raw", 1, &["router"])]).unwrap()
}

fn share(tenant: &str, weight: u32, life_safety: bool) -> Share {
    Share { tenant: tenant.into(), weight, life_safety }
}

/// What a connection sent in all, what of it was taken while there was pressure, and its longest wait.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    all: u64,
    under_pressure: u64,
    longest: Duration,
}

/// A crowd of connections that always have a batch ready.
struct Pressure {
    log: Log,
    admission: Arc<Admission>,
    stop: CancellationToken,
    senders: JoinSet<(Arc<str>, Sent)>,
}

impl Pressure {
    fn new() -> Self {
        let log = slow_log();
        let limits = RawPressure { door_bytes_max: 2 * RECORD_BYTES, life_safety_run_max: 8 };
        let admission = Arc::new(Admission::new(log.writer(), limits));
        Self { log, admission, stop: CancellationToken::new(), senders: JoinSet::new() }
    }

    /// Each sends one record after the other until stopped, without waiting until it is safe.
    fn crowd(&mut self, share: &Share, connections: usize) {
        for connection in 0..connections {
            let (log, admission) = (self.log.clone(), self.admission.clone());
            let (share, stop) = (share.clone(), self.stop.clone());
            self.senders.spawn(async move {
                let mut sent = Sent::default();
                while !stop.is_cancelled() {
                    let mut batch = Batch::new();
                    let key = format!("{}/{connection}/{}", share.tenant, share.life_safety);
                    let value = format!("{:0>width$}", sent.all, width = RECORD_BYTES - 50);
                    let topic = log.topic("raw").unwrap();
                    batch.push(topic, Route::Partition(0), key.as_bytes(), &[], value.as_bytes());
                    let begun = tokio::time::Instant::now();
                    let receipt = admission.append(&share, batch).await.unwrap();
                    sent.longest = sent.longest.max(begun.elapsed());
                    sent.all += 1;
                    sent.under_pressure += u64::from(!stop.is_cancelled());
                    receipt.safe().await.unwrap();
                }
                (share.tenant, sent)
            });
        }
    }

    /// What each tenant sent until so many records lay on the log.
    async fn run(mut self, records: u64) -> HashMap<Arc<str>, Sent> {
        let admission = self.admission.clone();
        let serving = tokio::spawn(async move { admission.run().await });
        let mut turns = tokio::time::interval(Duration::from_millis(1));
        while self.log.head("raw", 0).await.unwrap() < records {
            turns.tick().await;
        }
        self.stop.cancel();
        let mut said: HashMap<Arc<str>, Sent> = HashMap::new();
        while let Some(ended) = self.senders.join_next().await {
            let (tenant, sent) = ended.unwrap();
            let sum = said.entry(tenant).or_default();
            sum.all += sent.all;
            sum.under_pressure += sent.under_pressure;
            sum.longest = sum.longest.max(sent.longest);
        }
        serving.abort();
        assert_eq!(self.admission.waited().map(|lane| lane.waiting), [0, 0]);
        let sent: u64 = said.values().map(|sent| sent.all).sum();
        assert_eq!(each_connection_in_order(&self.log).await, sent, "nothing lost, nothing twice");
        said
    }
}

/// Counts what lies on the log, and sees that each connection's records ascend by one.
async fn each_connection_in_order(log: &Log) -> u64 {
    let head = log.head("raw", 0).await.unwrap();
    let mut reader = log.reader("raw", "", Start::Committed).await.unwrap();
    let (mut read, mut next) = (0, HashMap::<Vec<u8>, u64>::new());
    while read < head {
        let Event::Records(records) = reader.next(BatchLimit::default()).await.unwrap() else {
            continue;
        };
        for record in records.iter() {
            let number: u64 = std::str::from_utf8(record.value).unwrap().parse().unwrap();
            let expected = next.entry(record.key.to_vec()).or_default();
            assert_eq!(number, *expected);
            *expected += 1;
            read += 1;
        }
    }
    read
}

#[tokio::test(start_paused = true)]
async fn a_flood_leaves_the_others_their_share() {
    let mut pressure = Pressure::new();
    pressure.crowd(&share("flood", 1, false), 200);
    pressure.crowd(&share("quiet", 1, false), 30);
    pressure.crowd(&share("large", 3, false), 90);
    let said = pressure.run(RECORDS).await;
    let (flood, quiet, large) =
        (said["flood"].under_pressure, said["quiet"].under_pressure, said["large"].under_pressure);
    assert!(flood > 500, "the flood is served too: {said:?}");
    let ratio = |a: u64, b: u64| a as f64 / b as f64;
    assert!((0.9..1.1).contains(&ratio(quiet, flood)), "30 as much as 200: {said:?}");
    assert!((2.7..3.3).contains(&ratio(large, flood)), "three times the weight: {said:?}");
}

#[tokio::test(start_paused = true)]
async fn life_safety_goes_first_and_does_not_starve_the_rest() {
    let mut pressure = Pressure::new();
    pressure.crowd(&share("flood", 1, false), 200);
    pressure.crowd(&share("smoke", 1, true), 3);
    let said = pressure.run(RECORDS).await;
    let (flood, smoke) = (said["flood"].longest, said["smoke"].longest);
    assert!(smoke < Duration::from_millis(40), "behind what stands at the door only: {said:?}");
    assert!(flood > smoke * 3, "there was a queue to pass: {said:?}");

    let mut pressure = Pressure::new();
    pressure.crowd(&share("flood", 1, false), 100);
    pressure.crowd(&share("flood", 1, true), 1);
    pressure.crowd(&share("quiet", 1, false), 100);
    let said = pressure.run(RECORDS).await;
    let part = said["quiet"].under_pressure as f64 / said["flood"].under_pressure as f64;
    assert!(part > 0.6, "what overtakes costs the others no place in the queue: {said:?}");

    let mut pressure = Pressure::new();
    pressure.crowd(&share("flood", 1, false), 50);
    pressure.crowd(&share("smoke", 1, true), 50);
    let said = pressure.run(RECORDS).await;
    let part = said["flood"].under_pressure as f64 / said["smoke"].under_pressure as f64;
    assert!((0.1..0.2).contains(&part), "one in nine is the others': {said:?}");
}

#[tokio::test(start_paused = true)]
async fn without_pressure_nothing_waits() {
    let log = slow_log();
    let limits = RawPressure { door_bytes_max: 2 * RECORD_BYTES, life_safety_run_max: 8 };
    // Nobody runs it: a batch that waited would never be taken.
    let admission = Admission::new(log.writer(), limits);
    for _ in 0..100 {
        let mut batch = Batch::new();
        batch.push(log.topic("raw").unwrap(), Route::Partition(0), b"k", &[], b"v");
        let receipt = admission.append(&Share::plain("a"), batch).await.unwrap();
        receipt.safe().await.unwrap();
    }
    assert_eq!(admission.waited(), [Waited::default(); 2]);
    let tenants = admission.tenants();
    assert_eq!(tenants.len(), 1);
    assert!(tenants[0].1 >= 100 * BATCH_BYTES as u64);
}

#[tokio::test(start_paused = true)]
async fn a_halt_reaches_all_who_wait() {
    let log = slow_log();
    let limits = RawPressure { door_bytes_max: RECORD_BYTES, life_safety_run_max: 8 };
    let admission = Arc::new(Admission::new(log.writer(), limits));
    let mut senders = JoinSet::new();
    for _ in 0..60 {
        let (log, admission) = (log.clone(), admission.clone());
        senders.spawn(async move {
            let topic = log.topic("raw").unwrap();
            loop {
                let mut batch = Batch::new();
                batch.push(topic, Route::Partition(0), b"k", &[], &[0; RECORD_BYTES]);
                if let Err(halt) = admission.append(&Share::plain("a"), batch).await {
                    return halt;
                }
            }
        });
    }
    let serving = tokio::spawn({
        let admission = admission.clone();
        async move { admission.run().await }
    });
    let mut turns = tokio::time::interval(Duration::from_millis(1));
    while admission.waited()[Urgency::Ordinary as usize].waiting < 10 {
        turns.tick().await;
    }
    log.close().await.unwrap();
    while let Some(ended) = senders.join_next().await {
        assert_eq!(ended.unwrap().to_string(), Halt::Closed.to_string());
    }
    serving.abort();
}
