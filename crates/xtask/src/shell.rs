//! Running other programs, and where what they need is kept: a cache outside the clone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Runs a program to its end with our own output; fails when it does.
///
/// # Errors
/// If it cannot be started or does not end well.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let words = words(command);
    let status = command.status().with_context(|| format!("failed to start `{words}`"))?;
    if !status.success() {
        bail!("`{words}` failed: {status}");
    }
    Ok(())
}

/// Runs a program to its end and gives its standard output.
///
/// # Errors
/// If it cannot be started, does not end well, or its output is no text.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let words = words(command);
    command.stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("failed to start `{words}`"))?;
    if !output.status.success() {
        bail!("`{words}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{words}` printed no text"))
}

/// Whether a program is there and answers to these arguments.
pub fn answers(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The cargo that runs us.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// The folder for what is downloaded or built once: `$XDG_CACHE_HOME/yiwang`, else `~/.cache/yiwang`.
pub fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into()));
    base.unwrap_or_else(|| home().join(".cache")).join("yiwang")
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Where cargo builds, wherever the environment or a configuration puts it.
///
/// # Errors
/// If cargo cannot say.
pub fn target(root: &Path) -> anyhow::Result<PathBuf> {
    let mut metadata = cargo_metadata::MetadataCommand::new();
    Ok(metadata.current_dir(root).no_deps().exec()?.target_directory.into())
}
