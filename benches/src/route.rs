//! The routing benchmarks: `yiwang route`, the real path, beside a script and beside the ceiling sketch.
//!
//! Processor time of whole processes, start-up and loading included, A B A B; every run must give the same counts.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use yiwang_tests::hub::{binary, repository};

use crate::report::{Line, children_cpu_seconds, median};
use crate::telemetry;

const LINES: u64 = 1_000_000;
const DEVICES: u64 = 100_000;
const SEED: u64 = 42;
/// Of the published input, by its definition.
const COUNTS: Counts = Counts { invalid: 20_867, alarm: 49_912, normal: 929_221 };
const PAIRS: usize = 5;

/// What became of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    invalid: u64,
    alarm: u64,
    normal: u64,
}

/// One way to do the task.
struct Route {
    name: &'static str,
    command: Box<dyn Fn() -> Command>,
}

/// `route-json`: JSON out, beside Python with orjson; with Node.js where it is there.
///
/// # Errors
/// A program cannot be run, or the counts differ.
pub fn run_json() -> anyhow::Result<Line> {
    let input = Input::make()?;
    let ours = input.ours("json");
    let python = service("YIWANG_TEST_PYTHON").context("needs Python with orjson")?;
    let script = repository().join("benches/route/norm.py");
    let python = Route {
        name: "Python with orjson",
        command: Box::new(move || {
            let mut command = Command::new(&python);
            command.arg(&script).args(["orjson", "json"]);
            command
        }),
    };
    let mut line = input.compare(&ours, &python, |ours, theirs| theirs / ours)?;
    if Command::new("node").arg("--version").output().is_ok() {
        let script = repository().join("benches/route/norm.js");
        let node = Route {
            name: "Node.js",
            command: Box::new(move || {
                let mut command = Command::new("node");
                command.arg(&script).arg("json");
                command
            }),
        };
        let beside = input.compare(&ours, &node, |ours, theirs| theirs / ours)?;
        line.further.push(("node_us", beside.reference.map_or(0.0, |(_, value)| value)));
        line.further.push(("node_ratio", beside.ratio.unwrap_or_default()));
    }
    Ok(line)
}

/// `route-ceiling`: protobuf out, beside the ceiling sketch.
///
/// # Errors
/// A program cannot be run, or the counts differ.
pub fn run_ceiling() -> anyhow::Result<Line> {
    let input = Input::make()?;
    let own = std::env::current_exe().context("failed to find the benchmark's own path")?;
    let sketch = own.with_file_name("ceiling");
    let ceiling =
        Route { name: "ceiling sketch", command: Box::new(move || Command::new(&sketch)) };
    input.compare(&input.ours("protobuf"), &ceiling, |ours, theirs| ours / theirs)
}

/// The input in a folder of its own.
struct Input {
    folder: tempfile::TempDir,
}

impl Input {
    fn make() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("failed to make a folder")?;
        let file = |name: &str| File::create(folder.path().join(name)).map(BufWriter::new);
        let mut table = file("devices.csv")?;
        telemetry::write_table(DEVICES, &mut table)?;
        table.flush()?;
        let mut lines = file("telemetry.ndjson")?;
        telemetry::write_lines(LINES, DEVICES, SEED, &mut lines)?;
        lines.flush()?;
        Ok(Self { folder })
    }

    fn ours(&self, out: &'static str) -> Route {
        let product = repository().join("benches/route/telemetry.thing.yaml");
        Route {
            name: "yiwang route",
            command: Box::new(move || {
                let mut command = Command::new(binary());
                command.arg("route").arg("--product").arg(&product);
                command.args(["--devices", "devices.csv", "--out", out]);
                command
            }),
        }
    }

    /// Medians in µs of processor time per line, and the median of `ratio` over pairs side by side.
    fn compare(
        &self,
        ours: &Route,
        theirs: &Route,
        ratio: fn(f64, f64) -> f64,
    ) -> anyhow::Result<Line> {
        let (mut mine, mut other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let a = self.measure(ours)?;
            let b = self.measure(theirs)?;
            mine.push(a);
            other.push(b);
            ratios.push(ratio(a, b));
        }
        Ok(Line {
            value: median(&mine),
            unit: "µs of CPU per event",
            reference: Some((theirs.name, median(&other))),
            ratio: Some(median(&ratios)),
            further: Vec::new(),
        })
    }

    fn measure(&self, route: &Route) -> anyhow::Result<f64> {
        let path = |name: &str| self.folder.path().join(name);
        let before = children_cpu_seconds();
        let done = (route.command)()
            .current_dir(self.folder.path())
            .stdin(File::open(path("telemetry.ndjson"))?)
            .stdout(Stdio::null())
            .stderr(File::create(path("counts"))?)
            .status()
            .with_context(|| format!("failed to run {}", route.name))?;
        let cpu = children_cpu_seconds() - before;
        let said = std::fs::read_to_string(path("counts"))?;
        ensure!(done.success(), "{} failed: {said}", route.name);
        let counts = counts(&said).with_context(|| format!("{} says {said}", route.name))?;
        if counts != COUNTS {
            bail!("{} counts {counts:?}, expected {COUNTS:?}", route.name);
        }
        Ok(cpu * 1e6 / LINES as f64)
    }
}

/// The first object of a text; the scripts write names in single quotes or without, and figures after it.
fn counts(said: &str) -> Option<Counts> {
    let end = said.find('}')?;
    let object = said.get(said.find('{')?..=end)?;
    let mut bare: String =
        object.chars().filter(|c| !matches!(c, '\'' | '"' | ' ' | '\n')).collect();
    for name in ["invalid", "alarm", "normal", "bytes"] {
        bare = bare.replace(&format!("{name}:"), &format!("\"{name}\":"));
    }
    let object: Value = serde_json::from_str(&bare).ok()?;
    let count = |name: &str| object[name].as_u64();
    Some(Counts { invalid: count("invalid")?, alarm: count("alarm")?, normal: count("normal")? })
}

fn service(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| Path::new(path).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_writer() {
        let expected = Counts { invalid: 1, alarm: 2, normal: 3 };
        for said in [
            r#"{"alarm":2,"bytes":9,"invalid":1,"normal":3}"#,
            "{'invalid': 1, 'alarm': 2, 'normal': 3} 456",
            "{ invalid: 1, alarm: 2, normal: 3 } 456",
        ] {
            assert_eq!(counts(said), Some(expected), "{said}");
        }
        assert_eq!(counts("nothing"), None);
    }
}
