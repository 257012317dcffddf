//! A centre over the memory log and an SQLite file, and clients that talk to it over loopback.
//!
//! Every wait has a condition and gives up after [`PATIENCE`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use yiwang_centre::{Config, Error, InForce, Parts};
use yiwang_core::district::{District, FileSet};
use yiwang_core::incident::Terms;
use yiwang_core::record::{AlarmSeverity, Signal, SignalKind};
use yiwang_log::{Batch, Log, MemoryConfig, Route, key_hash, standard_topics};
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::incident_service_client::IncidentServiceClient;
use yiwang_proto::incident::v1::watch_response::Item;
use yiwang_proto::incident::v1::watch_service_client::WatchServiceClient;
use yiwang_store::{Limits, Store, TokenHash, UnitToken};

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const DISTRICT: &str = "310118";
pub const TOWN: &str = "310118001";
pub const VILLAGE: &str = "310118001001";
pub const OTHER_TOWN: &str = "310118102";
pub const OTHER_VILLAGE: &str = "310118102001";
pub const ASSET: &str = "wl-0001";

/// Waits for something that has to happen.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

/// Asks until the answer is yes.
pub async fn until<F: Future<Output = bool>>(mut asked: impl FnMut() -> F) {
    soon(async {
        while !asked().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The shipped district; road floods are the town's alone and have `ack` to be acknowledged.
fn district(ack: &str) -> District {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/district");
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: FileSet = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    let policies = files.get_mut("policies.yaml").unwrap();
    policies.push_str(&format!(
        "\n- match: {{category: flood.road, area: '{DISTRICT}'}}\n  start_tier: TOWN\n  lead: place\n  \
         assists: []\n  ack: {ack}\n  handle: 4h\n  incident: 6h\n  \
         auto: {{accept: true, file: true, check: true}}\n  evidence: {{feedback: [], close: []}}\n"
    ));
    let (district, problems) = District::load(&files);
    district.unwrap_or_else(|| panic!("{problems:#?}"))
}

/// What outlives a centre: the log, the store, the district.
pub struct Hub {
    folder: TempDir,
    pub log: Log,
    district: Arc<District>,
    events: AtomicU64,
}

impl Hub {
    pub fn new() -> Self {
        Self::with_ack("5m")
    }

    pub fn with_ack(ack: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            log: Log::open_memory(MemoryConfig::default(), standard_topics(2)).unwrap(),
            district: Arc::new(district(ack)),
            events: AtomicU64::new(0),
        }
    }

    /// Another process's handle to the store's file, which waits while a centre writes.
    pub async fn store(&self) -> Store {
        self.store_with(Limits::default()).await
    }

    async fn store_with(&self, limits: Limits) -> Store {
        let path = self.folder.path().join("store.db");
        Store::open(&yiwang_store::Config::Sqlite { path, limits }).await.unwrap()
    }

    /// Starts a centre and waits until it takes calls.
    pub async fn start(&self, name: &str) -> Centre {
        let mut centre = self.begin(name, |_| {}).await;
        soon(&mut centre.ready).await.expect("the centre starts");
        centre
    }

    /// Starts one that may have to wait for its lease.
    pub async fn begin(&self, name: &str, edit: impl Fn(&mut Config)) -> Centre {
        // It is soon seen what a centre does when another process holds the file.
        let limits = Limits { busy_max: Duration::from_millis(100), ..Limits::default() };
        let store = self.store_with(limits).await;
        for unit in [DISTRICT, TOWN, VILLAGE, OTHER_TOWN, "dept:water"] {
            let hash = TokenHash::of(&token_of(unit));
            if store.find_token(hash).await.unwrap().is_none() {
                let (unit, label) = (unit.into(), "test".to_owned());
                let (created_at, expires_at, revoked_at) = (0, None, None);
                let token = UnitToken { hash, unit, label, created_at, expires_at, revoked_at };
                store.insert_token(&token).await.unwrap();
            }
        }
        let mut config = Config {
            name: name.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            batch_signals_max: 100,
            unsent_changes_max: 1_000,
            unsent_bytes_max: 4 << 20,
            heartbeat: Duration::from_millis(100),
            streams_max: 8,
            lease: Duration::from_secs(5),
            outbox_age_max: Duration::from_secs(3_600),
            token_key: [7; 32],
            build: "test".to_owned(),
        };
        edit(&mut config);
        let parts = Parts {
            log: self.log.clone(),
            store: store.clone(),
            in_force: Arc::new(ArcSwap::from_pointee(InForce {
                district: Arc::clone(&self.district),
                terms: Arc::new(Terms::default()),
            })),
        };
        let listener = yiwang_centre::bind(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, ready) = oneshot::channel();
        let stop = CancellationToken::new();
        let on_ready = Box::new(move |_| tell.send(()).expect("the test waits"));
        let further = Routes::default();
        let running = yiwang_centre::run(config, parts, listener, further, on_ready, stop.clone());
        let running = tokio::spawn(running);
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Centre { store, ready, stop, running, channel }
    }

    /// A road flood at a place, seen by a device.
    pub fn signal(&self, asset: Option<&str>, place: &str) -> Signal {
        let n = self.events.fetch_add(1, Ordering::Relaxed);
        let now = now();
        Signal {
            source: format!("device/wl-radar-01/{}", asset.unwrap_or("none")),
            event_id: format!("event-{n}"),
            kind: SignalKind::Raise,
            alarm_key: "level".to_owned(),
            category: "flood.road".to_owned(),
            severity: AlarmSeverity::Major,
            time: now,
            since: now,
            received_at: now,
            device: "wl-radar-01/x".to_owned(),
            asset: asset.map(str::to_owned),
            place: Some(place.to_owned()),
            point: None,
            cause: "level".to_owned(),
            text: "水位 0.31 m".to_owned(),
            reading: None,
            members: Vec::new(),
        }
    }

    pub async fn send(&self, signals: &[Signal]) {
        let topic = self.log.topic("signals").unwrap();
        let mut batch = Batch::new();
        for signal in signals {
            let hash = key_hash(signal.source.as_bytes());
            let value = yiwang_proto::signal_to_bytes(signal);
            batch.push(topic, Route::Key { hash }, signal.source.as_bytes(), &[], &value);
        }
        self.log.writer().append(batch).await.unwrap().safe().await.unwrap();
    }
}

pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn token_of(unit: &str) -> String {
    format!("token-of-{unit}")
}

/// A running centre.
pub struct Centre {
    pub store: Store,
    pub ready: oneshot::Receiver<()>,
    pub stop: CancellationToken,
    pub running: JoinHandle<Result<(), Error>>,
    channel: Channel,
}

impl Centre {
    pub async fn end(self) -> Result<(), Error> {
        self.stop.cancel();
        soon(self.running).await.unwrap()
    }

    pub fn desk(&self, unit: &str) -> Desk {
        let header = MetadataValue::try_from(format!("Bearer {}", token_of(unit))).unwrap();
        Desk { channel: self.channel.clone(), header }
    }

    /// What health says of a service.
    pub async fn health(&self, service: String) -> Result<ServingStatus, Code> {
        let mut client = HealthClient::new(self.channel.clone());
        let asked = soon(async { client.check(HealthCheckRequest { service }).await }).await;
        asked.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
    }

    /// What the ledger counts of the centre under a name.
    pub async fn counted(&self, name: &str) -> i64 {
        let rows = self.store.ledger().await.unwrap();
        let row = rows.iter().find(|row| row.stage == "centre" && row.name == name);
        row.map_or(0, |row| row.value)
    }
}

/// A caller with the token of a unit.
#[derive(Clone)]
pub struct Desk {
    channel: Channel,
    header: MetadataValue<tonic::metadata::Ascii>,
}

impl Desk {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.header.clone());
        request
    }

    fn incidents(&self) -> IncidentServiceClient<Channel> {
        IncidentServiceClient::new(self.channel.clone())
    }

    pub async fn report(&self, report: v1::ReportRequest) -> Result<v1::ReportResponse, Status> {
        let done = soon(async { self.incidents().report(self.request(report)).await }).await;
        done.map(tonic::Response::into_inner)
    }

    pub async fn list(
        &self,
        list: v1::ListIncidentsRequest,
    ) -> Result<v1::ListIncidentsResponse, Status> {
        let done = soon(async { self.incidents().list_incidents(self.request(list)).await }).await;
        done.map(tonic::Response::into_inner)
    }

    pub async fn get(&self, name: &str) -> Result<v1::GetIncidentResponse, Status> {
        let get = v1::GetIncidentRequest { name: name.to_owned() };
        let done = soon(async { self.incidents().get_incident(self.request(get)).await }).await;
        done.map(tonic::Response::into_inner)
    }

    pub async fn act(
        &self,
        incident: &v1::Incident,
        request_id: &str,
        action: v1::act_request::Action,
    ) -> Result<v1::ActResponse, Status> {
        let act = v1::ActRequest {
            name: incident.name.clone(),
            request_id: request_id.to_owned(),
            etag: incident.etag.clone(),
            person: "p1".to_owned(),
            unit: String::new(),
            action: Some(action),
        };
        let done = soon(async { self.incidents().act(self.request(act)).await }).await;
        done.map(tonic::Response::into_inner)
    }

    pub async fn watch(&self, consumer: &str, token: &[u8]) -> Stream {
        let watch = v1::WatchRequest {
            consumer: consumer.to_owned(),
            token: token.to_vec(),
            ..v1::WatchRequest::default()
        };
        self.open(watch).await.unwrap()
    }

    pub async fn open(&self, watch: v1::WatchRequest) -> Result<Stream, Status> {
        let mut client = WatchServiceClient::new(self.channel.clone());
        let opened = soon(async { client.watch(self.request(watch)).await }).await;
        opened.map(|stream| Stream(stream.into_inner()))
    }

    pub async fn ack(&self, consumer: &str, token: &[u8]) -> Result<(), Status> {
        let mut client = WatchServiceClient::new(self.channel.clone());
        let ack = v1::AckRequest {
            consumer: consumer.to_owned(),
            unit: String::new(),
            token: token.to_vec(),
        };
        soon(async { client.ack(self.request(ack)).await }).await.map(drop)
    }
}

/// What a desk sees.
pub struct Stream(Streaming<v1::WatchResponse>);

impl Stream {
    /// The next item; heartbeats included.
    pub async fn item(&mut self) -> Result<Item, Status> {
        match soon(self.0.message()).await? {
            Some(response) => Ok(response.item.expect("an item")),
            None => Err(Status::ok("the stream ended without a reason")),
        }
    }

    /// The snapshot and its token.
    pub async fn snapshot(&mut self) -> (Vec<v1::Incident>, Vec<u8>) {
        let mut incidents = Vec::new();
        loop {
            match self.item().await.unwrap() {
                Item::SnapshotItem(item) => incidents.extend(item.incident),
                Item::SnapshotEnd(end) => {
                    assert_eq!(end.count, i64::try_from(incidents.len()).unwrap());
                    return (incidents, end.token);
                }
                other => panic!("no part of a snapshot: {other:?}"),
            }
        }
    }

    /// The next change.
    pub async fn change(&mut self) -> v1::Change {
        loop {
            match self.item().await.unwrap() {
                Item::Change(change) => return change,
                Item::Heartbeat(_) => {}
                other => panic!("no change: {other:?}"),
            }
        }
    }

    /// The first change that puts an incident into a state.
    pub async fn reaches(&mut self, state: v1::State) -> v1::Change {
        loop {
            let change = self.change().await;
            if change.incident.as_ref().unwrap().state() == state {
                return change;
            }
        }
    }

    pub async fn heartbeat(&mut self) -> v1::Heartbeat {
        loop {
            if let Item::Heartbeat(beat) = self.item().await.unwrap() {
                return beat;
            }
        }
    }

    /// How the stream ends, and the changes before it.
    pub async fn end(mut self) -> (Vec<v1::Change>, Status) {
        let mut changes = Vec::new();
        loop {
            match self.item().await {
                Ok(Item::Change(change)) => changes.push(change),
                Ok(_) => {}
                Err(status) => return (changes, status),
            }
        }
    }
}

pub fn key(change: &v1::Change) -> (String, i64) {
    let incident = change.incident.as_ref().unwrap();
    (incident.name.clone(), incident.version)
}

pub fn reason(status: &Status) -> String {
    yiwang_proto::status::reason(status).unwrap_or_else(|| panic!("{status:?}")).0
}
