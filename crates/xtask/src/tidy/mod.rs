//! The rules of the tree that neither the compiler nor clippy knows; `cargo xtask tidy`, and a test.
//!
//! Each rule is a function from the tree to problems. A rule that is right to break somewhere has a list of
//! exceptions beside it, each with its reason; an exception that is no longer needed is a problem too.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

mod arrows;
pub mod deploy;
pub mod documents;
mod errors;
mod sources;

/// A file of the tree, by its path from the root.
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// Content.
    pub text: String,
}

/// Checks everything and prints what is wrong.
///
/// # Errors
/// If anything is.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let problems = problems(root)?;
    if !problems.is_empty() {
        bail!("{} problems:\n{}", problems.len(), problems.join("\n"));
    }
    Ok(())
}

fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let sources = files(root, &["crates", "tests", "benches"], "rs")?;
    let mut problems = arrows::problems(root)?;
    problems.extend(sources::problems(&sources));
    problems.extend(errors::problems(&sources));
    problems.extend(documents::problems(root, &documents(root)?));
    problems.sort();
    Ok(problems)
}

/// The documents of the tree.
///
/// # Errors
/// If it cannot be read.
pub fn documents(root: &Path) -> anyhow::Result<Vec<File>> {
    files(root, &["."], "md")
}

/// The files with an extension below some folders; generated ones are somebody else's business.
fn files(root: &Path, folders: &[&str], extension: &str) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("failed to read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                let skipped = ["gen", "target", "data", "node_modules"].contains(&name.as_str());
                if !skipped && !name.starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("failed to read {}", path.display()))?;
                let path = path.strip_prefix(root).unwrap_or(&path);
                let path = path.strip_prefix(".").unwrap_or(path);
                files.push(File { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let problems = problems(&crate::root()).expect("the tree can be read");
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }

    #[test]
    fn the_files_for_docker_are_well_formed() {
        deploy::check(&crate::root()).expect("deploy/ is well-formed");
    }
}
