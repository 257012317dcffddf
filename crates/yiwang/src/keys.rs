//! Keys of this hub: DATA/keys. Made at first start in the demo profile or embedded mode, else they must be there:
//! processes that share a log and a store share their keys.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::config::{Config, LogKind, Profile};
use crate::exit::Failure;

/// Bytes of a key.
const BYTES: usize = 32;

/// The keys.
pub struct Keys {
    /// Under which device secrets are stored.
    pub pepper: [u8; BYTES],
    /// Under which resume tokens are signed.
    pub token: [u8; BYTES],
    /// Opens the administration of this hub from its own machine.
    pub admin: [u8; BYTES],
}

/// Reads the keys, or makes them where that is allowed.
///
/// # Errors
/// [`Failure::Config`] naming the file that is missing or unreadable, and the remedy.
pub fn load(config: &Config) -> anyhow::Result<Keys> {
    let folder = config.raw.data.join("keys");
    let shared = config.raw.log.kind == LogKind::Kafka && config.raw.profile == Profile::Production;
    Ok(Keys {
        pepper: key(&folder.join("pepper"), shared)?,
        token: key(&folder.join("token"), shared)?,
        admin: key(&folder.join("admin"), shared)?,
    })
}

/// A key as 64 hex digits.
#[must_use]
pub fn to_hex(key: &[u8; BYTES]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fresh secret of 32 random bytes as hex digits.
///
/// # Errors
/// If the system gives no randomness.
pub fn fresh_secret() -> anyhow::Result<String> {
    let mut bytes = [0; BYTES];
    OsRng.try_fill_bytes(&mut bytes).context("failed to get random bytes from the system")?;
    Ok(to_hex(&bytes))
}

/// A secret on disk that only this user reads, beside the file that it is for: nobody ever reads half of it.
pub struct Draft {
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Writes the draft of a file; nothing of it stays unless it is taken.
    ///
    /// # Errors
    /// The system's, naming the file.
    pub fn write(path: &Path, secret: &str) -> anyhow::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| unwritable("make", folder, &error))?;
        let draft = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
        let this = Self { draft, path: path.to_path_buf() };
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&this.draft)?;
            file.write_all(secret.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| unwritable("write", path, &error))?;
        Ok(this)
    }

    /// Puts it where it belongs; an existing file stays.
    ///
    /// # Errors
    /// The system's, naming the file.
    pub fn take_once(self) -> anyhow::Result<()> {
        // A link to a name that exists fails: the first writer wins.
        match fs::hard_link(&self.draft, &self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
        .with_context(|| format!("failed to write {}", self.path.display()))
    }

    /// Puts it where it belongs, in the place of an existing file.
    ///
    /// # Errors
    /// The system's, naming the file.
    pub fn replace(self) -> anyhow::Result<()> {
        fs::rename(&self.draft, &self.path)
            .with_context(|| format!("failed to write {}", self.path.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename it has gone.
        let _ = fs::remove_file(&self.draft);
    }
}

fn unwritable(what: &str, path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    let remedy = "set data, or give --data, to a folder that this user may write";
    Failure::Unavailable(format!("failed to {what} {path}: {error}; {remedy}"))
}

/// Writes a secret so that only this user reads it and nobody ever reads half of it; an existing file stays.
///
/// # Errors
/// The system's, naming the file.
pub fn write_once(path: &Path, secret: &str) -> anyhow::Result<()> {
    Draft::write(path, secret)?.take_once()
}

fn key(path: &Path, must_exist: bool) -> anyhow::Result<[u8; BYTES]> {
    if !path.exists() {
        if must_exist {
            return Err(Failure::Config(format!(
                "failed to find the key {}: copy the folder keys from the first process of this hub",
                path.display()
            ))
            .into());
        }
        write_once(path, &fresh_secret()?)?;
    }
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Config(format!("failed to read the key {}: {error}", path.display()))
    })?;
    from_hex(text.trim()).ok_or_else(|| {
        Failure::Config(format!(
            "{} is no key of 64 hex digits: restore it from the backup",
            path.display()
        ))
        .into()
    })
}

fn from_hex(text: &str) -> Option<[u8; BYTES]> {
    let mut key = [0; BYTES];
    if text.len() != 2 * BYTES || !text.is_ascii() {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writer_of_a_key_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/pepper");
        let first = key(&path, false).unwrap();
        write_once(&path, &fresh_secret().unwrap()).unwrap();
        assert_eq!(key(&path, true).unwrap(), first);
        assert_eq!(fs::read_dir(folder.path().join("keys")).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_is_private_and_a_draft_leaves_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens/310118001");
        for secret in ["one", "two"] {
            Draft::write(&path, secret).unwrap().replace().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), secret);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(Draft::write(&path, "three").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path().join("tokens")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_the_place_of_the_data_folder_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = key(&file.path().join("keys/pepper"), false).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Failure::Unavailable(_))), "{error:#}");
        assert!(error.to_string().contains("set data"), "{error:#}");
    }

    #[test]
    fn a_key_that_must_be_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pepper");
        assert!(key(&path, true).unwrap_err().to_string().contains("copy the folder keys"));
        fs::write(&path, "zz").unwrap();
        assert!(key(&path, true).unwrap_err().to_string().contains("64 hex digits"));
    }
}
