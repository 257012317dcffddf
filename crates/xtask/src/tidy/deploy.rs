//! The files for people with Docker, which no test starts: they are well-formed and name only what is there.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

/// Instructions that our Dockerfile may use.
const INSTRUCTIONS: [&str; 13] = [
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Checks `deploy/compose.yaml` and `deploy/Dockerfile`.
///
/// # Errors
/// What is wrong in them.
pub fn check(root: &Path) -> anyhow::Result<()> {
    let folder = root.join("deploy");
    compose(&folder).context("deploy/compose.yaml")?;
    dockerfile(root, &read(&folder.join("Dockerfile"))?).context("deploy/Dockerfile")
}

fn compose(folder: &Path) -> anyhow::Result<()> {
    let text = read(&folder.join("compose.yaml"))?;
    let document: Value = serde_saphyr::from_str(&text)?;
    let services = document["services"].as_object().context("no services")?;
    for (name, service) in services {
        if service["image"].as_str().is_none() && service["build"].is_null() {
            bail!("service {name} has neither image nor build");
        }
        if let Some(file) = service["build"]["dockerfile"].as_str() {
            let context = folder.join(service["build"]["context"].as_str().unwrap_or("."));
            exists(&context.join(file))?;
        }
        for needed in names(&service["depends_on"]) {
            if !services.contains_key(&needed) {
                bail!("service {name} depends on {needed}, which is not there");
            }
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source =
                volume.as_str().and_then(|text| text.split(':').next()).unwrap_or_default();
            if source.starts_with('.') {
                exists(&folder.join(source))?;
            } else if !source.is_empty() && document["volumes"].get(source).is_none() {
                bail!("service {name} mounts {source}, which is no volume");
            }
        }
    }
    Ok(())
}

/// `depends_on` is a list or a map.
fn names(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    list.chain(value.as_object().into_iter().flatten().map(|(name, _)| name.clone())).collect()
}

fn dockerfile(root: &Path, text: &str) -> anyhow::Result<()> {
    let joined = text.replace("\\\n", " ");
    let lines =
        joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default();
        if !INSTRUCTIONS.contains(&instruction) {
            bail!("unknown instruction: {line}");
        }
        if instruction != "COPY" || line.contains("--from=") {
            continue;
        }
        let paths: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
        for source in paths.split_last().map(|(_, sources)| sources).unwrap_or_default() {
            exists(&root.join(source))?;
        }
    }
    Ok(())
}

fn exists(path: &Path) -> anyhow::Result<()> {
    if path.exists() { Ok(()) } else { bail!("{} does not exist", path.display()) }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}
