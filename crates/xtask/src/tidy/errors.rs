//! How an error speaks: a lowercase fragment that fits "failed to …", without a full stop, without its own source
//! (the top prints every cause once).

use super::File;

/// Words that keep their capital at the beginning: names, and codes in capitals.
const NAMES: [&str; 8] =
    ["Kafka", "PostgreSQL", "SQLite", "Mosquitto", "MQTT", "CONNECT", "PUBLISH", "YIWANG"];

/// The texts of all thiserror attributes.
pub fn problems(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        for (at, _) in file.text.match_indices("#[error(\"") {
            let text = literal(&file.text[at + "#[error(\"".len()..]);
            if let Some(fault) = fault(text) {
                let line = file.text[..at].lines().count() + 1;
                problems.push(format!("{}:{line}: an error text {fault}: {text}", file.path));
            }
        }
    }
    problems
}

/// The content of a string literal up to its closing quote.
fn literal(text: &str) -> &str {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' if !escaped => return &text[..at],
            _ => escaped = character == '\\' && !escaped,
        }
    }
    text
}

fn fault(text: &str) -> Option<&'static str> {
    let named = NAMES.iter().any(|name| text.starts_with(name));
    if text.chars().next().is_some_and(char::is_uppercase) && !named {
        return Some("begins with a capital");
    }
    if text.ends_with('.') && !text.ends_with("..") {
        return Some("ends with a full stop");
    }
    if ["{source}", "{source:?}", "{source:#}"].iter().any(|own| text.contains(own)) {
        return Some("repeats its source");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults() {
        assert_eq!(fault("data folder {path} is held by another process; stop it"), None);
        assert_eq!(fault("Kafka at {brokers} does not answer"), None);
        assert_eq!(fault("Cannot open"), Some("begins with a capital"));
        assert_eq!(fault("cannot open."), Some("ends with a full stop"));
        assert_eq!(fault("cannot open: {source}"), Some("repeats its source"));
        assert_eq!(literal(r#"a \"b\" c")] next"#), r#"a \"b\" c"#);
    }
}
