//! A log with less room than is sent, over real connections: a flood waits for itself, nobody else does.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use yiwang_gateway::{Directory, Entry, Pepper, RawConfig, RawPressure, Share, Urgency};
use yiwang_log::{Faults, Log, MemoryConfig};

use crate::support::{Client, Hub, intake, listener, pepper, publish, seal, topics};

const FLOOD: usize = 40;
/// Messages that a flooding connection sends at once.
const WINDOW: u16 = 20;
const PAYLOAD: [u8; 1_000] = [b' '; 1_000];
/// How often somebody else sends meanwhile.
const TURNS: usize = 60;

fn shared(devices: impl Iterator<Item = (String, Share)>, pepper: Pepper) -> Directory {
    let entry = |(name, share): (String, Share)| {
        let seal = Some(seal(&format!("secret-{name}")));
        (format!("p/{name}").into(), Entry { seal, admitted: true, node: None, quota: None, share })
    };
    Directory::listed(devices.map(entry), pepper)
}

/// How long each window took until its last PUBACK, from the first byte.
async fn send(
    mut client: Client,
    name: String,
    window: u16,
    stop: CancellationToken,
) -> Vec<Duration> {
    let topic = format!("iot/v1/p/{name}/up/property");
    let turns = if window == 1 { TURNS } else { usize::MAX };
    let mut took = Vec::new();
    while took.len() < turns && !stop.is_cancelled() {
        let frames: Vec<u8> =
            (1..=window).flat_map(|id| publish(4, 0x32, &topic, id, &PAYLOAD)).collect();
        let begun = Instant::now();
        client.send(&frames).await;
        for id in 1..=window {
            let answer = client.packet().await.expect("PUBACK");
            assert_eq!(answer[2..], id.to_be_bytes(), "in order of arrival");
        }
        took.push(begun.elapsed());
    }
    took
}

fn mean(took: &[Duration]) -> f64 {
    assert!(!took.is_empty(), "it is served");
    took.iter().map(Duration::as_secs_f64).sum::<f64>() / took.len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_waits_for_itself() {
    let faults = Faults { sync_delay_max: Duration::from_millis(20), ..Faults::default() };
    let config = MemoryConfig { faults, queue_bytes_max: 8 << 10, ..MemoryConfig::default() };
    let log = Log::open_memory(config, topics()).unwrap();
    let pressure = RawPressure { door_bytes_max: 4 << 10, ..RawPressure::default() };
    let hub = Hub::with(RawConfig { pressure, ..intake(listener()) }, log).await;
    let flood = (0..FLOOD).map(|number| (format!("f{number}"), Share::plain("flood")));
    let smoke = Share { life_safety: true, ..Share::plain("flood") };
    let others = [("quiet".to_owned(), Share::plain("quiet")), ("smoke".to_owned(), smoke)];
    hub.directory.store(shared(flood.chain(others), pepper()).into());

    let stop = CancellationToken::new();
    let mut flooding = JoinSet::new();
    for number in 0..FLOOD {
        let name = format!("f{number}");
        let client = Client::connect(hub.address(), 4, &name).await;
        flooding.spawn(send(client, name, WINDOW, stop.clone()));
    }
    let alone = |name: &str| {
        let (address, name, stop) = (hub.address(), name.to_owned(), stop.clone());
        tokio::spawn(async move {
            let client = Client::connect(address, 4, &name).await;
            send(client, name, 1, stop).await
        })
    };
    let (quiet, smoke) = (alone("quiet"), alone("smoke"));
    let (quiet, smoke) = (mean(&quiet.await.unwrap()), mean(&smoke.await.unwrap()));
    stop.cancel();
    let flood: Vec<_> = flooding.join_all().await.into_iter().flatten().collect();
    let flood = mean(&flood);
    println!("flood {flood:.3} s, quiet {quiet:.3} s, life safety {smoke:.3} s");
    assert!(quiet * 3.0 < flood, "another tenant: {quiet} of {flood} s");
    assert!(smoke * 3.0 < flood, "life safety of the same tenant: {smoke} of {flood} s");
    let waited = hub.handle.waited();
    for lane in Urgency::ALL {
        assert!(waited[lane as usize].batches > 0, "{} is counted: {waited:?}", lane.as_str());
    }
    hub.finish().await;
}
