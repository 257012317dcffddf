//! The files of a folder of the configuration as texts. What cannot be read, and what would be passed over, is told.

use std::io;
use std::path::Path;

use yiwang_core::district::FileSet;
use yiwang_core::problem::{Problem, Severity};

use crate::exit::Failure;

/// What lies in a folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// The texts of the files that were asked for.
    pub files: FileSet,
    /// What is wrong with some of them, and what else lies there.
    pub problems: Vec<Problem>,
}

impl Folder {
    /// Reads the files whose names end with one of these.
    ///
    /// # Errors
    /// [`Failure::Config`] if the folder itself cannot be read.
    pub fn read(folder: &Path, key: &str, ends: &[&str]) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            let folder = folder.display();
            Failure::Config(format!("failed to read the folder {folder}: {error}; set {key}"))
        };
        let mut this = Self::default();
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if ends.iter().any(|end| name.ends_with(end)) && !name.starts_with('.') {
                this.take(&entry.path(), name);
            } else if !name.starts_with('.') && !name.starts_with("README") {
                this.problems.push(unknown(name, ends));
            }
        }
        Ok(this)
    }

    /// The texts, if all of them could be read.
    ///
    /// # Errors
    /// [`Failure::Config`] naming what could not.
    pub fn whole(self) -> Result<FileSet, Failure> {
        let errors = self.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let errors: Vec<_> = errors
            .map(|Problem { file, line, message, remedy, .. }| {
                format!("{file}:{line}: {message}; {remedy}")
            })
            .collect();
        if errors.is_empty() { Ok(self.files) } else { Err(Failure::Config(errors.join("\n"))) }
    }

    fn take(&mut self, path: &Path, name: String) {
        let error = |line, code, message, remedy: &str| Problem {
            severity: Severity::Error,
            code,
            file: name.clone(),
            line,
            message,
            remedy: remedy.to_owned(),
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(system) => {
                let message = format!("it cannot be read: {system}");
                let remedy = "make it a file that this user may read, or take it out of the folder";
                return self.problems.push(error(0, "FILE_UNREADABLE", message, remedy));
            }
        };
        let text = String::from_utf8(bytes).unwrap_or_else(|wrong| {
            let at = wrong.utf8_error().valid_up_to();
            let bytes = wrong.as_bytes();
            let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
            let message = format!("byte {:02x} is no UTF-8", bytes.get(at).copied().unwrap_or(0));
            let remedy = "save it as UTF-8 (Excel: `CSV UTF-8`)";
            self.problems.push(error(line, "NOT_UTF8", message, remedy));
            // Whatever else is wrong with it is told as well.
            String::from_utf8_lossy(bytes).into_owned()
        });
        self.files.insert(name, text);
    }
}

fn unknown(file: String, ends: &[&str]) -> Problem {
    let ends: Vec<_> = ends.iter().map(|end| format!("*{end}")).collect();
    let ends = ends.join(", ");
    Problem {
        severity: Severity::Warning,
        code: "FILE_UNKNOWN",
        file,
        line: 0,
        message: format!("it is not read: files of this folder are {ends}"),
        remedy: "rename it, or take it out of the folder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_passed_over_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.csv", "b.CSV", "c.csv~", ".d.csv.swp", ".e.csv", "README.md"] {
            std::fs::write(folder.path().join(name), "x\n").unwrap();
        }
        let read = Folder::read(folder.path(), "district.devices", &[".csv"]).unwrap();
        assert_eq!(read.files.keys().collect::<Vec<_>>(), ["a.csv"]);
        let told: Vec<_> = read.problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("warning: b.CSV:0: FILE_UNKNOWN"), "{told:?}");
        assert!(read.whole().is_ok(), "a warning stops nothing");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // GBK of 夏阳 in the second line.
        std::fs::write(path("gbk.csv"), b"name\n\xcf\xc4\xd1\xf4\n").unwrap();
        std::fs::create_dir(path("folder.csv")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("link.csv")).unwrap();
        let read = Folder::read(folder.path(), "district.devices", &[".csv"]).unwrap();
        let told: Vec<_> = read.problems.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("folder.csv:0: FILE_UNREADABLE"), "{told:?}");
        assert!(told[0].contains("directory"), "{told:?}");
        assert!(told[1].contains("gbk.csv:2: NOT_UTF8: byte cf"), "{told:?}");
        assert!(told[1].contains("save it as UTF-8"), "{told:?}");
        assert!(told[2].contains("link.csv:0: FILE_UNREADABLE"), "{told:?}");
        let words = read.whole().unwrap_err().to_string();
        assert!(words.contains("gbk.csv:2"), "{words}");
        let none = Folder::read(&path("none"), "district.devices", &[".csv"]).unwrap_err();
        assert!(none.to_string().contains("set district.devices"), "{none}");
    }
}
