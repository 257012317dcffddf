//! One function a command: parses nothing, decides nothing, calls the module that does the work.

mod demo;
mod inspect;
mod route;
mod rule;
mod tokens;
mod trace;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use yiwang_proto::admin::v1::ClearAlarmRequest;

use crate::cli::{
    AlarmCommand, Cli, Command, ConfigArgs, FleetArgs, LogCommand, Role, RuleCommand, TokenCommand,
};
use crate::config::Config;
use crate::exit::Failure;
use crate::fleet::{self, Counters};
use crate::{bundle, keys, node, output, telemetry};

/// Worker threads beside the log's own.
const THREADS: usize = 4;

/// Runs the command to its end.
///
/// # Errors
/// See the exit codes of `yiwang --help`.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(THREADS, usize::from).max(2))
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let done = runtime.block_on(dispatch(cli.command));
    // What still runs is bounded by the deadlines of its own part.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    done
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config, roles } => hub(&config, roles).await.map(|()| ExitCode::SUCCESS),
        Command::Demo { config, demo } => {
            demo::run(&config, demo).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Simulate { config, fleet, target, seconds } => {
            simulate(&config, fleet, target, seconds).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Watch { config, unit, target, token_file, json } => {
            watch::run(&config, &unit, target, token_file, json).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Route(args) => route::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Check { config, json } => inspect::check(&config, json),
        Command::Config { config } => {
            output::show(Config::load(&config)?.to_toml()?).map(|()| ExitCode::SUCCESS)
        }
        Command::Ledger { config, json, target } => inspect::ledger(&config, json, target).await,
        Command::Reload { config, target } => inspect::reload(&config, target).await,
        Command::Alarm {
            command: AlarmCommand::Clear { config, device, rule, reason, target },
        } => {
            let asked = ClearAlarmRequest { device, rule, reason };
            inspect::clear_alarm(&config, asked, target).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Token { command: TokenCommand::New { config, unit } } => {
            tokens::new(&config, &unit).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Rule { command: RuleCommand::Test { config, files } } => {
            rule::test(&config, &files)
        }
        Command::Trace { config, id, json } => trace::run(&config, &id, json).await,
        Command::Log { command: LogCommand::Read { config, topic, json: _ } } => {
            inspect::read_log(&config, &topic).await.map(|()| ExitCode::SUCCESS)
        }
    }
}

async fn hub(args: &ConfigArgs, roles: Vec<Role>) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    telemetry::start_lines(&config.raw.telemetry)?;
    // Before the bundle is read: from then on a SIGHUP means that it has changed.
    let hangups = signal(SignalKind::hangup()).context("failed to listen for signals")?;
    let keys = keys::load(&config)?;
    let bundle = bundle::load(&config, &keys)?;
    let roles =
        if roles.is_empty() { vec![Role::Gateway, Role::Router, Role::Centre] } else { roles };
    let plan = node::Plan { config, bundle, keys, roles, hangups: Some(hangups), started: None };
    node::run(plan, stop_on_signal()?).await
}

async fn simulate(
    args: &ConfigArgs,
    fleet_args: FleetArgs,
    target: std::net::SocketAddr,
    seconds: Option<u64>,
) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    telemetry::start_lines(&config.raw.telemetry)?;
    let scripts = Arc::new(fleet::load_scripts(&config.path("simulate.toml".as_ref()))?);
    let members = fleet::members(&config, fleet_args.devices)?;
    let counters = Arc::<Counters>::default();
    let stop = stop_on_signal()?;
    if let Some(seconds) = seconds {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
            stop.cancel();
        });
    }
    fleet::run(members, scripts, fleet_args, target, Arc::clone(&counters), stop).await?;
    output::show(format_args!("{}\n", counters.line()))?;
    if counters.connected.load(Ordering::Relaxed) == 0 {
        return Err(Failure::Unavailable(format!(
            "no device could connect to {target}: start the hub or give --target; --set telemetry.filter=debug \
             says what it answered"
        ))
        .into());
    }
    Ok(())
}

/// Cancelled by Ctrl-C or SIGTERM; a second one ends the process at once, as people expect.
pub fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for signals")?;
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(130);
            }
            told.cancel();
        }
    });
    Ok(stop)
}
