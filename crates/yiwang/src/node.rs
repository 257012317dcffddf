//! Assembly: opens log and store, starts the roles in their order, and stops them in the order that loses nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use yiwang_gateway::{Clock, Deps, Gateway};
use yiwang_log::Log;
use yiwang_store::Store;

use crate::bundle::Bundle;
use crate::cli::Role;
use crate::config::{Config, LogKind, Stop};
use crate::exit::Failure;
use crate::keys::Keys;
use crate::ledger::Sources;
use crate::readiness::{Outside, Readiness};
use crate::reload::Reload;
use crate::{admin, http, settings, telemetry};

/// Time between the end of the first and the forced end of the other parts.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Pause between two attempts to open a log that is away.
const LOG_RETRY_AFTER: Duration = Duration::from_millis(500);

/// How often the router is asked whether it has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Addresses that a running hub was given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    /// MQTT front.
    pub mqtt: Option<SocketAddr>,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
}

/// What a hub needs to start.
pub struct Plan {
    /// Configuration.
    pub config: Config,
    /// District, products, devices, rules.
    pub bundle: Bundle,
    /// Keys.
    pub keys: Keys,
    /// Roles of this process.
    pub roles: Vec<Role>,
    /// At each of them the bundle is read again; without them only when somebody calls for it.
    pub hangups: Option<Signal>,
    /// Told once every role of this process takes work.
    pub started: Option<oneshot::Sender<(Addresses, Sources)>>,
}

/// The parts of a process by name, each with the error that ended it.
type Running = JoinSet<(&'static str, anyhow::Result<()>)>;
/// A part that has ended.
type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;
/// The part that serves readiness and metrics.
const HTTP: &str = "http";

/// Runs the roles until told to stop or until one of them ends.
///
/// # Errors
/// [`Failure::Unavailable`] for ports, folders and services, [`Failure::Halt`] when durability is in doubt.
pub async fn run(plan: Plan, stop: CancellationToken) -> anyhow::Result<()> {
    let Plan { config, bundle, keys, roles, hangups, started } = plan;
    if config.raw.log.kind == LogKind::Embedded && roles.len() < 3 {
        return Err(Failure::Config(
            "the embedded log belongs to one process: run all roles in it, or set log.kind = \"kafka\"".into(),
        )
        .into());
    }
    let readiness = Arc::new(Readiness::default());
    for &role in &roles {
        readiness.wait(role.as_str(), "it is starting");
    }
    let sources = Sources::default();
    let mut parts = Running::new();
    serve_http(&config, &readiness, &sources, &stop, &mut parts).await?;
    let store = match roles.contains(&Role::Centre) {
        true => Some(open_store(&config, &readiness, &stop).await?),
        false => None,
    };
    let log = open_log(&config, store.as_ref(), &readiness, &stop).await?;
    sources.set_log(log.clone());
    let mut outside = Outside { log: log.clone(), store: store.clone(), gateway: None };
    let keys = Arc::new(keys);
    let reload = Reload::new(config.clone(), Arc::clone(&keys), log.clone(), bundle);
    let reload = Arc::new(reload);
    let assembly = Assembly { config, keys, reload, log, readiness, sources, stop };
    // Consumers first: what the gateway accepts is at once somebody's business.
    let mut addresses = Addresses::default();
    if let Some(store) = store {
        addresses.grpc = assembly.start_centre(store, &mut parts).await?;
    }
    if roles.contains(&Role::Router) {
        assembly.start_router(&mut parts)?;
    }
    if roles.contains(&Role::Gateway) {
        let gateway = assembly.start_gateway(&mut parts).await?;
        addresses.mqtt = gateway.mqtt_address();
        outside.gateway = Some(gateway);
    }
    tokio::spawn(outside.watch(Arc::clone(&assembly.readiness), assembly.stop.clone()));
    if let Some(hangups) = hangups {
        tokio::spawn(Arc::clone(&assembly.reload).at_hangups(hangups, assembly.stop.clone()));
    }
    tell_start(&assembly.config, &roles, addresses);
    if let Some(started) = started {
        // Nobody waiting is no fault.
        let _ = started.send((addresses, assembly.sources.clone()));
    }
    let Assembly { config, log, stop, .. } = assembly;
    let ended = drive(&mut parts, &config, &roles, (&log, &stop)).await;
    let closed = log
        .close()
        .await
        .map_err(|error| Failure::Halt(format!("failed to close the log: {error}")));
    ended.and(closed.map_err(anyhow::Error::from))
}

/// What every role is started with.
struct Assembly {
    config: Config,
    keys: Arc<Keys>,
    reload: Arc<Reload>,
    log: Log,
    readiness: Arc<Readiness>,
    sources: Sources,
    stop: CancellationToken,
}

impl Assembly {
    async fn start_centre(
        &self,
        store: Store,
        parts: &mut Running,
    ) -> anyhow::Result<Option<SocketAddr>> {
        self.sources.set_store(store.clone());
        let works_with = yiwang_centre::Parts {
            log: self.log.clone(),
            store,
            in_force: self.reload.of_centre(),
        };
        let listener =
            yiwang_centre::bind(self.config.raw.centre.listen).await.map_err(unavailable)?;
        let address = listener.local_addr().ok();
        let further = admin::routes(
            self.log.clone(),
            self.sources.clone(),
            Arc::clone(&self.readiness),
            Arc::clone(&self.reload),
            &self.keys,
        );
        let readiness = Arc::clone(&self.readiness);
        let ready = Box::new(move |_| readiness.reached(Role::Centre.as_str()));
        let settings = settings::centre(&self.config, &self.keys);
        let centre =
            yiwang_centre::run(settings, works_with, listener, further, ready, self.stop.clone());
        let file = settings::store_file(&self.config);
        parts.spawn(async move {
            let ended = centre.await.map_err(anyhow::Error::from);
            // The store's own words do not name it.
            let ended = match file {
                Some(file) => ended.with_context(|| format!("its store is {}", file.display())),
                None => ended,
            };
            (Role::Centre.as_str(), ended)
        });
        Ok(address)
    }

    fn start_router(&self, parts: &mut Running) -> anyhow::Result<()> {
        let (router, handle) = self.reload.router(settings::router(&self.config))?;
        self.sources.set_router(handle.clone());
        tokio::spawn(tell_caught_up(handle, Arc::clone(&self.readiness), self.stop.clone()));
        let running = router.run(self.stop.clone());
        parts.spawn(async { (Role::Router.as_str(), running.await.map_err(anyhow::Error::from)) });
        Ok(())
    }

    async fn start_gateway(&self, parts: &mut Running) -> anyhow::Result<yiwang_gateway::Handle> {
        let settings = settings::gateway(&self.config)?;
        let (log, directory) = (self.log.clone(), self.reload.of_gateway()?);
        let deps = Deps { log, directory, clock: Clock::default() };
        let gateway = Gateway::bind(settings, deps).await.map_err(unavailable)?;
        let handle = gateway.handle();
        for (name, _) in handle.sources() {
            self.readiness.wait(&format!("source {name}"), "it is being connected");
        }
        self.sources.set_gateway(handle.clone());
        self.readiness.reached(Role::Gateway.as_str());
        let running = gateway.run(self.stop.clone());
        parts.spawn(async { (Role::Gateway.as_str(), running.await.map_err(anyhow::Error::from)) });
        Ok(handle)
    }
}

async fn serve_http(
    config: &Config,
    readiness: &Arc<Readiness>,
    sources: &Sources,
    stop: &CancellationToken,
    parts: &mut Running,
) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    if config.raw.http.listen.is_empty() {
        return Ok(());
    }
    let address = config.raw.http.listen.parse().context("http.listen was checked before")?;
    let listener = http::bind(address).await?;
    let serving =
        http::serve(listener, metrics, Arc::clone(readiness), sources.clone(), stop.clone());
    parts.spawn(async { (HTTP, serving.await) });
    Ok(())
}

/// Waits for the first part to end or the order to stop, then for the others up to the deadline, or up to another one if
/// the log has no room for what they wait to append.
async fn drive(
    parts: &mut Running,
    config: &Config,
    roles: &[Role],
    (log, stop): (&Log, &CancellationToken),
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let http = (!config.raw.http.listen.is_empty()).then_some(HTTP);
    let mut running: Vec<_> = roles.iter().map(|role| role.as_str()).chain(http).collect();
    let mut judge = |ended: Ended| {
        if let Ok((part, _)) = &ended {
            running.retain(|name| name != part);
        }
        judge(ended)
    };
    tokio::select! {
        Some(ended) = parts.join_next() => {
            outcome = judge(ended);
            stop.cancel();
        }
        () = stop.cancelled() => tracing::info!("stopping"),
    }
    let Stop { deadline_seconds, full_log_seconds } = config.raw.stop;
    let rest = async {
        while let Some(ended) = parts.join_next().await {
            let ended = judge(ended);
            if outcome.is_ok() {
                outcome = ended;
            }
        }
    };
    let why = tokio::select! {
        () = rest => None,
        () = tokio::time::sleep(Duration::from_secs(deadline_seconds)) => Some(String::from("time is up")),
        topics = no_room(log, Duration::from_secs(full_log_seconds)) => Some(format!("no room in {topics}")),
    };
    if let Some(why) = why {
        tracing::warn!(
            why,
            parts = running.join(", "),
            "these parts did not stop in time; nothing acknowledged is at stake"
        );
        parts.abort_all();
        tokio::time::sleep(LAST_WORDS).await;
    }
    outcome
}

/// Resolves once the same topics have had no room for so long, and names them.
async fn no_room(log: &Log, patience: Duration) -> String {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let (mut known, mut since) = (Vec::new(), Instant::now());
    loop {
        look.tick().await;
        let full = log.status().full;
        if full != known || full.is_empty() {
            (known, since) = (full, Instant::now());
        } else if since.elapsed() >= patience {
            return known.join(", ");
        }
    }
}

fn judge(ended: Ended) -> anyhow::Result<()> {
    match ended {
        Ok((part, Err(error))) => {
            tracing::error!(part, error = format!("{error:#}"), "a part ended with an error");
            Err(Failure::Halt(format!("the {part} ended: {error:#}")).into())
        }
        Ok((_, Ok(()))) => Ok(()),
        Err(panic) => Err(Failure::Halt(format!("a part panicked: {panic}")).into()),
    }
}

/// The router is ready once it has replayed what lay on the log when it started.
async fn tell_caught_up(
    router: yiwang_router::Handle,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    while !router.is_caught_up() {
        tokio::select! {
            _ = look.tick() => {}
            () = stop.cancelled() => return,
        }
    }
    readiness.reached("router");
}

fn unavailable(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Failure::Unavailable(text)
}

fn tell_start(config: &Config, roles: &[Role], addresses: Addresses) {
    let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    tracing::info!(
        roles = roles.join(","),
        mqtt = addresses.mqtt.map(|address| address.to_string()),
        grpc = addresses.grpc.map(|address| address.to_string()),
        http = config.raw.http.listen,
        data = %config.raw.data.display(),
        "yiwang is running"
    );
}

/// Opens the store; one that is away is waited for, a wrong setting is not.
async fn open_store(
    config: &Config,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> anyhow::Result<Store> {
    let settings = settings::store(config)?;
    let mut pause = Duration::from_millis(200);
    loop {
        match Store::open(&settings).await {
            Ok(store) => {
                readiness.reached("store");
                return Ok(store);
            }
            Err(error) if error.action() == yiwang_store::Action::Retry => {
                let text = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(error = text, "the store cannot be reached; trying again");
                readiness.wait(
                    "store",
                    format!("it cannot be reached ({text}); start it, or set store.url"),
                );
            }
            Err(error) => return Err(unavailable(error).into()),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
            () = stop.cancelled() => return Err(Failure::Unavailable("stopped before the store was reached".into()).into()),
        }
    }
}

async fn open_log(
    config: &Config,
    store: Option<&Store>,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> anyhow::Result<Log> {
    readiness.wait("log", "it is being opened");
    let stopped = || Failure::Unavailable("stopped before the log was open".into());
    loop {
        let opened = tokio::select! {
            opened = settings::open_log(config, store) => opened,
            () = stop.cancelled() => return Err(stopped().into()),
        };
        match opened {
            Ok(log) => {
                readiness.reached("log");
                return Ok(log);
            }
            Err(error) => match error.downcast_ref() {
                Some(Failure::Away(why)) => {
                    tracing::warn!(why, "the log is away; trying again");
                    readiness.wait("log", why);
                }
                _ => return Err(error),
            },
        }
        tokio::select! {
            () = tokio::time::sleep(LOG_RETRY_AFTER) => {}
            () = stop.cancelled() => return Err(stopped().into()),
        }
    }
}
