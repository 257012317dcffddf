//! The shipped configuration: its devices connect with their secrets, under the limits of their products.

use std::path::Path;
use std::sync::Arc;

use yiwang_core::district::{District, FileSet};
use yiwang_core::registry::Registry;
use yiwang_gateway::{Directory, RawConfig, RawKafka};
use yiwang_log::{Log, MemoryConfig, Route, key_hash};

use super::support::{Client, Hub, connect, intake, listener, pepper, topics};

/// Every file of a folder, by its name.
fn read(root: &Path, folder: &str) -> FileSet {
    let mut files = FileSet::new();
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        files.insert(name, std::fs::read_to_string(path).unwrap());
    }
    files
}

fn registry() -> (Registry, String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let (district, problems) = District::load(&read(&root, "district"));
    let district = Arc::new(district.unwrap_or_else(|| panic!("{problems:?}")));
    let mut files = read(&root, "products");
    files.extend(read(&root, "devices"));
    let row =
        files.values().flat_map(|text| text.lines()).find(|line| line.contains(",demo-secret-"));
    let row: Vec<&str> = row.expect("the demo devices have secrets").split(',').collect();
    let (id, secret) = (format!("{}.{}", row[0], row[1]), row[row.len() - 1].to_owned());
    let (registry, problems) = Registry::load(&files, district);
    (registry.unwrap_or_else(|| panic!("{problems:?}")), id, secret)
}

#[tokio::test]
async fn shipped_devices_connect() {
    let (mut registry, id, secret) = registry();
    let pepper = pepper();
    pepper.seal_registry(&mut registry);
    let hub = Hub::start(listener()).await;
    hub.directory.store(Arc::new(Directory::of(Arc::new(registry), Arc::default(), pepper)));
    for (secret, code) in [(secret.as_str(), 0), ("another secret", 0x86)] {
        let mut client = Client::open(hub.address(), 5).await;
        client.send(&connect(5, &id, Some(&id), secret, 60)).await;
        assert_eq!(client.packet().await.unwrap()[3], code, "{id}");
        if code == 0 {
            client
                .publish(&format!("iot/v1/{}/up/property", id.replacen('.', "/", 1)), 1, b"{}")
                .await;
            assert_eq!(client.packet().await.unwrap(), [0x40, 2, 0, 1]);
        }
    }
    hub.finish().await;
}

const SECRET: &str = "a secret of a radar";
const RADAR: &str = "wl-radar-01/R-1";
const COVER: &str = "manhole-01/M-2";

/// A radar, by itself or behind a manhole cover.
fn bound(gateway: &str) -> Directory {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let (district, _) = District::load(&read(&root, "district"));
    let mut files = read(&root, "products");
    let rows = format!(
        "product_key,device_name,area_code,gateway,secret\n\
         manhole-01,M-2,310118001001,,\nwl-radar-01,R-1,310118001001,{gateway},{SECRET}\n"
    );
    files.insert("devices.csv".to_owned(), rows);
    let (registry, problems) = Registry::load(&files, Arc::new(district.unwrap()));
    let mut registry = registry.unwrap_or_else(|| panic!("{problems:?}"));
    pepper().seal_registry(&mut registry);
    Directory::of(Arc::new(registry), Arc::default(), pepper())
}

/// One partition has all of a device, whether it speaks for itself or a gateway device speaks for it.
#[tokio::test]
async fn a_device_behind_another_is_stored_beside_it() {
    let log = Log::open_memory(MemoryConfig::default(), topics()).unwrap();
    let both = RawConfig { kafka: Some(RawKafka::default()), ..intake(listener()) };
    let mut hub = Hub::with(both, log.clone()).await;
    let of = |device: &str| log.partition_of("raw", key_hash(device.as_bytes()));
    assert_ne!(of(RADAR), of(COVER), "else nothing is shown");
    let mut client: Option<Client> = None;
    for (gateway, place) in [("", RADAR), (COVER, COVER)] {
        hub.directory.store(bound(gateway).into());
        if let Some(old) = &mut client {
            // It would go on writing to where nobody looks for it.
            assert_eq!(old.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x98)));
        }
        let client = client.insert(Client::open(hub.address(), 5).await);
        client.send(&connect(5, "wl-radar-01.R-1", Some("wl-radar-01.R-1"), SECRET, 60)).await;
        assert_eq!(client.packet().await.unwrap()[3], 0);
        client.publish("iot/v1/wl-radar-01/R-1/up/property", 1, b"{}").await;
        let mut batch = log.writer().spare();
        let (topic, route) = (log.topic("yiwang.intake.v1").unwrap(), Route::Key { hash: 0 });
        batch.push(topic, route, RADAR.as_bytes(), &[], b"{}");
        log.writer().append(batch).await.unwrap().safe().await.unwrap();
        for stored in hub.stored(2).await {
            assert_eq!((&*stored.device, stored.partition), (RADAR, of(place)), "{stored:?}");
        }
        assert_eq!(client.packet().await.unwrap(), [0x40, 2, 0, 1]);
    }
    hub.finish().await;
}
