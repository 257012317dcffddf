//! From the configuration file to what each crate is told. No value is made up here that is not a named default.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use yiwang_gateway::{Directory, Pepper};
use yiwang_log::{
    EmbeddedConfig, Floor, Kind, Log, Reserve, Retention, TopicSpec, standard_topics,
};
use yiwang_store::Store;

use crate::bundle::{self, Bundle};
use crate::config::{Config, LogKind, secret};
use crate::exit::Failure;
use crate::keys::Keys;
use crate::telemetry;

/// The lease of a centre that says nothing holds others off for so long.
const LEASE: Duration = Duration::from_secs(10);
/// Changes stay in the outbox for streams to resume.
const OUTBOX_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The program's version and, where it was built from a checkout, its commit.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " ", env!("YIWANG_COMMIT"));

/// The topics as the log is asked to open them, those of the routes among them.
///
/// # Errors
/// [`Failure::Config`] if the routes cannot be read.
pub fn topics(config: &Config) -> anyhow::Result<Vec<TopicSpec>> {
    let log = &config.raw.log;
    let retention = Retention {
        bytes_max: log.retention_bytes_max,
        age_max: Duration::from_secs(log.retention_age_hours_max * 3_600),
    };
    let mut topics = standard_topics(log.partitions);
    // Nobody's position bounds what is kept there: a reader that is away for too long hurts itself alone.
    let forwarded = bundle::forward_topics(config)?;
    topics.extend(forwarded.iter().map(|it| TopicSpec::stream(&it.name, log.partitions, &[])));
    for topic in topics.iter_mut().filter(|topic| topic.kind == Kind::Stream) {
        topic.retention = retention;
    }
    Ok(topics)
}

/// The same and the intake topics, which keep their own names.
#[cfg(feature = "kafka")]
fn kafka_topics(config: &Config) -> anyhow::Result<Vec<TopicSpec>> {
    let mut topics = topics(config)?;
    let intake = config.raw.intake.kafka.iter().flat_map(|kafka| &kafka.topics);
    topics.extend(intake.map(|name| TopicSpec::stream(name, config.raw.log.partitions, &[])));
    Ok(topics)
}

#[cfg(feature = "kafka")]
fn kafka(config: &Config) -> yiwang_log::KafkaConfig {
    let raw = &config.raw.log.kafka;
    yiwang_log::KafkaConfig {
        client_id: format!("yiwang-{}", std::process::id()),
        prefix: raw.topic_prefix.clone(),
        replication: raw.replication,
        min_insync: raw.min_insync_replicas,
        queue_bytes_max: usize::try_from(raw.buffer_bytes_max).unwrap_or(usize::MAX),
        // Who opens the log waits, and says so; one attempt after the other is enough here.
        connect_wait_max: Some(Duration::ZERO),
        ..yiwang_log::KafkaConfig::new(&raw.brokers)
    }
}

/// Folder of the embedded log.
pub fn log_folder(config: &Config) -> PathBuf {
    config.raw.data.join("log")
}

/// Opens the log. The store's read positions are floors below which the log may not have lost anything.
///
/// # Errors
/// [`Failure::Away`] for brokers that cannot be reached, else [`Failure::Unavailable`] with the log's own words.
pub async fn open_log(config: &Config, store: Option<&Store>) -> anyhow::Result<Log> {
    let unavailable = |error: yiwang_log::Error| match error.action() {
        yiwang_log::Action::Retry => Failure::Away(format!(
            "it cannot be reached ({error}); start Kafka, or set log.kafka.brokers"
        )),
        _ => Failure::Unavailable(error.to_string()),
    };
    match config.raw.log.kind {
        LogKind::Embedded => {
            let mut embedded = embedded(config)?;
            if let Some(store) = store {
                let positions = store
                    .positions("signals")
                    .await
                    .context("failed to read the centre's position")?;
                embedded.floors = positions
                    .into_iter()
                    .map(|at| Floor {
                        topic: "signals".to_owned(),
                        partition: at.partition,
                        seq: at.seq,
                        known_from: "the store".to_owned(),
                    })
                    .collect();
            }
            Ok(Log::open_embedded(embedded, topics(config)?).map_err(unavailable)?)
        }
        #[cfg(feature = "kafka")]
        LogKind::Kafka => {
            let log =
                Log::open_kafka(kafka(config), kafka_topics(config)?).await.map_err(unavailable)?;
            for finding in log.check().await.map_err(unavailable)? {
                tracing::warn!(finding, "a setting of Kafka is weaker than the promise needs");
            }
            Ok(log)
        }
        #[cfg(not(feature = "kafka"))]
        LogKind::Kafka => {
            Err(Failure::Config("log.kind = \"kafka\" needs a build with --features kafka".into())
                .into())
        }
    }
}

/// The embedded log's settings; its folder is made.
///
/// # Errors
/// [`Failure::Unavailable`] if the folder cannot be made.
pub fn embedded(config: &Config) -> anyhow::Result<EmbeddedConfig> {
    let folder = log_folder(config);
    std::fs::create_dir_all(&folder).map_err(|error| {
        Failure::Unavailable(format!(
            "failed to make {}: {error}; set data or its permissions",
            folder.display()
        ))
    })?;
    let log = &config.raw.log;
    let reserve =
        Reserve { percent: log.disk_reserve_percent, bytes_min: log.disk_reserve_bytes_min };
    Ok(EmbeddedConfig { reserve, ..EmbeddedConfig::new(folder) })
}

/// File of the store, where it is one.
pub fn store_file(config: &Config) -> Option<PathBuf> {
    config.raw.store.url.is_empty().then(|| config.raw.data.join("store").join("yiwang.db"))
}

/// The store's settings.
///
/// # Errors
/// [`Failure::Config`] for a secret that cannot be read.
pub fn store(config: &Config) -> anyhow::Result<yiwang_store::Config> {
    let limits = yiwang_store::Limits {
        connections_max: config.raw.store.connections_max,
        ..yiwang_store::Limits::default()
    };
    if let Some(path) = store_file(config) {
        let folder = path.parent().unwrap_or(&config.raw.data);
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::Unavailable(format!(
                "failed to make {}: {error}; set data or its permissions",
                folder.display()
            ))
        })?;
        return Ok(yiwang_store::Config::Sqlite { path, limits });
    }
    Ok(yiwang_store::Config::Postgres { url: store_url(config)?, limits })
}

/// The URL of the database, which is understood.
fn store_url(config: &Config) -> anyhow::Result<String> {
    let url = &config.raw.store.url;
    // A URL with a password in it is itself a secret: it may be given by reference.
    let reference = url.starts_with("file:") || url.starts_with("env:");
    let url = if reference { secret(url, config.raw.profile)? } else { url.clone() };
    yiwang_store::check_url(&url)
        .map_err(|error| Failure::Config(format!("failed to read store.url: {error}")))?;
    Ok(url)
}

/// What `yiwang run` would refuse in the configuration before it opens anything.
pub fn check(config: &Config) -> Vec<String> {
    let filter = telemetry::filter(&config.raw.telemetry).map(|_| ()).map_err(Into::into);
    let gateway = gateway(config).map(|_| ());
    let store = match store_file(config) {
        Some(_) => Ok(()),
        None => store_url(config).map(|_| ()),
    };
    let wrong = [filter, gateway, store].into_iter().filter_map(Result::err);
    wrong.map(|error| format!("{error:#}")).collect()
}

/// The centre's settings.
pub fn centre(config: &Config, keys: &Keys) -> yiwang_centre::Config {
    let raw = &config.raw.centre;
    yiwang_centre::Config {
        name: centre_name(config),
        listen: raw.listen,
        batch_signals_max: raw.batch_signals_max,
        unsent_changes_max: raw.unsent_changes_max,
        unsent_bytes_max: raw.unsent_bytes_max,
        heartbeat: Duration::from_secs(raw.heartbeat_seconds),
        streams_max: raw.streams_max,
        lease: LEASE,
        outbox_age_max: OUTBOX_AGE_MAX,
        token_key: keys.token,
        build: BUILD.to_owned(),
    }
}

/// The router's settings.
pub fn router(config: &Config) -> yiwang_router::Config {
    let raw = &config.raw.router;
    let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    yiwang_router::Config {
        workers: if raw.workers == 0 { processors() } else { raw.workers },
        batch: yiwang_log::BatchLimit {
            records_max: raw.batch_records_max,
            bytes_max: raw.batch_bytes_max,
        },
        in_flight_max: raw.inflight_batches_max,
        snapshot_every: Duration::from_secs(raw.snapshot_seconds),
        snapshot_records_max: raw.snapshot_records,
        snapshot_records_per_device: raw.snapshot_records_per_device,
        attempts_max: raw.attempts_max,
        cloud_events: config.raw.log.kind == LogKind::Kafka,
    }
}

/// The gateway's settings, checked by the gateway itself.
///
/// # Errors
/// [`Failure::Config`] in the gateway's words.
pub fn gateway(config: &Config) -> anyhow::Result<yiwang_gateway::Config> {
    let mut raw = config.raw.intake.clone();
    for source in &mut raw.subscribe {
        source.password =
            source.password.as_deref().map(|it| secret(it, config.raw.profile)).transpose()?;
    }
    let checked = yiwang_gateway::Config::try_from(raw);
    checked.map_err(|error| Failure::Config(error.to_string()).into())
}

/// The devices that a gateway admits, with sealed secrets.
///
/// # Errors
/// If the pepper is unusable.
pub fn directory(bundle: &Bundle, keys: &Keys) -> anyhow::Result<Directory> {
    let pepper = Pepper::new(&keys.pepper).context("DATA/keys/pepper is unusable")?;
    Ok(Directory::of(Arc::clone(&bundle.registry), Arc::clone(&bundle.tenants), pepper))
}

/// Who holds the lease of the store. A data folder has one process at a time, so after a crash the next one is the same
/// holder and need not wait; centres over one PostgreSQL must tell each other apart.
fn centre_name(config: &Config) -> String {
    if config.raw.store.url.is_empty() && config.raw.log.kind == LogKind::Embedded {
        return "embedded".to_owned();
    }
    format!("{}-{}", hostname(), std::process::id())
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "centre".to_owned(), |it| it.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_run_would_refuse_is_known_before() {
        let check = |set: &[&str]| {
            let args = crate::cli::ConfigArgs {
                config: concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/yiwang.toml").into(),
                data: None,
                set: set.iter().map(|&it| it.to_owned()).collect(),
            };
            check(&Config::load(&args).unwrap())
        };
        assert_eq!(check(&[]), Vec::<String>::new());
        assert_eq!(check(&["store.url=postgres://u:p@h/d"]), Vec::<String>::new());
        for (set, word) in [
            ("telemetry.filter=a=b=c", "telemetry.filter"),
            ("intake.listen.packet_bytes_max=0", "packet_bytes_max"),
            ("intake.listen.receive_maximum=0", "receive_maximum"),
            ("store.url=mysql://h/d", "store.url"),
            ("store.url=postgres://h:port/d", "store.url"),
            ("store.url=file:/nowhere", "/nowhere"),
            ("store.url=env:YIWANG_TEST_NOWHERE", "YIWANG_TEST_NOWHERE"),
        ] {
            let found = check(&[set]);
            assert!(found.len() == 1 && found[0].contains(word), "{set}: {found:?}");
            assert!(!found[0].contains("u:p"), "{found:?}");
        }
    }

    #[test]
    fn no_route_may_write_a_topic_of_the_hub() {
        let own: BTreeSet<_> = standard_topics(1).into_iter().map(|topic| topic.name).collect();
        assert_eq!(own, yiwang_core::routes::OWN_TOPICS.map(str::to_owned).into());
        let raw = standard_topics(1).into_iter().find(|topic| topic.name == "raw");
        assert_eq!(raw.map(|topic| topic.readers), Some(vec![yiwang_router::GROUP.to_owned()]));
    }
}
