//! One simulated hub: its loops, which die and start again, and its process, which crashes with the log.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use yiwang_core::district::{District, FileSet};
use yiwang_core::ledger::{Counters, Stage};
use yiwang_log::{BatchLimit, Faults, Log, MemoryConfig, TopicSpec, standard_topics};
use yiwang_router::{Bundle, Config, Handle, Router};
use yiwang_store::Store;

use crate::centre::{Centre, Live, outside};
use crate::fleet::{Fleet, GAS, SMOKE};
use crate::gateway;

const PARTITIONS: u16 = 2;

fn folder(name: &str) -> FileSet {
    let folder = format!("{}/../config/{name}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let file = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

/// Nothing is folded: an absence that is held when the world ends would be told by one run and not by another. What folding
/// does under crashes is shown by the router's own tests.
fn district_files() -> FileSet {
    let mut files = folder("district");
    files.remove("storms.yaml").expect("the shipped district folds storms");
    files
}

pub static DISTRICT: LazyLock<Arc<District>> = LazyLock::new(|| {
    let (district, problems) = District::load(&district_files());
    Arc::new(district.unwrap_or_else(|| panic!("{problems:?}")))
});

pub static BUNDLE: LazyLock<Arc<Bundle>> = LazyLock::new(|| {
    let mut csv = "product_key,device_name,area_code,secret\n".to_owned();
    for device in GAS.into_iter().chain(SMOKE) {
        let (product, name) = device.split_once('/').unwrap();
        csv += &format!("{product},{name},310118001001,demo-secret-of-{name}-0123456789\n");
    }
    let mut files: FileSet = folder("products").into_iter().map(hastened).collect();
    files.insert("devices.csv".to_owned(), csv);
    let (bundle, problems) = Bundle::load(&district_files(), &files);
    bundle.unwrap_or_else(|| panic!("{problems:?}"))
});

/// The hub's own topics and those of the routes.
pub fn topics() -> Vec<TopicSpec> {
    let further = BUNDLE.routes().topics().iter();
    let further = further.map(|topic| TopicSpec::stream(&topic.name, PARTITIONS, &[]));
    standard_topics(PARTITIONS).into_iter().chain(further).collect()
}

/// Times of rules cut down, so that a short simulation sees clears, reminders of silence and what ticks give birth to.
fn hastened((name, text): (String, String)) -> (String, String) {
    // The vectors are of the shipped rules: they stand last and are left out.
    let rules_end = text.find("\n  - rule:").map_or(text.len(), |end| end + 1);
    let text = text[..rules_end]
        .replace("clearHold: 1m", "clearHold: 8s")
        .replace("quietClear: 5m", "quietClear: 15s")
        .replace("absent(30m)", "absent(20s)");
    (name, text)
}

/// A store with its schema, to be copied: making one takes longer than a whole simulation.
static EMPTY_STORE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = memory_folder();
    let config = yiwang_store::Config::sqlite(folder.path().join("empty.db"));
    outside(async move { Store::open(&config).await.unwrap().close().await });
    folder
});

/// A folder whose fsync costs nothing, where the system has one: crashes here are crashes of the process.
fn memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn new_store(folder: &Path) -> PathBuf {
    let path = folder.join("yiwang.db");
    std::fs::copy(EMPTY_STORE.path().join("empty.db"), &path).unwrap();
    path
}

/// What is left when everything has come to rest.
pub struct Rest {
    pub log: Log,
    pub fleet: Fleet,
    pub live: Live,
    pub ledger: Counters,
    _folder: TempDir,
}

/// How one seed goes wrong.
struct Plan {
    rng: SmallRng,
    faults: Faults,
    router: Config,
}

impl Plan {
    fn of(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut delay = || Duration::from_millis([0, 3, 40, 1_500][rng.random_range(0..4)]);
        let faults = Faults {
            sync_delay_max: delay(),
            receipt_delay_max: delay(),
            append_delay_max: delay() / 10,
            rebalance_ratio: 0.0,
        };
        let faults =
            Faults { rebalance_ratio: [0.0, 0.005, 0.03][rng.random_range(0..3)], ..faults };
        let router = Config {
            workers: 2,
            batch: BatchLimit { records_max: rng.random_range(1..40), bytes_max: 1 << 20 },
            in_flight_max: rng.random_range(1..6),
            snapshot_every: Duration::from_secs(rng.random_range(1..60)),
            snapshot_records_max: rng.random_range(1..400),
            snapshot_records_per_device: rng.random_range(0..5),
            attempts_max: 3,
            cloud_events: false,
        };
        Self { rng, faults, router }
    }
}

/// Runs one seed until everything is at rest.
pub async fn run(seed: u64) -> Rest {
    let Plan { mut rng, faults, router } = Plan::of(seed);
    let config = MemoryConfig { seed, faults, ..MemoryConfig::default() };
    let mut log = Log::open_memory(config, topics()).unwrap();
    let temporary = memory_folder();
    let path = new_store(temporary.path());
    let fleet = Fleet::new(rng.random());
    fleet.start(rng.random_range(10..25));
    let end = Instant::now() + Duration::from_secs(rng.random_range(90..300));
    while Instant::now() < end {
        let mut child = || SmallRng::seed_from_u64(rng.random());
        let centre = Centre { path: path.clone(), district: DISTRICT.clone(), log: log.clone() };
        let mut roles = JoinSet::new();
        roles.spawn(keep_gateway_running(log.clone(), fleet.clone(), child()));
        roles.spawn(keep_router_running(log.clone(), router.clone(), child()));
        roles.spawn(centre.keep_running(child()));
        let life = Duration::from_millis(rng.random_range(5_000..120_000));
        sleep_until(end.min(Instant::now() + life)).await;
        roles.shutdown().await;
        log = log.crash();
    }
    let (ledger, live) = drain(&log, &fleet, router, path).await;
    Rest { log, fleet, live, ledger, _folder: temporary }
}

async fn keep_gateway_running(log: Log, fleet: Fleet, mut rng: SmallRng) {
    loop {
        let life = Duration::from_millis(rng.random_range(1_000..60_000));
        if let Ok(ended) = timeout(life, gateway::run(log.clone(), fleet.clone())).await {
            panic!("the gateway does not end by itself: {ended:?}");
        }
        sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
    }
}

async fn keep_router_running(log: Log, config: Config, mut rng: SmallRng) {
    loop {
        let (router, _handle) = Router::new(config.clone(), log.clone(), BUNDLE.clone()).unwrap();
        let life = Duration::from_millis(rng.random_range(10..40_000));
        let stop = CancellationToken::new();
        if rng.random_bool(0.2) {
            let stopper = async {
                sleep(life).await;
                stop.cancel();
            };
            tokio::join!(router.run(stop.clone()), stopper).0.unwrap();
        } else if let Ok(ended) = timeout(life, router.run(stop)).await {
            panic!("the router does not end by itself: {ended:?}");
        }
        sleep(Duration::from_millis(rng.random_range(0..2_000))).await;
    }
}

/// No faults any more: every device gets its acknowledgements, the router routes all, the centre reads all.
async fn drain(log: &Log, fleet: &Fleet, router: Config, path: PathBuf) -> (Counters, Live) {
    fleet.calm();
    let mut gateway = JoinSet::new();
    gateway.spawn(gateway::run(log.clone(), fleet.clone()));
    while !fleet.is_done() {
        sleep(Duration::from_millis(100)).await;
    }
    gateway.shutdown().await;
    // The last tick may still be on its way to the disk.
    sleep(Duration::from_secs(10)).await;
    let ledger = route_all(log, router).await;
    let centre = Centre { path, district: DISTRICT.clone(), log: log.clone() };
    (ledger, centre.drain().await)
}

/// Routes everything on the log.
pub async fn route_all(log: &Log, config: Config) -> Counters {
    let (router, handle) = Router::new(config, log.clone(), BUNDLE.clone()).unwrap();
    let stop = CancellationToken::new();
    let watch = async {
        let ledger = routed(&handle).await;
        stop.cancel();
        ledger
    };
    let (ended, ledger) = tokio::join!(router.run(stop.clone()), watch);
    ended.unwrap();
    ledger
}

async fn routed(handle: &Handle) -> Counters {
    loop {
        sleep(Duration::from_millis(1)).await;
        // The ledger is that of the partitions that are here: in a rebalance some are not.
        let all = handle.partitions() == usize::from(PARTITIONS);
        let ledger = handle.ledger().await.unwrap();
        if all && handle.is_caught_up() && ledger.row(Stage::Router, "pending") == 0 {
            return ledger;
        }
    }
}
