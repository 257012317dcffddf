//! The shipped district and products with a few devices, for tests.

#[path = "../../tests/shipped/mod.rs"]
mod shipped;

use std::sync::{Arc, LazyLock};

use crate::district::{District, FileSet};
use crate::problem::Problem;
use crate::registry::Registry;

pub(crate) use shipped::folder;

const DEVICES: &str = "product_key,device_name,area_code
manhole-01,M-0001,310118001001
smoke-01,S-0007,310118001001
wl-radar-01,R-0001,310118001001
wl-radar-01,R-0002,310118001001
wl-radar-01,R-0003,310118001001
";

pub(crate) static DISTRICT: LazyLock<Arc<District>> = LazyLock::new(|| {
    let (district, problems) = District::load(&folder("district"));
    Arc::new(district.unwrap_or_else(|| panic!("{problems:?}")))
});

/// Text of a shipped product file.
pub(super) fn product(key: &str) -> String {
    folder("products").remove(&format!("{key}.thing.yaml")).unwrap()
}

pub(crate) fn registry(edit: impl Fn(&str, String) -> String) -> (Option<Registry>, Vec<Problem>) {
    let mut files: FileSet = folder("products")
        .into_iter()
        .map(|(name, text)| {
            let text = edit(&name, text);
            (name, text)
        })
        .collect();
    files.insert("devices.csv".to_owned(), DEVICES.to_owned());
    Registry::load(&files, DISTRICT.clone())
}
