//! The shipped configuration: its devices connect with their secrets, under the limits of their products.

use std::path::Path;
use std::sync::Arc;

use yiwang_core::district::{District, FileSet};
use yiwang_core::registry::Registry;
use yiwang_gateway::{Directory, Pepper};

use super::support::{Client, Hub, connect, listener};

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
    let pepper = Pepper::new(b"a pepper for tests").unwrap();
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
