//! The `yiwang` program: parses the command line, runs one command, turns its outcome into an exit code.
//!
//! Causes of a failure are printed once, here. Nothing else lives in this file.

#![deny(clippy::print_stdout, clippy::print_stderr)] // They panic on a full disk; see `output`.

use std::process::ExitCode;

use clap::Parser;

mod admin;
mod alarm;
mod bundle;
mod cli;
mod commands;
mod config;
mod exit;
mod fleet;
mod folder;
mod http;
mod keys;
mod ledger;
mod logs;
mod metrics;
mod node;
mod output;
mod readiness;
mod reload;
mod screen;
mod settings;
mod telemetry;
mod trace;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            output::tell(format_args!("error: {error:#}"));
            exit::code_of(&error)
        }
    }
}
