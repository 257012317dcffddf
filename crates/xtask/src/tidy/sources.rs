//! Rules of a Rust file: a header that says what it owns, a length that can be read, no loose ends, tests that wait
//! for conditions, metric names in one place.

use super::File;

/// Lines of a file, tests not counted.
const LINES_MAX: usize = 500;

/// Longer files, each with its limit and its reason.
const LONGER: &[(&str, usize, &str)] = &[];

/// Words that may not stay, in pieces so that this file does not hold them.
const LOOSE_ENDS: [(&str, &str); 3] = [("FIX", "ME"), ("XX", "X:"), ("TO", "DO")];

/// What a test may not do.
const TEST_BANS: [(&str, &str, &str); 4] = [
    ("#[ign", "ore", "a test that is not run is no test; absent services are a feature"),
    ("should_", "panic", "match the error instead"),
    ("thread::sl", "eep(", "wait for a condition"),
    ("time::sl", "eep(", "wait for a condition, or pause the clock"),
];

/// A pause is fine between two looks at a condition: in a loop that begins at most so many lines above it.
const LOOP_LINES_MAX: usize = 10;

/// Tests and test support that pause for another purpose, each with it.
const MAY_PAUSE: &[(&str, &str)] = &[
    ("crates/yiwang-router/tests/role.rs", "a life of random length is the fault it injects"),
    ("tests/tests/kill.rs", "a life of random length is the fault it injects"),
    ("tests/src/", "simulated devices keep a schedule and try again; the tests themselves may not"),
];

/// Macros that name a metric.
const METRIC_MACROS: [&str; 3] = ["counter", "gauge", "histogram"];

/// All rules over all files.
pub fn problems(files: &[File]) -> Vec<String> {
    let mut problems: Vec<String> = files.iter().flat_map(of_file).collect();
    for (path, ..) in LONGER {
        if !files.iter().any(|file| file.path == *path) {
            problems.push(format!("{path}: has an exception in {} but does not exist", file!()));
        }
    }
    problems
}

fn of_file(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    if file.text.lines().count() > 1 && !file.text.starts_with("//! ") {
        problems.push(format!("{}: opens without a `//!` header", file.path));
    }
    let tests_begin = tests_begin(file);
    length(file, tests_begin, &mut problems);
    let lines: Vec<&str> = file.text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let at = || format!("{}:{}", file.path, index + 1);
        for (head, tail) in LOOSE_ENDS {
            if word(line, &format!("{head}{tail}")) {
                problems.push(format!("{}: a loose end: {}", at(), line.trim()));
            }
        }
        if index >= tests_begin {
            let above = &lines[index.saturating_sub(LOOP_LINES_MAX)..index];
            problems.extend(of_test(file, line, above).map(|ban| format!("{}: {ban}", at())));
        } else if !file.path.ends_with("/metrics.rs") && is_metric(line) {
            problems.push(format!("{}: metric names stand in metrics.rs", at()));
        }
    }
    problems
}

/// The first line that belongs to tests: all of a test file, the end of one with a test module.
fn tests_begin(file: &File) -> usize {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let is_test = name == "tests.rs"
        || name.ends_with("_tests.rs")
        || file.path.starts_with("tests/")
        || file.path.contains("/tests/");
    if is_test {
        return 0;
    }
    let module = |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod ");
    let lines: Vec<&str> = file.text.lines().collect();
    let inline = |pair: &[&str]| module(pair) && pair[1].ends_with('{');
    lines.windows(2).position(inline).unwrap_or(lines.len())
}

fn length(file: &File, tests_begin: usize, problems: &mut Vec<String>) {
    let exception = LONGER.iter().find(|(path, ..)| *path == file.path);
    let limit = exception.map_or(LINES_MAX, |(_, limit, _)| *limit);
    if tests_begin > limit {
        problems.push(format!("{}: {tests_begin} lines, the limit is {limit}", file.path));
    }
    if exception.is_some() && tests_begin <= LINES_MAX {
        problems.push(format!("{}: needs no exception for its length any more", file.path));
    }
}

fn of_test(file: &File, line: &str, above: &[&str]) -> Option<&'static str> {
    let looks = above.iter().any(|line| word(line, "while") || word(line, "loop"))
        || MAY_PAUSE.iter().any(|(path, _)| file.path.starts_with(path));
    TEST_BANS
        .iter()
        .filter(|(head, _, _)| !(looks && head.ends_with("sl")))
        .find(|(head, tail, _)| line.contains(&format!("{head}{tail}")))
        .map(|(_, _, reason)| *reason)
}

fn is_metric(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    METRIC_MACROS.iter().any(|name| word_start(code, &format!("{name}!(")))
}

/// Whether a word stands in a line by itself.
fn word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !line[..at].ends_with(is_letter) && !after.is_some_and(is_letter)
    })
}

/// Whether something stands in a line and is not the end of a longer name.
fn word_start(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_letter))
}

fn is_letter(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(path: &str, text: &str) -> Vec<String> {
        of_file(&File { path: path.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn what_is_found() {
        let no_header = problems_of("crates/a/src/b.rs", "use x;\nuse y;\n");
        assert!(no_header[0].contains("header"), "{no_header:?}");
        let long = format!("//! A.\n{}", "x\n".repeat(LINES_MAX));
        assert!(problems_of("crates/a/src/b.rs", &long)[0].contains("501 lines"));
        assert!(problems_of("crates/a/tests/b.rs", &long).is_empty());
        let inside = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(600));
        assert!(problems_of("crates/a/src/b.rs", &inside).is_empty());
        let waits = format!("//! A.\nstd::thread::sl{}1);\n", "eep(");
        assert_eq!(problems_of("tests/tests/b.rs", &waits).len(), 1);
        assert!(problems_of("crates/a/src/b.rs", &waits).is_empty());
        let looks = waits.replace("std::", "while !done() {\nstd::");
        assert!(problems_of("tests/tests/b.rs", &looks).is_empty());
        assert_eq!(problems_of("crates/a/src/b.rs", "//! A.\ncounter!(\"x\");\n").len(), 1);
        assert!(problems_of("crates/a/src/metrics.rs", "//! A.\ncounter!(\"x\");\n").is_empty());
        assert!(problems_of("crates/a/src/b.rs", "//! A.\nencounter!(1);\n").is_empty());
    }
}
