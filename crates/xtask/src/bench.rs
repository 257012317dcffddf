//! `cargo xtask bench NAME`: one benchmark, built as it is shipped, its reference server started beside it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::services::Services;
use crate::{install, shell};

/// The benchmarks and the services that each needs.
const BENCHES: [(&str, &[&str]); 11] = [
    ("mqtt-durable-qos1", &["mosquitto"]),
    ("end-to-end", &[]),
    ("log-append", &[]),
    ("dispatch-sqlite", &[]),
    ("dispatch-postgres", &["postgres"]),
    ("route-json", &[]),
    ("route-ceiling", &[]),
    ("mqtt-subscribe-route", &["mosquitto"]),
    ("kafka-route-kafka", &["kafka", "postgres"]),
    ("router-workers", &[]),
    ("route-scale", &[]),
];

/// Runs a benchmark; its last line, which is the last line printed, is one JSON object.
///
/// # Errors
/// If there is none of the name, it fails, or it ends with anything else.
pub fn run(root: &Path, name: &str, arguments: &[String]) -> anyhow::Result<()> {
    let Some((_, needed)) = BENCHES.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = BENCHES.iter().map(|(known, _)| *known).collect();
        bail!("no benchmark is called {name}; there are: {}", names.join(", "));
    };
    let services = (!needed.is_empty()).then(|| Services::start(root, needed)).transpose()?;
    // With the program under test and the sketch that it stands beside, which a bench runs whole.
    let mut build = shell::cargo(root);
    build.args(["build", "--quiet", "--release", "-p", "yiwang", "-p", "yiwang-benches", "--bins"]);
    if needed.contains(&"kafka") {
        build.args(["--features", "yiwang/kafka,yiwang-benches/kafka"]);
    }
    shell::run(&mut build)?;
    // As built just now: cargo would choose other features for one package alone and build everything again.
    let mut bench = Command::new(shell::target(root)?.join("release/yiwang-bench"));
    bench.current_dir(root).arg(name).args(arguments);
    if let Some(services) = &services {
        bench.envs(services.addresses.iter().map(|(name, value)| (name, value)));
    }
    if *name == *"route-json" {
        // The reference is a script of its own.
        bench.envs(install::companions(root)?);
    }
    let text = shell::output(&mut bench)?;
    drop(services);
    let (before, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    let line: serde_json::Value = serde_json::from_str(last)
        .with_context(|| format!("benchmark {name} does not end with a JSON line: {last}"))?;
    if line["bench"] != name {
        bail!("benchmark {name} reports another one: {last}");
    }
    if !before.is_empty() {
        println!("{before}");
    }
    println!("{last}");
    Ok(())
}
