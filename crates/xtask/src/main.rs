//! `cargo xtask`: the project's own tools. Parses the command line and hands over; each tool has a file.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

mod devices;
mod district;
mod proto;

/// The project's own tools.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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

fn main() -> anyhow::Result<()> {
    let root = root();
    match Cli::parse().command {
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
