//! `cargo xtask instructions`: what a message costs on the hot path, counted in instructions, which do not wander as times
//! do; more than the checked-in number by five in a hundred is a failure until the number is changed, with a reason.
//!
//! Valgrind runs the shipped code over made messages twice, once with twice as many; the difference is theirs alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::{install, shell};

const FILE: &str = "benches/instructions.txt";
/// Growth that needs a new number, in percent.
const GROWTH_MAX: u64 = 5;
/// Rounds of messages in the shorter run and in the longer one, and messages of a round.
const ROUNDS: (u64, u64) = (20, 40);
const ROUND_MESSAGES: u64 = 64;

/// Counts for every line of the file and compares, or writes.
///
/// # Errors
/// If something cannot be run, or a number has grown.
pub fn run(root: &Path, write: bool) -> anyhow::Result<()> {
    install::program(root, "valgrind")?;
    let program = build(root)?;
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {FILE}"))?;
    let (mut written, mut grown) = (String::new(), Vec::new());
    for line in text.lines() {
        let Some((payload, known)) = parse(line).with_context(|| format!("{FILE}: {line}"))? else {
            let _ = writeln!(written, "{line}");
            continue;
        };
        let counted = count(&program, payload)?;
        println!("{payload:<12} {counted:>7} instructions a message, {known} known");
        if has_grown(known, counted) {
            grown.push(format!("{payload} from {known} to {counted}"));
        }
        let _ = writeln!(written, "{payload} {counted}");
    }
    if write {
        return std::fs::write(&path, written).with_context(|| format!("failed to write {FILE}"));
    }
    if !grown.is_empty() {
        bail!(
            "instructions grew by more than {GROWTH_MAX} %: {}; find the cause with `cargo xtask flamegraph`, or \
             write the new number into {FILE} with the reason",
            grown.join(", ")
        );
    }
    Ok(())
}

/// The program of the hot path, as it is shipped.
///
/// # Errors
/// If it does not build.
pub fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let mut build = shell::cargo(root);
    build.args(["build", "--locked", "--quiet", "--release", "-p", "yiwang-hotpath"]);
    shell::run(&mut build)?;
    Ok(shell::target(root)?.join("release/yiwang-hotpath"))
}

/// Payload and number of a line; `None` for a note and an empty line.
fn parse(line: &str) -> anyhow::Result<Option<(&str, u64)>> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (payload, number) = line.split_once(' ').context("expected a payload and a number")?;
    Ok(Some((payload, number.trim().parse().context("expected a whole number")?)))
}

fn has_grown(known: u64, counted: u64) -> bool {
    counted * 100 > known * (100 + GROWTH_MAX)
}

/// Instructions a message, from two runs side by side.
fn count(program: &Path, payload: &str) -> anyhow::Result<u64> {
    let start = |rounds| start(program, payload, rounds);
    let (short, long) = (start(ROUNDS.0)?, start(ROUNDS.1)?);
    let (short, long) = (finish(short)?, finish(long)?);
    Ok(long.saturating_sub(short) / ((ROUNDS.1 - ROUNDS.0) * ROUND_MESSAGES))
}

fn start(program: &Path, payload: &str, rounds: u64) -> anyhow::Result<Child> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(program).args([payload, &rounds.to_string(), &ROUNDS.1.to_string()]);
    valgrind.stdout(Stdio::null()).stderr(Stdio::piped());
    valgrind.spawn().context("failed to start valgrind")
}

fn finish(run: Child) -> anyhow::Result<u64> {
    let output = run.wait_with_output().context("failed to wait for valgrind")?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind failed: {}\n{told}", output.status);
    }
    references(&told).with_context(|| format!("valgrind counted nothing:\n{told}"))
}

/// The number in `==123== I refs: 1,234`.
fn references(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.contains("refs:"))?;
    let digits = line.rsplit("refs:").next()?.trim().replace(',', "");
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_numbers_are_read() {
        assert_eq!(parse("json-250 9000").unwrap(), Some(("json-250", 9000)));
        assert_eq!(parse("# why").unwrap(), None);
        assert!(parse("json-250 many").is_err());
        let told = "==7== Cachegrind\n==7== \n==7== I refs:        1,234,567\n";
        assert_eq!(references(told), Some(1_234_567));
        assert!(!has_grown(1000, 1050));
        assert!(has_grown(1000, 1051));
    }
}
