//! The files that a run writes: all of them opened, and compared with what it reads, before any of them is emptied.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::RouteArgs;
use crate::exit::Failure;

/// A file to write, and its name.
pub type Open = (File, PathBuf);

/// Where each kind of line goes; `None` is nowhere.
pub struct Files {
    /// Readings without alarm.
    pub normal: Option<Open>,
    /// Readings with alarm.
    pub alarm: Option<Open>,
    /// Lines that cannot be normalised.
    pub invalid: Option<Open>,
}

/// What a run holds in its hands: a name for people, and the file if it is one that can be overwritten.
type Known = (String, Option<(u64, u64)>);

impl Files {
    /// Opens and empties them.
    ///
    /// # Errors
    /// [`Failure::Usage`] naming two that are the same file, with nothing emptied; [`Failure::Unavailable`] if one cannot
    /// be made.
    pub fn open(args: &RouteArgs) -> anyhow::Result<Self> {
        let mut made = Vec::new();
        let opened = Self::open_apart(args, &mut made);
        if opened.is_err() {
            for path in made {
                // An empty file that nobody asked for; if it stays, the error says enough.
                let _ = std::fs::remove_file(path);
            }
        }
        opened
    }

    fn open_apart(args: &RouteArgs, made: &mut Vec<PathBuf>) -> anyhow::Result<Self> {
        let mut known = read_by(args)?;
        let mut open = |word: &str, path: Option<&PathBuf>| -> anyhow::Result<Option<Open>> {
            let Some(path) = path else { return Ok(None) };
            let file = create(path, made).map_err(|error| {
                Failure::Unavailable(format!("failed to make {}: {error}", path.display()))
            })?;
            known.push((format!("{word} {}", path.display()), place(&file.metadata()?)));
            Ok(Some((file, path.clone())))
        };
        let files = Self {
            normal: open("--normal", args.normal.as_ref())?,
            alarm: open("--alarm", args.alarm.as_ref())?,
            invalid: open("--invalid", args.invalid.as_ref())?,
        };
        if let Some((one, other)) = collision(&known) {
            return Err(Failure::Usage(format!(
                "{one} and {other} are the same file: name another one, nothing was written"
            ))
            .into());
        }
        for (file, path) in [&files.normal, &files.alarm, &files.invalid].into_iter().flatten() {
            // Pipes and devices have no length.
            if file.metadata()?.is_file() {
                file.set_len(0).with_context(|| format!("failed to empty {}", path.display()))?;
            }
        }
        Ok(files)
    }
}

/// What a run reads, and where its counts go.
fn read_by(args: &RouteArgs) -> anyhow::Result<Vec<Known>> {
    let named = |word: &str, path: &Path| -> anyhow::Result<Known> {
        let name = format!("{word} {}", path.display());
        let found = std::fs::metadata(path).with_context(|| format!("failed to read {name}"))?;
        Ok((name, place(&found)))
    };
    let stream = |name: &str, of: BorrowedFd<'_>| -> anyhow::Result<Known> {
        let found = of.try_clone_to_owned().and_then(|of| File::from(of).metadata());
        let found = found.with_context(|| format!("failed to look at {name}"))?;
        Ok((name.to_owned(), place(&found)))
    };
    Ok(vec![
        named("--product", &args.product)?,
        named("--devices", &args.devices)?,
        stream("standard input", io::stdin().as_fd())?,
        stream("standard error", io::stderr().as_fd())?,
    ])
}

/// Opens a file without emptying it; one that is new is noted.
fn create(path: &Path, made: &mut Vec<PathBuf>) -> io::Result<File> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).create(true).truncate(false).open(path)
        }
        opened => {
            let file = opened?;
            made.push(path.to_path_buf());
            Ok(file)
        }
    }
}

/// Device and inode of what keeps its bytes: the null device, terminals and pipes may be named twice.
fn place(found: &Metadata) -> Option<(u64, u64)> {
    let keeps = found.is_file() || found.file_type().is_block_device();
    keeps.then(|| (found.dev(), found.ino()))
}

/// Two that are one file, of which at least one is written: what is only read may be the same.
fn collision(known: &[Known]) -> Option<(&str, &str)> {
    const READ: usize = 4;
    (READ..known.len()).find_map(|at| {
        let (name, place) = &known[at];
        let same = |other: &&Known| place.is_some() && other.1 == *place;
        known[..at].iter().find(same).map(|(other, _)| (name.as_str(), other.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RouteOutput;

    struct Case {
        folder: tempfile::TempDir,
        args: RouteArgs,
    }

    fn case() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["p.thing.yaml", "d.csv", "old"] {
            std::fs::write(path(name), "kept").unwrap();
        }
        let args = RouteArgs {
            product: path("p.thing.yaml"),
            devices: path("d.csv"),
            out: RouteOutput::Json,
            normal: Some(path("normal")),
            alarm: Some(path("alarm")),
            invalid: Some(path("old")),
        };
        Case { folder, args }
    }

    fn refused(args: &RouteArgs) -> String {
        let error = Files::open(args).err().expect("it is refused");
        assert!(matches!(error.downcast_ref(), Some(Failure::Usage(_))), "{error:#}");
        error.to_string()
    }

    #[test]
    fn nothing_is_emptied_when_two_are_one_file() {
        let Case { folder, args } = case();
        let path = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("old", path("link")).unwrap();
        std::fs::hard_link(path("d.csv"), path("hard")).unwrap();
        let with = |alarm: &str| RouteArgs { alarm: Some(path(alarm)), ..args.clone() };
        assert!(refused(&with("link")).contains("--invalid"), "a link to another output");
        assert!(refused(&with("./normal")).contains("--normal"), "the same name");
        assert!(refused(&with("p.thing.yaml")).contains("--product"));
        let words = refused(&with("hard"));
        assert!(words.contains("--alarm") && words.contains("--devices"), "{words}");
        for name in ["p.thing.yaml", "d.csv", "old"] {
            assert_eq!(std::fs::read_to_string(path(name)).unwrap(), "kept", "{name}");
        }
        assert!(!path("normal").exists(), "what was made for it has gone");
    }

    #[test]
    fn files_of_their_own_are_emptied_and_the_null_device_is_nobodys() {
        let Case { folder, args } = case();
        Files::open(&args).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("old")).unwrap(), "");
        let null = Some(PathBuf::from("/dev/null"));
        let args = RouteArgs { normal: null.clone(), alarm: null, ..args };
        assert!(Files::open(&args).is_ok());
    }
}
