//! What the commands that need no hub say, and how they end: the real binary against the shipped configuration.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/yiwang.toml");

/// A command on the shipped configuration and its own data folder.
fn yiwang(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yiwang"));
    command.args(words).args(["--config", CONFIG, "--data"]).arg(data);
    command
}

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("it starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_full_output_is_a_failure_and_a_closed_one_is_none() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let commands: [&[&str]; 5] = [
        &["config"],
        &["check"],
        &["check", "--json"],
        &["rule", "test"],
        &["token", "new", "--unit", "310118001"],
    ];
    for words in commands {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let (code, said) = ended(yiwang(data.path(), words).stdout(full));
        assert_eq!(code, Some(1), "{words:?}: {said}");
        assert!(said.contains("failed to write to standard output"), "{words:?}: {said}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (code, said) = ended(yiwang(data.path(), words).stdout(writer));
        assert_eq!((code, said.as_str()), (Some(0), ""), "{words:?}");
    }
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let (code, _) = ended(yiwang(data.path(), &["nothing"]).stdout(Stdio::null()).stderr(full));
    assert_eq!(code, Some(2));
}

#[test]
fn a_token_that_cannot_be_shown_is_not_lost() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let words = ["token", "new", "--unit", "310118001"];
    let (_, said) = ended(yiwang(data.path(), &words).stdout(full));
    let file = data.path().join("tokens/310118001");
    assert!(said.contains(&format!("lies in {}", file.display())), "{said}");
    assert!(std::fs::read_to_string(file).is_ok_and(|token| token.starts_with("yw_")));
}

#[test]
fn a_fleet_that_reaches_nobody_has_sent_nothing() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = taken.local_addr().expect("its address").to_string();
    drop(taken);
    let words = ["simulate", "--seconds", "1", "--devices", "5", "--target", &target];
    let Output { status, stdout, stderr } =
        yiwang(data.path(), &words).output().expect("it starts");
    let (said, told) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(4), "{told}");
    assert!(said.starts_with("sent=0 acknowledged=0 skipped="), "{said}");
    assert!(!said.ends_with("skipped=0\n"), "{said}");
    assert!(told.contains(&target), "{told}");
}
