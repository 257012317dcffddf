//! Documents: a relative link leads somewhere, a command of ours that a document shows exists.

use std::collections::BTreeMap;
use std::path::Path;

use clap::CommandFactory;

use super::File;

/// All rules over all documents.
pub fn problems(root: &Path, files: &[File]) -> Vec<String> {
    files
        .iter()
        .flat_map(|file| {
            let lines = file.text.lines().enumerate();
            lines.flat_map(move |(index, line)| {
                of_line(root, file, line)
                    .into_iter()
                    .map(move |problem| format!("{}:{}: {problem}", file.path, index + 1))
            })
        })
        .collect()
}

/// The subcommands of the program that code blocks of the documents show, each with the place that shows it.
pub fn program_commands(files: &[File]) -> BTreeMap<String, String> {
    let mut commands = BTreeMap::new();
    for file in files {
        let mut inside = false;
        for (index, line) in file.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if let Some(name) = program_command(line).filter(|_| inside) {
                commands
                    .entry(name.to_owned())
                    .or_insert_with(|| format!("{}:{}", file.path, index + 1));
            }
        }
    }
    commands
}

/// The subcommand in `yiwang NAME …` or `cargo run … -- NAME …`.
fn program_command(line: &str) -> Option<&str> {
    let line = line.trim_start().trim_start_matches("$ ");
    let rest = match line.strip_prefix("cargo run ") {
        Some(flags) if !flags.contains("-p ") => flags.split_once("-- ")?.1,
        Some(_) => return None,
        None => {
            line.strip_prefix("yiwang ").or_else(|| line.split_once("/yiwang ").map(|p| p.1))?
        }
    };
    let name = rest.split_whitespace().next()?;
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-').then_some(name)
}

fn of_line(root: &Path, file: &File, line: &str) -> Vec<String> {
    let folder = root.join(&file.path);
    let folder = folder.parent().unwrap_or(root);
    let mut problems: Vec<String> = links(line)
        .filter(|link| !folder.join(link).exists())
        .map(|link| format!("the link {link} leads nowhere"))
        .collect();
    for (at, shown) in line.match_indices("cargo xtask ") {
        let rest = &line[at + shown.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(rest.len());
        let name = &rest[..end];
        if !name.is_empty() && crate::Cli::command().find_subcommand(name).is_none() {
            problems.push(format!("`cargo xtask {name}` does not exist"));
        }
    }
    problems
}

/// The targets of the relative links in a line, without their anchors.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, open)| {
        let target = line[at + open.len()..].split(')').next()?;
        let target = target.split('#').next()?;
        let outside = target.contains("://") || target.starts_with("mailto:");
        (!target.is_empty() && !outside).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_line() {
        let line = "see [a](b/c.md#d), [e](https://x.example/), [f](#g), [h](i)";
        assert_eq!(links(line).collect::<Vec<_>>(), ["b/c.md", "i"]);
    }

    #[test]
    fn commands_of_the_program() {
        assert_eq!(program_command("$ cargo run --release -- demo"), Some("demo"));
        assert_eq!(program_command("yiwang log read --topic raw"), Some("log"));
        assert_eq!(program_command("target/release/yiwang check --json"), Some("check"));
        assert_eq!(program_command("cargo run -p other -- x"), None);
        assert_eq!(program_command("docker build -t yiwang ."), None);
    }

    #[test]
    fn commands_exist() {
        let file = File { path: "README.md".to_owned(), text: String::new() };
        let root = crate::root();
        assert!(of_line(&root, &file, "run `cargo xtask test --quick`").is_empty());
        assert_eq!(of_line(&root, &file, "run `cargo xtask nothing`").len(), 1);
    }
}
