//! Generated protobuf code: made from `proto/` without `protoc`, checked in, compared by a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use prost::Message;

/// Writes the generated code where it differs.
///
/// # Errors
/// If a proto file does not compile or a file cannot be written.
pub fn write(root: &Path) -> anyhow::Result<()> {
    for (path, new) in outdated(root)? {
        std::fs::write(&path, new)
            .with_context(|| format!("failed to write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// The generated files that differ from what is checked in.
///
/// # Errors
/// If a proto file does not compile.
pub fn outdated(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let folder = root.join("crates/yiwang-proto/src/gen");
    let mut files = BTreeMap::new();
    for (name, new) in generate(&root.join("proto"))? {
        let path = folder.join(name);
        if std::fs::read(&path).map_or(true, |old| old != new) {
            files.insert(path, new);
        }
    }
    Ok(files)
}

fn generate(include: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut protos = Vec::new();
    find(include, &mut protos)?;
    protos.sort();
    let descriptors = protox::compile(&protos, [include]).context("failed to compile proto/")?;
    let folder = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .out_dir(folder.path())
        .bytes(".yiwang.admin.v1")
        .compile_fds(descriptors.clone())
        .context("failed to generate code")?;
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder.path())? {
        let entry = entry?;
        files
            .insert(entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?);
    }
    files.insert("descriptors.bin".to_owned(), descriptors.encode_to_vec());
    Ok(files)
}

/// Collects every proto file below a folder.
fn find(folder: &Path, protos: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, protos)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            protos.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_code_is_what_the_protos_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let outdated = outdated(&root).expect("the protos compile");
        let names: Vec<_> = outdated.keys().collect();
        assert!(names.is_empty(), "run `cargo xtask proto`: {names:?}");
    }
}
