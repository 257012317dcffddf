//! What the tests need beside the toolchain: installed where it is missing, into the system's packages or our cache.
//!
//! What only the services need is installed by `deploy/dev/install.sh`, which also talks to apt for us.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{services, shell};

const BUF: &str = "1.75.0";

/// Debian packages without which librdkafka does not build, each with a file that shows it is there.
const BUILD_PACKAGES: [(&str, &str); 4] = [
    ("/usr/bin/make", "make"),
    ("/usr/bin/pkg-config", "pkg-config"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/include/zlib.h", "zlib1g-dev"),
];

/// Installs the Debian packages that building with the feature `kafka` takes.
///
/// # Errors
/// If one is missing and cannot be installed.
pub fn build_packages(root: &Path) -> anyhow::Result<()> {
    let missing: Vec<&str> = BUILD_PACKAGES
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    apt(root, &missing)
}

/// The toolchain's formatter and linter.
///
/// # Errors
/// If one is missing and rustup cannot add it.
pub fn components(root: &Path) -> anyhow::Result<()> {
    for (command, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let there = shell::cargo(root).args([command, "--version"]).output();
        if there.is_ok_and(|output| output.status.success()) {
            continue;
        }
        shell::run(Command::new("rustup").args(["component", "add", component]))
            .with_context(|| format!("install the toolchain component {component}"))?;
    }
    Ok(())
}

/// The program `buf`, from the npm package that carries it.
///
/// # Errors
/// If it is not in the cache and npm cannot fetch it.
pub fn buf(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = shell::cache().join(format!("buf-{BUF}"));
    let program = folder.join("node_modules/.bin/buf");
    if !program.exists() {
        if !shell::answers("npm", &["--version"]) {
            apt(root, &["nodejs", "npm"])?;
        }
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
        shell::run(npm.arg(format!("@bufbuild/buf@{BUF}")))?;
    }
    Ok(program)
}

/// The program `cargo-deny`, if it is on the path or in the cache.
pub fn cargo_deny() -> Option<PathBuf> {
    let cached = shell::cache().join("cargo-deny/bin/cargo-deny");
    [PathBuf::from("cargo-deny"), cached]
        .into_iter()
        .find(|program| shell::answers(program, &["--version"]))
}

/// The program `cargo-deny`, built into the cache if need be: some minutes.
///
/// # Errors
/// If it cannot be built.
pub fn build_cargo_deny(root: &Path) -> anyhow::Result<PathBuf> {
    if let Some(program) = cargo_deny() {
        return Ok(program);
    }
    let folder = shell::cache().join("cargo-deny");
    let mut install = shell::cargo(root);
    install.args(["install", "--locked", "cargo-deny", "--root"]).arg(&folder);
    shell::run(&mut install)?;
    Ok(folder.join("bin/cargo-deny"))
}

/// A C++ compiler, which libFuzzer is built with.
///
/// # Errors
/// If it is missing and cannot be installed.
pub fn compiler(root: &Path) -> anyhow::Result<()> {
    if shell::answers("c++", &["--version"]) { Ok(()) } else { apt(root, &["g++"]) }
}

/// A program that Debian has in a package of its name.
///
/// # Errors
/// If it is missing and cannot be installed.
pub fn program(root: &Path, name: &str) -> anyhow::Result<()> {
    if shell::answers(name, &["--version"]) { Ok(()) } else { apt(root, &[name]) }
}

/// The programs `perf` and, in the folder that is given, those of `inferno`, built into the cache if need be.
///
/// # Errors
/// If one is missing and cannot be had.
pub fn flamegraph(root: &Path) -> anyhow::Result<PathBuf> {
    if !shell::answers("perf", &["--version"]) {
        apt(root, &["linux-perf"])?;
    }
    let folder = shell::cache().join("inferno");
    if !shell::answers(folder.join("bin/inferno-flamegraph"), &["--version"]) {
        let mut install = shell::cargo(root);
        install.args(["install", "--locked", "inferno", "--root"]).arg(&folder);
        shell::run(&mut install)?;
    }
    Ok(folder.join("bin"))
}

/// Clients and checkers that tests run beside the services, as environment variables.
///
/// # Errors
/// If one cannot be installed.
pub fn companions(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut install = script(root);
    Ok(services::parse(&shell::output(install.args(["python", "promtool"]))?))
}

fn apt(root: &Path, packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !shell::answers("apt-get", &["--version"]) {
        bail!("install by hand, this is no Debian system: {}", packages.join(" "));
    }
    println!("installing {}", packages.join(" "));
    shell::run(script(root).arg("packages").args(packages))
}

fn script(root: &Path) -> Command {
    Command::new(root.join("deploy/dev/install.sh"))
}
