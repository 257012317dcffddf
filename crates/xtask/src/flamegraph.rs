//! `cargo xtask flamegraph PAYLOAD`: a picture of where the time of the hot path goes, by perf and inferno.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::{install, instructions, shell};

/// Rounds of messages: a second or so.
const ROUNDS: &str = "8000";
/// All that is drawn goes through here; making the messages does not, and what calls it is inlined.
const HOT: &str = "route_batch";

/// Records a run and draws it.
///
/// # Errors
/// If a program is missing or fails.
pub fn run(root: &Path, payload: &str, out: &Path) -> anyhow::Result<()> {
    let inferno = install::flamegraph(root)?;
    let program = instructions::build(root)?;
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let recorded = folder.path().join("perf.data");
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "-e", "cpu-clock", "-F", "1999"]);
    record.args(["--call-graph", "dwarf,4096", "-o"]).arg(&recorded);
    shell::run(record.arg(&program).args([payload, ROUNDS, ROUNDS]).stdout(Stdio::null()))?;
    let mut script = Command::new("perf");
    script.args(["script", "--no-inline", "-i"]).arg(&recorded);
    let script = script.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut script = script.context("failed to start perf")?;
    let told = script.stdout.take().context("perf has no output")?;
    let folded = shell::output(Command::new(inferno.join("inferno-collapse-perf")).stdin(told))?;
    script.wait().context("failed to wait for perf")?;
    let hot: Vec<&str> = folded.lines().filter(|line| line.contains(HOT)).collect();
    let stacks = folder.path().join("stacks");
    std::fs::write(&stacks, hot.join("\n")).context("failed to write the stacks")?;
    let mut draw = Command::new(inferno.join("inferno-flamegraph"));
    draw.args(["--title", &format!("hot path, {payload}")]).arg(&stacks);
    let picture = File::create(out).with_context(|| format!("failed to make {}", out.display()))?;
    shell::run(draw.stdout(picture))?;
    println!("{}: {} stacks", out.display(), hot.len());
    Ok(())
}
