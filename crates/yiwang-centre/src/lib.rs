//! The event centre: turns signals into incidents, takes the commands of people, fires the clocks, serves the streams.
//!
//! Invariants: every effect of a signal is committed together with the read position behind it; a stream shows only
//! what was committed; what a caller may not see does not exist for him. All meaning is `yiwang_core::incident`'s;
//! this crate refuses to decide anything about an incident.

mod answers;
mod auth;
mod caller;
mod end;
mod error;
mod feed;
mod guard;
mod handed;
mod intake;
mod lag;
mod lease;
mod metrics;
mod relay;
mod reload;
mod reports;
mod retry;
mod services;
mod standby;
mod time;
mod timers;
mod token;
mod upkeep;
mod watch;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use yiwang_core::district::District;
use yiwang_core::incident::Terms;
use yiwang_log::Log;
use yiwang_store::Store;

pub use error::Error;
pub use metrics::describe;
pub use writer::{Answers, Writer};

/// What the centre is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this process, unique among the centres of one store.
    pub name: String,
    /// Where gRPC listens.
    pub listen: SocketAddr,
    /// Signals of one transaction.
    pub batch_signals_max: usize,
    /// Changes that one stream may be behind before it is cut.
    pub unsent_changes_max: usize,
    /// The same in bytes.
    pub unsent_bytes_max: usize,
    /// How often an idle stream says that it lives.
    pub heartbeat: Duration,
    /// Streams in all.
    pub streams_max: usize,
    /// How long the lease of a centre that says nothing holds others off.
    pub lease: Duration,
    /// How long changes stay in the outbox for streams to resume.
    pub outbox_age_max: Duration,
    /// Key of the resume tokens.
    pub token_key: [u8; 32],
    /// Shown in heartbeats.
    pub build: String,
}

/// What the centre works with.
#[derive(Clone)]
pub struct Parts {
    /// The log: signals in, incidents out.
    pub log: Log,
    /// The store.
    pub store: Store,
    /// What the centre goes by.
    pub in_force: Arc<ArcSwap<InForce>>,
}

impl Parts {
    /// The district in force.
    pub(crate) fn district(&self) -> Arc<District> {
        Arc::clone(&self.in_force.load().district)
    }
}

/// What comes into force together: policies of the district name rungs of the terms.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The district.
    pub district: Arc<District>,
    /// Rungs and limits.
    pub terms: Arc<Terms>,
}

/// Says when the centre takes calls, and where.
pub type OnReady = Box<dyn FnOnce(SocketAddr) + Send>;

/// Binds the gRPC listener.
///
/// # Errors
/// [`Error::Listen`] naming the address and the remedy.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// Runs the centre until told to stop; further gRPC services are served beside its own. While another centre is active,
/// calls are answered by "not active".
///
/// # Errors
/// [`Error::Fenced`] when a newer centre has taken over, [`Error::Halt`] when durability is in doubt.
pub async fn run(
    config: Config,
    parts: Parts,
    listener: TcpListener,
    further: Routes,
    ready: OnReady,
    stop: CancellationToken,
) -> Result<(), Error> {
    let turn = CancellationToken::new();
    let opening = async {
        let _turn = turn.clone().drop_guard();
        Writer::open(&config, &parts, &stop).await
    };
    let standby = standby::serve(&listener, further.clone(), turn.clone());
    let writer = match tokio::join!(opening, standby) {
        (Err(Error::Stopped), _) => return Ok(()),
        (Err(error), _) => return Err(error),
        (Ok(writer), served) => {
            served?;
            Arc::new(writer)
        }
    };
    // Loops that stop may still write: the lease is kept until the last of them has ended.
    let ended = tokio::select! {
        ended = run_loops(config, parts, Arc::clone(&writer), (listener, further), ready, stop.clone()) => ended,
        lost = writer.keep_lease() => {
            stop.cancel();
            Err(lost)
        }
        over = writer.end.come() => {
            stop.cancel();
            Err(over)
        }
    };
    let ended = ended.map_err(|error| writer.end.known().unwrap_or(error));
    if !matches!(ended, Err(Error::Fenced)) {
        writer.close().await;
    }
    ended
}

async fn run_loops(
    config: Config,
    parts: Parts,
    writer: Arc<Writer>,
    (listener, further): (TcpListener, Routes),
    ready: OnReady,
    stop: CancellationToken,
) -> Result<(), Error> {
    let config = Arc::new(config);
    let feed = feed::Feed::new(&parts.store, &writer);
    let address =
        listener.local_addr().map_err(|source| Error::Listen { address: config.listen, source })?;

    let mut loops = JoinSet::new();
    loops.spawn(intake::run(Arc::clone(&config), parts.clone(), Arc::clone(&writer), stop.clone()));
    loops.spawn(timers::run(
        Arc::clone(&config),
        parts.store.clone(),
        Arc::clone(&writer),
        stop.clone(),
    ));
    loops.spawn(relay::run(parts.clone(), feed.clone(), Arc::clone(&writer), stop.clone()));
    loops.spawn(feed.clone().follow(stop.clone()));
    loops.spawn(upkeep::run(parts.store.clone(), stop.clone()));
    let shared = services::Shared::new(config, parts, writer, feed, stop.clone());
    loops.spawn(services::serve(shared, listener, further, stop.clone()));
    ready(address);

    let mut first = Ok(());
    while let Some(ended) = loops.join_next().await {
        let ended = match ended {
            Ok(Err(Error::Stopped)) => Ok(()),
            Ok(ended) => ended,
            Err(panic) => Err(Error::Halt(format!("a loop of the centre panicked: {panic}"))),
        };
        if first.is_ok() {
            first = ended;
        }
        // One loop without the others is half a centre.
        stop.cancel();
    }
    first
}
