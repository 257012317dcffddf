//! `cargo xtask`: the project's own tools. Parses the command line and hands over; each tool has a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod devices;
mod district;
mod flamegraph;
mod fuzz;
mod install;
mod instructions;
mod proto;
mod services;
mod shell;
mod test;
mod tidy;

/// The project's own tools.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install and start what the tests need, and run every check and test.
    Test(test::Options),
    /// Check the rules of the tree that no other tool knows.
    Tidy,
    /// Check licences, sources and bans of the dependencies; builds cargo-deny once.
    Deny,
    /// Kafka, PostgreSQL and Mosquitto for development.
    Services {
        /// What to do.
        verb: services::Verb,
        /// Which: kafka, postgres, mosquitto; all without a name.
        names: Vec<String>,
    },
    /// Run one benchmark; ends with one JSON line.
    Bench {
        /// Its name.
        name: String,
        /// Handed on to it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Count the instructions that a message costs on the hot path, and compare with benches/instructions.txt.
    Instructions {
        /// Write what was counted into the file.
        #[arg(long)]
        write: bool,
    },
    /// Draw where the time of the hot path goes; needs perf, builds inferno once.
    Flamegraph {
        /// Kind of message, as in benches/instructions.txt.
        payload: String,
        /// Where to write the picture.
        #[arg(long, default_value = "flamegraph.svg")]
        out: PathBuf,
    },
    /// Feed readers with made inputs, guided by coverage; what was found is kept for the next time.
    Fuzz(fuzz::Options),
    /// Make config/devices/demo.csv anew, one device for each asset.
    Devices {
        /// Only compare; fail if the file differs from what would be made.
        #[arg(long)]
        check: bool,
    },
    /// Write the generated protobuf code anew.
    Proto,
    /// Make the generated files of config/district/ anew.
    District {
        /// Only compare; fail if a file differs from what would be made.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let root = root();
    match command {
        Command::Test(options) => test::run(&root, options),
        Command::Tidy => tidy::run(&root),
        Command::Deny => test::deny_all(&root),
        Command::Services { verb, names } => services::run(&root, verb, &names),
        Command::Bench { name, arguments } => bench::run(&root, &name, &arguments),
        Command::Instructions { write } => instructions::run(&root, write),
        Command::Flamegraph { payload, out } => flamegraph::run(&root, &payload, &out),
        Command::Fuzz(options) => fuzz::run(&root, &options),
        Command::Devices { check } => devices::run(&root, check),
        Command::Proto => proto::write(&root),
        Command::District { check } => district::run(&root, check),
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .unwrap_or_default()
}
