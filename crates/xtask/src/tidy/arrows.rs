//! Which crate may use which: arrows point only downward, and only one crate names each outside system.
//!
//! This table is the one place in code that says so; it is section 3 of the architecture.

use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Every crate of the hub with the crates of ours that it may use, development dependencies included.
const ARROWS: [(&str, &[&str]); 9] = [
    ("yiwang-core", &[]),
    ("yiwang-proto", &["yiwang-core"]),
    ("yiwang-store", &["yiwang-core"]),
    ("yiwang-log", &["yiwang-core", "yiwang-proto"]),
    ("yiwang-gateway", &["yiwang-core", "yiwang-proto", "yiwang-log", "yiwang-store"]),
    ("yiwang-router", &["yiwang-core", "yiwang-proto", "yiwang-log"]),
    ("yiwang-centre", &["yiwang-core", "yiwang-proto", "yiwang-log", "yiwang-store"]),
    ("yiwang-console", &["yiwang-proto"]),
    (
        "yiwang",
        &[
            "yiwang-core",
            "yiwang-proto",
            "yiwang-store",
            "yiwang-log",
            "yiwang-gateway",
            "yiwang-router",
            "yiwang-centre",
            "yiwang-console",
        ],
    ),
];

/// Packages that are no part of the hub and may use all of it; nothing may use them.
const WORKSHOP: [&str; 5] =
    ["xtask", "yiwang-benches", "yiwang-fuzz", "yiwang-hotpath", "yiwang-tests"];

/// All that the core may use from outside: small, pure, without I/O, clock, randomness, tasks or logging.
const PURE: [&str; 13] = [
    "csv",
    "foldhash",
    "hashbrown",
    "itoa",
    "jiff",
    "memchr",
    "regex",
    "serde",
    "serde-saphyr",
    "serde_json",
    "simdutf8",
    "thiserror",
    "xxhash-rust",
];

/// Outside systems, and the only crates that name them. `yiwang` simulates devices, so it is an MQTT client.
const OUTSIDE: [(&str, &[&str]); 7] = [
    ("fjall", &["yiwang-log"]),
    ("rdkafka", &["yiwang-log"]),
    ("sqlx", &["yiwang-store"]),
    ("mqtt-protocol-core", &["yiwang-gateway"]),
    ("rumqttc", &["yiwang-gateway", "yiwang"]),
    ("dashmap", &["yiwang-gateway"]),
    ("axum", &["yiwang-console", "yiwang"]),
];

/// Every arrow of the workspace against the tables.
///
/// # Errors
/// If cargo does not tell.
pub fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let metadata = MetadataCommand::new().current_dir(root).no_deps().exec()?;
    let mut problems = Vec::new();
    for package in &metadata.packages {
        problems.extend(of_package(package));
    }
    Ok(problems)
}

fn of_package(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    if WORKSHOP.contains(&name) {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec![format!("{name}: not in the table of crates in {}", file!())];
    };
    let mut problems = Vec::new();
    for dependency in &package.dependencies {
        let to = dependency.name.as_str();
        let ours = ARROWS.iter().any(|(known, _)| *known == to) || WORKSHOP.contains(&to);
        let owners = OUTSIDE.iter().find(|(system, _)| *system == to).map(|(_, owners)| owners);
        let shipped = dependency.kind != DependencyKind::Development;
        if ours && !allowed.contains(&to) {
            problems.push(format!("{name}: the arrow to {to} is not in the table"));
        }
        if owners.is_some_and(|owners| !owners.contains(&name)) {
            problems.push(format!("{name}: only another crate may name {to}"));
        }
        if name == "yiwang-core" && shipped && !PURE.contains(&to) {
            problems.push(format!("{name}: {to} is not among the pure libraries"));
        }
    }
    problems
}
