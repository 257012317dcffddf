//! Reads the inputs that are kept with the sources; what writes them is `cargo xtask fuzz --keep`.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The inputs of a target that people chose: `corpus/TARGET/`, a file each, in the order of their names.
///
/// # Errors
/// If they cannot be read.
pub fn samples(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let entries = std::fs::read_dir(folder().join("corpus").join(target))?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    files.sort();
    files.into_iter().map(std::fs::read).collect()
}

/// The inputs that hours of fuzzing found, each of which reaches something that the others do not:
/// `found/TARGET.base64`, a line each.
///
/// # Errors
/// If they cannot be read, or a line is no base64.
pub fn found(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let file = folder().join("found").join(format!("{target}.base64"));
    let text = std::fs::read_to_string(&file)?;
    let line = |(number, line): (usize, &str)| {
        let wrong = |error| format!("{}:{}: {error}", file.display(), number + 1);
        STANDARD.decode(line).map_err(|error| io::Error::other(wrong(error)))
    };
    text.lines().enumerate().map(line).collect()
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
