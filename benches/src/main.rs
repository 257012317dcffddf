//! `yiwang-bench NAME`: runs one benchmark; the last line that it prints is one JSON object.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
#[cfg(feature = "kafka")]
use yiwang_benches::kafka;
use yiwang_benches::report::Line;
use yiwang_benches::{dispatch, end_to_end, log_append, mqtt, route, scale, subscribe};

/// As the program itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAMES: &str = "log-append, mqtt-durable-qos1, end-to-end, dispatch-sqlite, dispatch-postgres, \
    route-json, route-ceiling, router-workers, route-scale, \
    mqtt-subscribe-route, kafka-route-kafka";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let done = match name.as_str() {
        subscribe::COUNT => subscribe::count(&arguments.collect::<Vec<_>>()),
        #[cfg(feature = "kafka")]
        kafka::COPY => kafka::copy(&arguments.collect::<Vec<_>>()),
        _ => run(&name).map(|line| println!("{}", line.to_json(&name))),
    };
    done.map_or_else(|error| failed(&name, &error), |()| ExitCode::SUCCESS)
}

fn failed(name: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("benchmark {name} failed: {error:#}");
    ExitCode::FAILURE
}

fn run(name: &str) -> anyhow::Result<Line> {
    match name {
        "log-append" => log_append::run(),
        "dispatch-sqlite" => dispatch::run_sqlite(),
        "dispatch-postgres" => dispatch::run_postgres(),
        "route-json" => with_program().and_then(|()| route::run_json()),
        "route-ceiling" => with_program().and_then(|()| route::run_ceiling()),
        "router-workers" => with_program().and_then(|()| scale::run_workers()),
        "route-scale" => with_program().and_then(|()| scale::run_scale()),
        "mqtt-subscribe-route" => with_program().and_then(|()| subscribe::run()),
        #[cfg(feature = "kafka")]
        "kafka-route-kafka" => with_program().and_then(|()| kafka::run()),
        #[cfg(not(feature = "kafka"))]
        "kafka-route-kafka" => bail!("build the program and the benches with the feature kafka"),
        "mqtt-durable-qos1" => with_program().and_then(|()| mqtt::run()),
        "end-to-end" => with_program().and_then(|()| end_to_end::run()),
        _ => bail!("no benchmark is called \"{name}\"; there are: {NAMES}"),
    }
}

/// The program under test is the one built beside this one; the harness is told by `YIWANG_BIN`, so this starts itself
/// again with it set.
fn with_program() -> anyhow::Result<()> {
    if std::env::var_os("YIWANG_BIN").is_some() {
        return Ok(());
    }
    let own = std::env::current_exe().context("failed to find the benchmark's own path")?;
    let program = own.with_file_name("yiwang");
    if !program.exists() {
        bail!("{} is missing: cargo build --release -p yiwang", program.display());
    }
    let failed =
        Command::new(&own).args(std::env::args_os().skip(1)).env("YIWANG_BIN", &program).exec();
    Err(failed).context("failed to start again with YIWANG_BIN set")
}
