//! `/healthz` (the process lives), `/readyz` (it takes work; else why not), `/metrics` (Prometheus text).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use yiwang_core::ledger::Counters;

use crate::exit::Failure;
use crate::ledger::Sources;
use crate::metrics;
use crate::readiness::Readiness;

/// How long the metrics wait for the counters of the ledger.
const LEDGER_WAIT_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Shared {
    metrics: PrometheusHandle,
    readiness: Arc<Readiness>,
    sources: Sources,
    /// The ledger as it was shown last.
    shown: Arc<Mutex<Counters>>,
}

/// Binds the listener.
///
/// # Errors
/// [`Failure::Unavailable`] naming the address and the remedy.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Unavailable(format!(
            "failed to listen on {address} for HTTP: {error}; stop what holds the port, or set http.listen"
        ))
    })
}

/// Serves until told to stop.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    readiness: Arc<Readiness>,
    sources: Sources,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Shared { metrics, readiness, sources, shown: Arc::default() });
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

async fn ready(State(shared): State<Shared>) -> Response {
    let missing = shared.readiness.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let mut text = String::new();
    for reason in missing {
        text.push_str("not ready: ");
        text.push_str(&reason);
        text.push('\n');
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn render(State(shared): State<Shared>) -> Response {
    // A store or broker that is away must not take the other metrics with it.
    match tokio::time::timeout(LEDGER_WAIT_MAX, shared.sources.counters()).await {
        Ok(Ok(counters)) => {
            let mut shown = shared.shown.lock().unwrap_or_else(PoisonError::into_inner);
            metrics::record_ledger(&counters, &mut shown);
        }
        Ok(Err(error)) => tracing::debug!(%error, "the ledger cannot be counted now"),
        Err(_) => tracing::debug!("the ledger cannot be counted in time"),
    }
    shared.metrics.run_upkeep();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, shared.metrics.render()).into_response()
}
