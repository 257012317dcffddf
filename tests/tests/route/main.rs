//! `yiwang route` on the real binary: for lines written in every way that JSON allows, and for broken ones, it counts and
//! writes what a calculator of this test says, which knows the thing model's text and nothing of the program.
//!
//! A failure prints the seed and the line.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod lines;
mod reference;
mod rng;
mod strict;
mod words;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use serde_json::{Map, Value, json};
use yiwang_proto::record::v1::Reading;
use yiwang_tests::hub::{binary, repository};

use lines::Lines;
use reference::{Kind, Table, judge};

/// Seed, lines and devices. The last is larger than the blocks that are read and written at once.
const RUNS: [(u64, usize, usize); 7] =
    [(1, 0, 1), (2, 1, 1), (3, 40, 3), (4, 700, 9), (5, 700, 60), (6, 1500, 200), (7, 5000, 500)];

/// A run of the program.
pub struct Run {
    folder: tempfile::TempDir,
    /// The line on standard error.
    counts: Value,
}

impl Run {
    /// Routes these bytes.
    pub fn of(product: &Path, devices: &str, input: &[u8], out: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("devices.csv"), devices).unwrap();
        fs::write(path("input"), input).unwrap();
        let mut command = Command::new(binary());
        command.arg("route").arg("--product").arg(product);
        command.arg("--devices").arg(path("devices.csv")).args(["--out", out]);
        for kind in Kind::ALL {
            command.arg(format!("--{}", kind.word())).arg(path(kind.word()));
        }
        let ended = command.stdin(File::open(path("input")).unwrap()).output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{told}");
        assert!(ended.stdout.is_empty() && told.lines().count() == 1, "{told}");
        let counts = serde_json::from_str(&told).unwrap();
        Self { folder, counts }
    }

    /// The bytes of an output.
    fn file(&self, kind: Kind) -> Vec<u8> {
        fs::read(self.folder.path().join(kind.word())).unwrap()
    }

    /// The objects of an output.
    pub fn objects(&self, kind: Kind) -> Vec<Map<String, Value>> {
        let file = String::from_utf8(self.file(kind)).unwrap();
        assert!(file.is_empty() || file.ends_with('\n'));
        file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What was counted of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts[kind.word()].as_u64().unwrap()
    }

    /// That these were counted, that `bytes` are those of the files, and that nothing else is told.
    fn has_counted(&self, counts: [usize; 3]) {
        let bytes: usize = Kind::ALL.iter().map(|kind| self.file(*kind).len()).sum();
        let [invalid, alarm, normal] = counts;
        let expected =
            json!({"invalid": invalid, "alarm": alarm, "normal": normal, "bytes": bytes});
        assert_eq!(self.counts, expected);
    }
}

/// The thing model of the task.
pub fn product() -> PathBuf {
    repository().join("benches/route/telemetry.thing.yaml")
}

#[test]
fn lines_become_what_they_mean() {
    for (seed, count, devices) in RUNS {
        let table = Table::made(seed, devices);
        let lines = Lines::made(seed, count, &table);
        let judged: Vec<Judged<'_>> =
            lines.all.iter().map(|line| Judged::of(line, &table)).collect();
        let counts = Kind::ALL.map(|kind| judged.iter().filter(|line| line.kind == kind).count());
        let enough = counts.iter().all(|some| *some > count / 20);
        assert!(enough || count < 500, "the lines say little: {counts:?}");
        let invalid = judged.iter().filter(|line| line.kind == Kind::Invalid);
        let invalid = invalid.map(|line| [line.text, b"\n"].concat()).collect::<Vec<_>>().concat();
        let input = lines.input();
        let run = |out: &str| {
            let run = Run::of(&product(), &table.csv(), &input, out);
            run.has_counted(counts);
            run
        };

        let json = run("json");
        for kind in [Kind::Alarm, Kind::Normal] {
            let of = judged.iter().filter(|line| line.kind == kind);
            for (line, found) in of.zip(json.objects(kind)) {
                let text = String::from_utf8_lossy(line.text);
                assert_eq!(difference(&line.object, &found), None, "seed {seed}, {kind:?}: {text}");
            }
        }
        assert!(json.file(Kind::Invalid) == invalid, "seed {seed}: other lines are invalid");

        let protobuf = run("protobuf");
        assert_eq!(readings(&protobuf.file(Kind::Alarm)), counts[1], "seed {seed}");
        assert_eq!(readings(&protobuf.file(Kind::Normal)), counts[2], "seed {seed}");
        assert!(protobuf.file(Kind::Invalid) == invalid, "seed {seed}: other lines are invalid");

        assert_eq!(run("blackhole").counts["bytes"], 0, "seed {seed}");
    }
}

/// A line and what the calculator says of it.
struct Judged<'l> {
    text: &'l [u8],
    kind: Kind,
    object: Map<String, Value>,
}

impl<'l> Judged<'l> {
    fn of(text: &'l [u8], table: &Table) -> Self {
        let (kind, object) = judge(text, table);
        Self { text, kind, object: object.unwrap_or_default() }
    }
}

/// The first name whose value is another one. Only what a scale has changed may be a neighbour, where the reference
/// rounds twice.
fn difference(expected: &Map<String, Value>, found: &Map<String, Value>) -> Option<String> {
    const SCALED: [&str; 3] = ["temperature_c", "level_m", "battery_v"];
    let names = expected.keys().chain(found.keys());
    let same = |name: &str| match (expected.get(name), found.get(name)) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || SCALED.contains(&name) && [a.next_up(), a.next_down()].contains(&b)
        }
        (a, b) => a.is_some() && a == b,
    };
    let wrong = names.into_iter().find(|name| !same(name))?;
    Some(format!("{wrong}: expected {:?}, found {:?}", expected.get(wrong), found.get(wrong)))
}

/// Messages of a file, each after its length.
fn readings(file: &[u8]) -> usize {
    let (mut rest, mut count) = (file, 0);
    while !rest.is_empty() {
        let reading = Reading::decode_length_delimited(&mut rest).unwrap();
        assert!(reading.device.starts_with("telemetry/"), "{reading:?}");
        count += 1;
    }
    count
}
