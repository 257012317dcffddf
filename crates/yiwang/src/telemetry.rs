//! The program's own log lines and the metrics recorder. Names of metrics live in the crates that count.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LineFormat, Telemetry};
use crate::exit::Failure;

/// Buckets of every histogram, in seconds: from a local hop to a stalled disk.
const SECONDS_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Starts writing log lines to standard error.
///
/// # Errors
/// [`Failure::Config`] if the filter cannot be read.
pub fn start_lines(config: &Telemetry) -> anyhow::Result<()> {
    let filter = filter(config)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let started = match config.format {
        LineFormat::Text => lines.with_target(false).try_init(),
        LineFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("failed to start log lines: {error}"))
}

/// What is to be written.
///
/// # Errors
/// [`Failure::Config`] if the filter cannot be read.
pub fn filter(config: &Telemetry) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(&config.filter).map_err(|error| {
        Failure::Config(format!("failed to read telemetry.filter = \"{}\": {error}", config.filter))
    })
}

/// Installs the metrics recorder of this process; the handle renders `/metrics`.
///
/// # Errors
/// If a recorder is installed already.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("failed to start metrics")?;
    crate::metrics::describe();
    yiwang_gateway::describe();
    yiwang_router::metrics::describe();
    yiwang_centre::describe();
    Ok(handle)
}
