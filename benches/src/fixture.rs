//! The shipped configuration, and devices, messages and signals made of it in any number.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use yiwang_core::district::{District, FileSet, Tier};
use yiwang_core::ids::Id;
use yiwang_core::record::{AlarmSeverity, Point, Signal, SignalKind};
use yiwang_core::registry::Registry;
use yiwang_core::route::Shared;
use yiwang_tests::hub::{Mode, Plan};
use yiwang_tests::mqtt::LoadClient;

/// Points of made-up places: 200 m apart, so that no two signals are of one incident.
const STEP_E6: i32 = 2_000;
/// Of these so many stand in one row.
const ROW: usize = 200;

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads a folder of `config/`.
///
/// # Errors
/// The folder's or a file's.
pub fn folder(name: &str) -> anyhow::Result<FileSet> {
    let folder = repository().join("config").join(name);
    let mut files = FileSet::new();
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        files.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text);
    }
    Ok(files)
}

/// The shipped district.
///
/// # Errors
/// If it does not load.
pub fn district() -> anyhow::Result<Arc<District>> {
    let (district, problems) = District::load(&folder("district")?);
    match district {
        Some(district) => Ok(Arc::new(district)),
        None => bail!("the district has {} problems: {:?}", problems.len(), problems.first()),
    }
}

/// The shipped district, products and devices with their rules.
///
/// # Errors
/// If they do not load.
pub fn shared() -> anyhow::Result<Shared> {
    let mut files = folder("products")?;
    files.extend(folder("devices")?);
    let (registry, problems) = Registry::load(&files, district()?);
    let Some(registry) = registry else { bail!("devices do not load: {:?}", problems.first()) };
    let (shared, problems) = Shared::new(Arc::new(registry));
    shared.with_context(|| format!("rules do not compile: {:?}", problems.first()))
}

/// Village units, in the district's order.
#[must_use]
pub fn villages(district: &District) -> Vec<Arc<str>> {
    let villages = district.units().filter(|unit| district.tier(&unit.id) == Some(Tier::Village));
    villages.map(|unit| unit.id.clone()).collect()
}

/// A place of its own for every number.
#[must_use]
pub fn point(number: usize) -> Point {
    let (row, column) = ((number / ROW) as i32, (number % ROW) as i32);
    Point { lon_e6: 120_900_000 + column * STEP_E6, lat_e6: 31_000_000 + row * STEP_E6 }
}

/// Alarms of as many devices, each an incident of its own that is dispatched at once.
#[must_use]
pub fn alarms(district: &District, count: usize, now: i64) -> Vec<Signal> {
    const CATEGORIES: [&str; 4] = ["fire.smoke", "pipe.gas", "flood.level", "env.dust"];
    let villages = villages(district);
    let alarm = |number: usize| {
        let device = format!("bench-01/B-{number:06}");
        Signal {
            source: format!("device/{device}"),
            event_id: Id(number as u128 + 1).to_string(),
            kind: SignalKind::Raise,
            alarm_key: format!("{device}/leak"),
            category: CATEGORIES[number % CATEGORIES.len()].to_owned(),
            severity: AlarmSeverity::Major,
            time: now,
            since: now,
            received_at: now,
            device,
            asset: None,
            place: Some(villages[number % villages.len()].to_string()),
            point: Some(point(number)),
            cause: String::new(),
            text: "concentration=12.5 %LEL >= 10".to_owned(),
            reading: None,
            members: Vec::new(),
        }
    };
    (0..count).map(alarm).collect()
}

/// A device of a benchmark's own list.
#[derive(Clone, Debug)]
pub struct Device {
    /// Product key.
    pub product: &'static str,
    /// Device name.
    pub name: String,
}

impl Device {
    /// Client id and user name.
    #[must_use]
    pub fn client_id(&self) -> String {
        format!("{}.{}", self.product, self.name)
    }

    /// Its password.
    #[must_use]
    pub fn secret(&self) -> String {
        format!("demo-secret-{}-0001", self.name)
    }

    /// Its connection; without a password for an open broker.
    #[must_use]
    pub fn connection(&self, with_password: bool) -> LoadClient {
        let password = with_password.then(|| self.secret());
        LoadClient { id: self.client_id(), password, topic: self.topic() }
    }

    /// Topic of its properties.
    #[must_use]
    pub fn topic(&self) -> String {
        format!("iot/v1/{}/{}/up/property", self.product, self.name)
    }
}

/// The embedded hub with the benches' configuration and these further settings.
#[must_use]
pub fn plan(data: &Path, set: Vec<String>) -> Plan {
    let config = repository().join("config/bench.toml");
    Plan { mode: Mode::Embedded, data: data.to_path_buf(), config, set }
}

/// As many devices of a product.
#[must_use]
pub fn devices(product: &'static str, prefix: &str, count: usize) -> Vec<Device> {
    (0..count).map(|number| Device { product, name: format!("{prefix}-{number:05}") }).collect()
}

/// Writes a folder with one device list, for `district.devices`.
///
/// # Errors
/// The file system's.
pub fn write_devices(folder: &Path, devices: &[Device]) -> anyhow::Result<()> {
    let district = district()?;
    let villages = villages(&district);
    let mut text = String::from(
        "product_key,device_name,area_code,name,asset_id,lon,lat,datum,attrs,secret\n",
    );
    for (number, device) in devices.iter().enumerate() {
        let Point { lon_e6, lat_e6 } = point(number);
        let village = &villages[number % villages.len()];
        writeln!(
            text,
            "{},{},{village},{},,{}.{:06},{}.{:06},WGS84,,{}",
            device.product,
            device.name,
            device.name,
            lon_e6 / 1_000_000,
            lon_e6 % 1_000_000,
            lat_e6 / 1_000_000,
            lat_e6 % 1_000_000,
            device.secret()
        )?;
    }
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("bench.csv"), text)?;
    Ok(())
}

/// A message of a noise and dust station, about 250 bytes, within all limits.
pub fn station_message(seq: u64, now: i64, out: &mut Vec<u8>) {
    let (step, digits) = (seq % 400, seq % 10_000);
    let (noise, pm10, pm25) = (50 + step % 15, 40 + step % 90, 20 + step % 50);
    let (temperature, humidity, wind) = (10 + step % 20, 40 + step % 50, step % 9);
    let text = format!(
        "{{\"boot\":1,\"seq\":{seq},\"id\":\"4f1c52aa-90d3-4b1e-8e35-{seq:012x}\",\"ts\":{now},\"params\":{{\
         \"noise\":{noise}.{digits:012},\"pm10\":{pm10}.{digits:012},\"pm25\":{pm25}.{digits:012},\
         \"temperature\":{temperature}.{digits:012},\"humidity\":{humidity}.{digits:012},\
         \"windSpeed\":{wind}.{digits:012}}}}}"
    );
    out.extend_from_slice(text.as_bytes());
}

/// A message of a gas detector.
pub fn gas_message(seq: u64, now: i64, concentration: f64, out: &mut Vec<u8>) {
    let text = format!(
        r#"{{"boot":1,"seq":{seq},"ts":{now},"params":{{"concentration":{concentration},"temperature":18.25}}}}"#
    );
    out.extend_from_slice(text.as_bytes());
}

/// Now, ms UTC.
#[must_use]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use yiwang_core::codec::{Message, Received, Scratch};
    use yiwang_core::record::BodyKind;
    use yiwang_core::sample::Samples;

    use super::*;

    #[test]
    fn messages_are_understood_whole() {
        let shared = shared().unwrap();
        let now = now_ms();
        let mut station = Vec::new();
        station_message(123_456, now, &mut station);
        assert!((240..=260).contains(&station.len()), "{}", station.len());
        let mut gas = Vec::new();
        gas_message(1, now, 40.5, &mut gas);
        for (product, payload, values) in [("nd-01", &station, 6), ("gas-01", &gas, 2)] {
            let (kind, path) = (BodyKind::Property, "property");
            let message = Message { kind, path, payload, received: Received::At(now) };
            let mut samples = Samples::default();
            let product = shared.registry().product(product).unwrap();
            product.decode(&message, &mut Scratch::default(), &mut samples).unwrap();
            assert_eq!(samples.values.len(), values);
            assert!(samples.values.iter().all(|value| value.flags.0 == 0));
        }
    }

    #[test]
    fn the_device_list_loads() {
        let folder = tempfile::tempdir().unwrap();
        write_devices(folder.path(), &devices("gas-01", "G", 500)).unwrap();
        let mut files = super::folder("products").unwrap();
        let text = std::fs::read_to_string(folder.path().join("bench.csv")).unwrap();
        files.insert("bench.csv".to_owned(), text);
        let (registry, problems) = Registry::load(&files, district().unwrap());
        let registry = registry.unwrap_or_else(|| panic!("{:?}", problems.first()));
        assert_eq!(registry.devices.len(), 500);
    }
}
