//! `cargo xtask fuzz`: the targets of `tests/fuzz` under libFuzzer, built with coverage by the toolchain of the project.
//!
//! No nightly and no cargo-fuzz: the instrumentation is an option of the stable compiler, and libFuzzer is a crate. What
//! a run finds is kept in the cache, so the next one goes on from there, and by `--keep` with the sources; an input that
//! breaks a target is kept in the target folder, and belongs into `tests/fuzz/corpus` once what it broke is mended.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{install, shell};

/// The package, and its program.
const PACKAGE: &str = "yiwang-fuzz";
/// Most bytes of an input.
const INPUT_BYTES_MAX: u32 = 4096;
/// Most memory of a run.
const MEMORY_MB_MAX: u32 = 1024;
/// What libFuzzer needs the compiler to do.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

/// What to run, and for how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which target; all of them, one after the other, without a name.
    target: Option<String>,
    /// For so long each.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Instead, write the fewest of all inputs that reach what all of them reach into tests/fuzz/found.
    #[arg(long, conflicts_with = "seconds")]
    keep: bool,
}

/// Runs targets.
///
/// # Errors
/// If there is none of the name, it cannot be built, or an input breaks it.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let mut targets = targets(root)?;
    if let Some(wanted) = &options.target {
        if !targets.contains(wanted) {
            bail!("no target is called {wanted}; there are: {}", targets.join(", "));
        }
        targets.retain(|target| target == wanted);
    }
    let fuzzer = Fuzzer::build(root)?;
    for target in &targets {
        println!("== {target}");
        let done =
            if options.keep { fuzzer.keep(target) } else { fuzzer.search(target, options.seconds) };
        done.with_context(|| format!("target {target}"))?;
    }
    Ok(())
}

/// Runs all targets for a minute together, as part of every test run.
///
/// # Errors
/// If one cannot be built, or an input breaks it.
pub fn minute(root: &Path) -> anyhow::Result<()> {
    let seconds = 60_u64.div_ceil(targets(root)?.len() as u64);
    run(root, &Options { target: None, seconds, keep: false })
}

/// The program that was built, and the folders it works with.
struct Fuzzer {
    program: PathBuf,
    /// The inputs that are kept with the sources.
    sources: PathBuf,
}

impl Fuzzer {
    /// Builds the program with coverage, apart from all other builds.
    fn build(root: &Path) -> anyhow::Result<Self> {
        install::compiler(root)?;
        let host = host(root)?;
        let folder = shell::target(root)?.join("fuzz");
        let mut build = shell::cargo(root);
        // With a target, what only builds (macros, build scripts) is not instrumented.
        build.args(["build", "--release", "--locked", "-p", PACKAGE, "--target", &host]);
        build.arg("--target-dir").arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
        shell::run(&mut build)?;
        let program = folder.join(host).join("release").join(PACKAGE);
        Ok(Self { program, sources: root.join("tests/fuzz") })
    }

    /// Looks for inputs that reach what none has reached, from all that are known on.
    fn search(&self, target: &str, seconds: u64) -> anyhow::Result<()> {
        let unpacked = tempfile::tempdir()?;
        unpack(&self.found(target), unpacked.path())?;
        let artifacts = self.program.with_file_name(format!("{target}-"));
        let mut fuzz = self.command(target);
        fuzz.arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}", artifacts.display()))
            .args(["-print_final_stats=1", "-verbosity=0"])
            .args([&cached(target)?, unpacked.path(), &self.samples(target)]);
        shell::run(&mut fuzz)
    }

    /// Writes those of all known inputs that reach more than the samples do.
    fn keep(&self, target: &str) -> anyhow::Result<()> {
        const SAMPLE: &str = "sample-";
        let found = self.found(target);
        let (unpacked, merged) = (tempfile::tempdir()?, tempfile::tempdir()?);
        unpack(&found, unpacked.path())?;
        for (number, sample) in files(&self.samples(target))?.iter().enumerate() {
            std::fs::copy(sample, merged.path().join(format!("{SAMPLE}{number}")))?;
        }
        let mut merge = self.command(target);
        merge.arg("-merge=1").args([merged.path(), unpacked.path(), &cached(target)?]);
        shell::run(&mut merge)?;
        let mut inputs = Vec::new();
        for file in files(merged.path())? {
            if !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SAMPLE)) {
                inputs.push(std::fs::read(file)?);
            }
        }
        // Short ones first, in an order that does not depend on the run.
        inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        let text: String = inputs.iter().map(|input| STANDARD.encode(input) + "\n").collect();
        std::fs::write(&found, text)
            .with_context(|| format!("failed to write {}", found.display()))?;
        println!("{}: {} inputs", found.display(), inputs.len());
        Ok(())
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("YIWANG_FUZZ_TARGET", target)
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"));
        command
    }

    fn samples(&self, target: &str) -> PathBuf {
        self.sources.join("corpus").join(target)
    }

    fn found(&self, target: &str) -> PathBuf {
        self.sources.join("found").join(format!("{target}.base64"))
    }
}

/// Where the inputs are that runs on this machine found.
fn cached(target: &str) -> anyhow::Result<PathBuf> {
    let folder = shell::cache().join("fuzz").join(target);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    Ok(folder)
}

/// Writes the inputs that a file keeps, one a line, into files of their own; a new target has none yet.
fn unpack(found: &Path, folder: &Path) -> anyhow::Result<()> {
    if !found.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(found)
        .with_context(|| format!("failed to read {}", found.display()))?;
    for (number, line) in (1..).zip(text.lines()) {
        let input = STANDARD.decode(line);
        let input = input.with_context(|| format!("{}:{number}", found.display()))?;
        std::fs::write(folder.join(format!("{number}")), input)?;
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.with_context(|| format!("failed to read {}", folder.display()))?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

/// The names of the targets: each has samples.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let folders = files(&root.join("tests/fuzz/corpus"))?;
    let name =
        |folder: &PathBuf| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(folders.iter().filter_map(name).collect())
}

/// The triple that the compiler builds for by itself.
fn host(root: &Path) -> anyhow::Result<String> {
    let mut rustc = Command::new("rustc");
    let printed = shell::output(rustc.arg("-vV").current_dir(root))?;
    let host = printed.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}
