//! The files of `config/` for the tests that read them.

use yiwang_core::district::FileSet;

/// The files of a folder.
pub fn folder(name: &str) -> FileSet {
    let folder = format!("{}/../../config/{name}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let file = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(file).collect()
}
