//! The real servers that tests and benches talk to, by way of `deploy/dev/services.sh`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::ValueEnum;

use crate::shell;

/// What to do with the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verb {
    /// Install what is missing, start, wait until each answers, print the addresses.
    Up,
    /// Stop by pid; without names the data goes too.
    Down,
    /// Who answers; fails if one does not.
    Status,
    /// The addresses as shell assignments.
    Env,
}

/// Hands over to the script.
///
/// # Errors
/// If it fails.
pub fn run(root: &Path, verb: Verb, names: &[String]) -> anyhow::Result<()> {
    let word = verb.to_possible_value().expect("every verb has a word");
    shell::run(script(root).arg(word.get_name()).args(names))
}

/// Services of our own, in a folder of their own: stopped, and their data removed, when this goes.
pub struct Services {
    script: Command,
    /// The addresses, as environment variables.
    pub addresses: Vec<(String, String)>,
}

impl Services {
    /// Starts services.
    ///
    /// # Errors
    /// If one cannot be installed or does not answer.
    pub fn start(root: &Path, names: &[&str]) -> anyhow::Result<Self> {
        let folder = format!("yiwang-services-{}-{}", std::process::id(), names.len());
        let folder = std::env::temp_dir().join(folder);
        let mut stop = script(root);
        stop.env("YIWANG_SERVICES_DIR", &folder).arg("down");
        let mut guard = script(root);
        guard.env("YIWANG_SERVICES_DIR", &folder).args(["guard", &std::process::id().to_string()]);
        let quiet = guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Out of reach of the Ctrl-C that ends us.
        quiet.process_group(0).spawn().context("failed to start the guard of the services")?;
        // From here on they are stopped, whatever fails.
        let mut services = Self { script: stop, addresses: Vec::new() };
        let mut up = script(root);
        up.env("YIWANG_SERVICES_DIR", &folder).arg("up").args(names);
        services.addresses = parse(&shell::output(&mut up)?);
        Ok(services)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Err(error) = shell::run(&mut self.script) {
            eprintln!("the services were not stopped: {error:#}");
        }
    }
}

fn script(root: &Path) -> Command {
    Command::new(root.join("deploy/dev/services.sh"))
}

/// Lines of `NAME=VALUE`.
pub fn parse(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
