//! One configuration as a whole: the files it was loaded from and what routing needs of them.
//!
//! The files go into topic `state` under the configuration's epoch, so that a replay can use the configuration that was
//! in force; plain secrets (demo only) are left out of that copy.

use std::sync::Arc;

use yiwang_core::district::{District, FileSet};
use yiwang_core::ids::Id;
use yiwang_core::problem::{Problem, Severity};
use yiwang_core::registry::Registry;
use yiwang_core::route::Shared;
use yiwang_core::route::bytes::{Reader, Writer};
use yiwang_core::routes::Routes;
use yiwang_core::storms::Storms;
use yiwang_log::Log;

use crate::Error;

/// A configuration in force, or about to be.
#[derive(Debug)]
pub struct Bundle {
    district: FileSet,
    devices: FileSet,
    shared: Shared,
    routes: Routes,
}

impl Bundle {
    /// Loads and checks everything; every problem with file and line, `None` on any error. `district` are the files of
    /// `config/district/`, `devices` those of `config/products/` and `config/devices/`.
    #[must_use]
    pub fn load(district: &FileSet, devices: &FileSet) -> (Option<Arc<Self>>, Vec<Problem>) {
        let (loaded, mut problems) = District::load(district);
        let Some(loaded) = loaded else { return (None, problems) };
        let (registry, found) = Registry::load(devices, Arc::new(loaded));
        problems.extend(found);
        let Some(registry) = registry else { return (None, problems) };
        let (bundle, found) = Self::new(district, devices, Arc::new(registry));
        problems.extend(found);
        (bundle, problems)
    }

    /// Of a registry that was loaded from these files.
    #[must_use]
    pub fn new(
        district: &FileSet,
        devices: &FileSet,
        registry: Arc<Registry>,
    ) -> (Option<Arc<Self>>, Vec<Problem>) {
        let routes = match registry.district.as_deref() {
            Some(of) => Routes::load(district, of, &registry.products),
            None => (Some(Routes::default()), Vec::new()),
        };
        let storms = match registry.district.as_deref() {
            Some(of) => Storms::load(district, of),
            None => (None, Vec::new()),
        };
        let (shared, mut problems) = Shared::new(registry);
        problems.extend(routes.1);
        let sound = storms.1.iter().all(|problem| problem.severity != Severity::Error);
        problems.extend(storms.1);
        let shared = shared.filter(|_| sound).map(|shared| shared.with_storms(storms.0));
        let keep = |(name, text): (&String, &String)| (name.clone(), without_secrets(name, text));
        let devices = devices.iter().map(keep).collect();
        let bundle = shared.zip(routes.0).map(|(shared, routes)| Self {
            district: district.clone(),
            devices,
            shared,
            routes,
        });
        (bundle.map(Arc::new), problems)
    }

    /// The configuration epoch.
    #[must_use]
    pub fn epoch(&self) -> Id {
        self.shared.registry().epoch
    }

    /// Registry and rules.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where outputs go beside the hub's own topics.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Whether a log has every topic that the routes name.
    pub(crate) fn find_topics(&self, log: &Log) -> Result<(), Error> {
        let gone = self.routes.topics().iter().find(|topic| log.topic(&topic.name).is_none());
        gone.map_or(Ok(()), |topic| Err(Error::no_topic(&topic.name)))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        for files in [&self.district, &self.devices] {
            to.count(files.len());
            for (name, text) in files {
                to.text(name);
                to.text(text);
            }
        }
        to.bytes
    }

    /// The configuration of bytes that [`Bundle::encode`] made; `None` if it does not load any more.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Arc<Self>> {
        let mut from = Reader::new(bytes);
        let mut files = || -> Option<FileSet> {
            let list = from.list(|r| Ok((r.text()?.to_owned(), r.text()?.to_owned())));
            Some(list.ok()?.into_iter().collect())
        };
        let (district, devices) = (files()?, files()?);
        Self::load(&district, &devices).0
    }
}

/// A device list without its column `secret`'s values; other files as they are.
fn without_secrets(name: &str, text: &str) -> String {
    let device_list = name.ends_with(".csv")
        && text
            .lines()
            .next()
            .is_some_and(|head| head.split(',').any(|column| column.trim() == "secret"));
    if !device_list {
        return text.to_owned();
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let secret = reader.headers().ok().and_then(|head| head.iter().position(|c| c == "secret"));
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    let mut copy = || -> Result<(), csv::Error> {
        writer.write_record(reader.headers()?)?;
        for record in reader.records() {
            let record = record?;
            let cells = record.iter().enumerate();
            writer
                .write_record(cells.map(|(i, cell)| if Some(i) == secret { "" } else { cell }))?;
        }
        Ok(())
    };
    match copy() {
        Ok(()) => {
            let bytes = writer.into_inner().unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        }
        // A list that cannot be read was refused at load; keep nothing of it.
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn secrets_stay_out_of_the_log() {
        let text = "product_key,secret,name\nsmoke-01,\"top,secret-0001\",烟感\n";
        let kept = without_secrets("devices/demo.csv", text);
        assert_eq!(kept, "product_key,secret,name\nsmoke-01,,烟感\n");
        assert_eq!(without_secrets("a.yaml", "secret: x"), "secret: x");
    }
}
