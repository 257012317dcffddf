//! A copy of the shipped district, products and devices that a test may edit, before a start or while a hub runs.
//!
//! A step that fails ends the test: these functions panic with what was expected.

use std::fs;
use std::path::{Path, PathBuf};

use crate::hub::{Plan, repository};

/// The folders of a configuration.
const FOLDERS: [&str; 3] = ["district", "products", "devices"];

/// The copy.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Copies into a folder. Rule vectors, which stand last in a product and are of the shipped rules, are left out, so
    /// that rules can be edited.
    ///
    /// # Panics
    /// If the shipped files cannot be copied.
    #[must_use]
    pub fn copy(folder: &Path) -> Self {
        for name in FOLDERS {
            let to = folder.join(name);
            fs::create_dir_all(&to).expect("a folder for the copy");
            let shipped = repository().join("config").join(name);
            for file in fs::read_dir(shipped).expect("shipped files") {
                let file = file.expect("a shipped file");
                let text = fs::read_to_string(file.path()).expect("configuration is text");
                let vectors = text.find("\n  - rule:").filter(|_| name == "products");
                let text = &text[..vectors.map_or(text.len(), |end| end + 1)];
                fs::write(to.join(file.file_name()), text).expect("a copy of a file");
            }
        }
        Self { folder: folder.to_owned() }
    }

    /// A hub over the copy.
    #[must_use]
    pub fn plan(&self, plan: Plan) -> Plan {
        FOLDERS.into_iter().fold(plan, |plan, name| plan.with(&self.setting(name)))
    }

    /// The setting that names one of the folders.
    #[must_use]
    pub fn setting(&self, name: &str) -> String {
        let key = if name == "district" { "folder" } else { name };
        format!("district.{key}={}", self.folder.join(name).display())
    }

    /// Gas alarms end with the first low sample, so that they rise and clear all the time.
    ///
    /// # Panics
    /// If the rule is not as shipped.
    pub fn quick_alarms(&self) {
        self.replace("products/gas-01.thing.yaml", "    clearHold: 1m\n", "");
    }

    /// A file of the copy.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).expect("a file of the copy")
    }

    /// Adds a file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn add(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).expect("a file is added to the copy");
    }

    /// Replaces a text that stands in a file, once; gives the number of the line in which it begins.
    ///
    /// # Panics
    /// If it does not stand there.
    pub fn replace(&self, file: &str, old: &str, new: &str) -> usize {
        let text = self.text(file);
        let at = text.find(old).unwrap_or_else(|| panic!("{file} has no {old:?}"));
        let edited = text.replacen(old, new, 1);
        fs::write(self.folder.join(file), edited).expect("the copy can be edited");
        text[..at].lines().count() + usize::from(text[..at].ends_with('\n') || at == 0)
    }
}
