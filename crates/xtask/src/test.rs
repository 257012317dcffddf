//! `cargo xtask test`: everything that must hold, in one command, the cheapest first.
//!
//! It installs and starts what the tests need, stops what it started, and fails if any step fails.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::services::Services;
use crate::{fuzz, install, instructions, shell, tidy};

/// How much to test.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Without services and the features that need them.
    #[arg(long)]
    pub quick: bool,
    /// With cargo-deny even if it must be built first.
    #[arg(long, conflicts_with = "quick")]
    pub full: bool,
}

/// Runs all steps.
///
/// # Errors
/// If a step fails: the first one ends it, tests excepted, which all run.
pub fn run(root: &Path, options: Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    step("format", || {
        install::components(root)?;
        shell::run(shell::cargo(root).args(["fmt", "--all", "--check"]))
    })?;
    step("tidy", || tidy::run(root))?;
    step("deploy", || deploy(root))?;
    if !options.quick {
        step("buf lint", || {
            shell::run(Command::new(install::buf(root)?).arg("lint").arg(root.join("proto")))
        })?;
        step("build packages", || install::build_packages(root))?;
    }
    let features: &[&str] = if options.quick { &[] } else { &["--all-features"] };
    step("clippy", || {
        let mut clippy = shell::cargo(root);
        clippy.args(["clippy", "--locked", "--workspace", "--all-targets"]).args(features);
        shell::run(clippy.args(["--", "-D", "warnings"]))
    })?;
    step("dependencies", || deny(root, options))?;
    let mut surroundings = Vec::new();
    let mut services = None;
    if !options.quick {
        surroundings = step("clients", || {
            install::program(root, "strace")?;
            install::companions(root)
        })?;
        let started =
            step("services", || Services::start(root, &["kafka", "postgres", "mosquitto"]))?;
        surroundings.extend(started.addresses.iter().cloned());
        services = Some(started);
    }
    step("build", || build(root, features))?;
    step("documents", || documents(root))?;
    if !options.quick {
        step("instructions", || instructions::run(root, false))?;
        step("fuzz", || fuzz::minute(root))?;
    }
    let summary = step("tests", || tests(root, features, &surroundings))?;
    drop(services);
    println!("\n{}", summary.lines.join("\n"));
    println!(
        "{} passed; {} failed; {} s in all",
        summary.passed,
        summary.failed,
        begun.elapsed().as_secs()
    );
    if summary.failed > 0 || !summary.ended_well {
        bail!("tests failed");
    }
    Ok(())
}

/// Licences, sources and bans of the dependencies.
///
/// # Errors
/// If one is refused.
pub fn deny_all(root: &Path) -> anyhow::Result<()> {
    let program = install::build_cargo_deny(root)?;
    check_dependencies(root, &program)
}

fn deny(root: &Path, options: Options) -> anyhow::Result<()> {
    if options.full {
        return deny_all(root);
    }
    match install::cargo_deny() {
        Some(program) => check_dependencies(root, &program),
        None => {
            println!(
                "not checked: cargo-deny is not installed; `cargo xtask deny` builds it and checks"
            );
            Ok(())
        }
    }
}

fn check_dependencies(root: &Path, program: &Path) -> anyhow::Result<()> {
    let mut deny = Command::new(program);
    deny.current_dir(root).args([
        "--all-features",
        "--locked",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    shell::run(&mut deny)
}

/// The files for people with Docker, and the scripts: their syntax.
fn deploy(root: &Path) -> anyhow::Result<()> {
    for script in ["deploy/dev/services.sh", "deploy/dev/install.sh", ".ci/run"] {
        shell::run(Command::new("bash").arg("-n").arg(root.join(script)))?;
    }
    let compose = root.join("deploy/compose.yaml");
    if shell::answers("docker", &["compose", "version"]) {
        let mut docker = Command::new("docker");
        shell::run(docker.args(["compose", "-f"]).arg(&compose).args(["config", "--quiet"]))?;
    }
    tidy::deploy::check(root)
}

struct Summary {
    lines: Vec<String>,
    passed: u64,
    failed: u64,
    ended_well: bool,
}

/// Builds the program under test, once for all tests that run it.
fn build(root: &Path, features: &[&str]) -> anyhow::Result<()> {
    let mut build = shell::cargo(root);
    shell::run(build.args(["build", "--locked", "--workspace", "--bins"]).args(features))
}

/// Every command of the program that a document shows is one that it has.
fn documents(root: &Path) -> anyhow::Result<()> {
    let program = program(root)?;
    for (name, place) in tidy::documents::program_commands(&tidy::documents(root)?) {
        if !shell::answers(&program, &[&name, "--help"]) {
            bail!("{place}: `yiwang {name}` does not exist");
        }
    }
    Ok(())
}

/// Runs all tests and keeps cargo's own summary lines.
fn tests(
    root: &Path,
    features: &[&str],
    surroundings: &[(String, String)],
) -> anyhow::Result<Summary> {
    let mut test = shell::cargo(root);
    test.args(["test", "--locked", "--workspace", "--no-fail-fast"]).args(features);
    test.env("YIWANG_BIN", program(root)?);
    test.envs(surroundings.iter().map(|(name, value)| (name, value)));
    let mut running = test.stdout(Stdio::piped()).spawn().context("failed to start cargo test")?;
    let mut summary = Summary { lines: Vec::new(), passed: 0, failed: 0, ended_well: false };
    let printed = running.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(printed).lines() {
        let line = line?;
        println!("{line}");
        if line.starts_with("test result:") {
            summary.passed += count(&line, " passed");
            summary.failed += count(&line, " failed");
            if !line.contains(" 0 passed; 0 failed;") {
                summary.lines.push(line);
            }
        }
    }
    summary.ended_well = running.wait()?.success();
    Ok(summary)
}

fn count(line: &str, word: &str) -> u64 {
    let before = line.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The program as built for the tests.
fn program(root: &Path) -> anyhow::Result<PathBuf> {
    Ok(shell::target(root)?.join("debug/yiwang"))
}

fn step<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    println!("== {name}");
    let begun = Instant::now();
    let done = work().with_context(|| format!("step `{name}`"));
    println!("== {name}: {} s", begun.elapsed().as_secs());
    done
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn counts_of_a_summary_line() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!((count(line, " passed"), count(line, " failed")), (12, 3));
    }
}
