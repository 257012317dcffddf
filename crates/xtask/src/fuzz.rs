//! `cargo xtask fuzz`: the targets of `tests/fuzz` under libFuzzer, built with coverage by the toolchain of the project.
//!
//! No nightly and no cargo-fuzz: the instrumentation is an option of the stable compiler, and libFuzzer is a crate. What
//! a run finds is kept in the cache, so the next one goes on from there; an input that breaks a target is kept in the
//! target folder, and belongs into `tests/fuzz/corpus` once what it broke is mended.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::shell;

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
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs targets.
///
/// # Errors
/// If there is none of the name, it cannot be built, or an input breaks it.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let corpus = root.join("tests/fuzz/corpus");
    let mut targets = targets(&corpus)?;
    if let Some(wanted) = &options.target {
        if !targets.contains(wanted) {
            bail!("no target is called {wanted}; there are: {}", targets.join(", "));
        }
        targets.retain(|target| target == wanted);
    }
    let program = build(root)?;
    for target in &targets {
        println!("== {target}");
        let found = shell::cache().join("fuzz").join(target);
        std::fs::create_dir_all(&found)
            .with_context(|| format!("failed to create {}", found.display()))?;
        let artifacts = program.with_file_name(format!("{target}-"));
        let mut fuzz = Command::new(&program);
        fuzz.env("YIWANG_FUZZ_TARGET", target)
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
            .arg(format!("-artifact_prefix={}", artifacts.display()))
            .args(["-print_final_stats=1", "-verbosity=0"])
            .args([found, corpus.join(target)]);
        shell::run(&mut fuzz).with_context(|| format!("target {target}"))?;
    }
    Ok(())
}

/// The names of the targets: each has a corpus.
fn targets(corpus: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(corpus);
    let entries = entries.with_context(|| format!("failed to read {}", corpus.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Builds the program with coverage, apart from all other builds.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let host = host(root)?;
    let mut metadata = cargo_metadata::MetadataCommand::new();
    let metadata = metadata.current_dir(root).no_deps().exec()?;
    let folder = PathBuf::from(metadata.target_directory).join("fuzz");
    let mut build = shell::cargo(root);
    // With a target, what only builds (macros, build scripts) is not instrumented.
    build.args(["build", "--release", "--locked", "-p", PACKAGE, "--target", &host]);
    build.arg("--target-dir").arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    shell::run(&mut build)?;
    Ok(folder.join(host).join("release").join(PACKAGE))
}

/// The triple that the compiler builds for by itself.
fn host(root: &Path) -> anyhow::Result<String> {
    let mut rustc = Command::new("rustc");
    let printed = shell::output(rustc.arg("-vV").current_dir(root))?;
    let host = printed.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}
