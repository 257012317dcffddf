//! The MQTT front over real sockets: who gets in, what is answered, and that nothing is acknowledged too early.

use std::time::Duration;

use super::support::{self, Client, Hub, NOW, connect, frame, listener, publish, text};
use yiwang_core::record::{BodyKind, Lane};
use yiwang_gateway::{Closed, ConnectRefused, Refused, Shed};
use yiwang_log::{Faults, Log, MemoryConfig, Retention, TopicSpec};

const UP: &str = "iot/v1/p/a/up/property";
const PING: [u8; 2] = [0xC0, 0];
const PONG: [u8; 2] = [0xD0, 0];

fn puback(packet_id: u16) -> Vec<u8> {
    let [high, low] = packet_id.to_be_bytes();
    vec![0x40, 2, high, low]
}

#[tokio::test]
async fn stores_and_acknowledges_both_versions() {
    let mut hub = Hub::start(listener()).await;
    for level in [4, 5] {
        let mut client = Client::connect(hub.address(), level, "a").await;
        client.publish(UP, 7, b"{\"level\":1.27}").await;
        assert_eq!(client.packet().await, Some(puback(7)));
        client.send(&publish(level, 0x30, "iot/v1/p/a/up/event/tamper", 0, b"{}")).await;
        client.publish("iot/v1/p/a/up/raw", 8, &[0, 255]).await;
        assert_eq!(client.packet().await, Some(puback(8)));
        client.send(&[0xE0, 0]).await;
        client.closed().await;
        let stored = hub.stored(3).await;
        let kinds: Vec<_> = stored.iter().map(|raw| (raw.kind, raw.path.as_str())).collect();
        let expected = [
            (BodyKind::Property, "property"),
            (BodyKind::Event, "event/tamper"),
            (BodyKind::Raw, "raw"),
        ];
        assert_eq!(kinds, expected);
        assert!(stored.iter().all(|raw| raw.device == "p/a" && raw.lane == Lane::Listen));
        assert!(stored.iter().all(|raw| raw.received_at == NOW && raw.listener == "mqtt"));
        assert_eq!(stored[0].payload, b"{\"level\":1.27}");
    }
    let handle = hub.finish().await;
    let row = handle.ledger().row(Lane::Listen);
    assert_eq!((row.received, row.appended, row.acknowledged), (6, 6, 4));
    assert_eq!(handle.stats().closed_total(Closed::Disconnect), 2);
}

#[tokio::test]
async fn refuses_to_connect() {
    let hub = Hub::start(listener()).await;
    let cases: [(&str, Option<&str>, &str, u8, u8); 8] = [
        ("p.a", Some("p.a"), "wrong", 0x86, 4),
        ("p.a", None, "", 0x86, 4),
        ("p.a", Some("p.b"), "secret-a", 0x86, 4),
        ("p.a", Some("p.b"), "secret-b", 0x86, 4),
        ("p.unknown", Some("p.unknown"), "secret-a", 0x86, 4),
        ("p.off", Some("p.off"), "secret-off", 0x87, 5),
        ("p.off", Some("p.off"), "wrong", 0x86, 4),
        ("nobody", Some("nobody"), "secret-a", 0x85, 2),
    ];
    for (id, user, secret, v5, v3) in cases {
        for (level, code) in [(5, v5), (4, v3)] {
            let mut client = Client::open(hub.address(), level).await;
            client.send(&connect(level, id, user, secret, 60)).await;
            let answer = client.packet().await.expect("CONNACK");
            assert_eq!(
                (answer[0], answer[3]),
                (0x20, code),
                "{id} {user:?} {secret} level {level}"
            );
            client.closed().await;
        }
    }
    let mut client = Client::open(hub.address(), 3).await;
    client.send(&frame(0x10, &[text("MQIsdp"), vec![3, 2, 0, 60], text("p.a")].concat())).await;
    assert_eq!(client.packet().await, Some(vec![0x20, 2, 0, 1]));
    client.closed().await;
    let handle = hub.finish().await;
    assert_eq!(handle.stats().refused_total(ConnectRefused::Credentials), 12);
    assert_eq!(handle.stats().refused_total(ConnectRefused::NotAdmitted), 2);
    assert_eq!(handle.stats().refused_total(ConnectRefused::ClientId), 2);
    assert_eq!(handle.stats().refused_total(ConnectRefused::Version), 1);
    assert_eq!(handle.stats().opened_total(), 0);
}

#[tokio::test]
async fn tells_v5_its_limits() {
    let hub = Hub::start(listener()).await;
    let mut client = Client::open(hub.address(), 5).await;
    client.send(&connect(5, "p.a", Some("p.a"), "secret-a", 5)).await;
    let answer = client.packet().await.unwrap();
    let has = |property: &[u8]| answer.windows(property.len()).any(|window| window == property);
    assert!(has(&[0x21, 0, 100]), "Receive Maximum");
    assert!(has(&[0x24, 1]), "Maximum QoS");
    assert!(has(&[0x27, 0, 1, 0, 0]), "Maximum Packet Size");
    assert!(has(&[0x13, 0, 30]), "Server Keep Alive");
    hub.finish().await;
}

#[tokio::test]
async fn foreign_topics() {
    let hub = Hub::start(listener()).await;
    let mut v5 = Client::connect(hub.address(), 5, "a").await;
    v5.publish("iot/v1/p/b/up/property", 1, b"{}").await;
    v5.publish(UP, 2, b"{}").await;
    v5.publish("iot/v1/p/a/up/nothing", 3, b"{}").await;
    v5.send(&publish(5, 0x33, UP, 4, b"{}")).await;
    v5.send(&publish(5, 0x33, "iot/v1/p/a/up/status", 5, b"{}")).await;
    assert_eq!(v5.packet().await, Some(vec![0x40, 3, 0, 1, 0x87]));
    assert_eq!(v5.packet().await, Some(puback(2)));
    assert_eq!(v5.packet().await, Some(vec![0x40, 3, 0, 3, 0x87]));
    assert_eq!(v5.packet().await, Some(vec![0x40, 3, 0, 4, 0x87]));
    assert_eq!(v5.packet().await, Some(puback(5)));
    let mut v3 = Client::connect(hub.address(), 4, "b").await;
    v3.publish("iot/v1/p/a/up/property", 1, b"{}").await;
    v3.closed().await;
    drop(v5);
    let handle = hub.finish().await;
    let row = handle.ledger().row(Lane::Listen);
    assert_eq!(row.refused[Refused::ForeignIdentity as usize], 2);
    assert_eq!(row.refused[Refused::NotAllowed as usize], 1);
    assert_eq!(row.refused[Refused::Retained as usize], 1);
    assert_eq!((row.received, row.appended, row.acknowledged), (6, 2, 2));
    assert_eq!(handle.stats().closed_total(Closed::Topic), 1);
}

#[tokio::test]
async fn too_large() {
    let hub = Hub::start(listener()).await;
    let payload = vec![b'x'; 300 * 1024];
    let mut v5 = Client::connect(hub.address(), 5, "a").await;
    v5.publish(UP, 1, &payload).await;
    assert_eq!(v5.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x95)));
    v5.closed().await;
    let mut v3 = Client::connect(hub.address(), 4, "b").await;
    v3.publish("iot/v1/p/b/up/property", 1, &payload).await;
    v3.closed().await;
    let handle = hub.finish().await;
    assert_eq!(handle.ledger().row(Lane::Listen).refused[Refused::Size as usize], 2);
    assert_eq!(handle.stats().closed_total(Closed::TooLarge), 2);
}

#[tokio::test]
async fn qos_2_is_not_spoken() {
    let hub = Hub::start(listener()).await;
    for (level, name) in [(5, "a"), (4, "b")] {
        let mut client = Client::connect(hub.address(), level, name).await;
        let topic = format!("iot/v1/p/{name}/up/property");
        client.send(&publish(level, 0x34, &topic, 1, b"{}")).await;
        if level == 5 {
            assert_eq!(client.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x9B)));
        }
        client.closed().await;
    }
    let handle = hub.finish().await;
    assert_eq!(handle.ledger().row(Lane::Listen).refused[Refused::Qos as usize], 2);
}

#[tokio::test]
async fn subscriptions_and_pings() {
    let hub = Hub::start(listener()).await;
    let own = "iot/v1/p/a/down/#";
    let entry = |filter: &str, qos: u8| [text(filter), vec![qos]].concat();
    let entries = [
        entry(own, 2),
        entry("iot/v1/p/b/down/#", 1),
        entry("#", 0),
        entry("iot/v1/p/a/down/+", 0),
    ];
    let mut v3 = Client::connect(hub.address(), 4, "a").await;
    v3.send(&frame(0x82, &[vec![0, 9], entries.concat()].concat())).await;
    assert_eq!(v3.packet().await, Some(vec![0x90, 6, 0, 9, 1, 0x80, 0x80, 0]));
    v3.send(&PING).await;
    assert_eq!(v3.packet().await, Some(PONG.to_vec()));
    v3.send(&frame(0xA2, &[vec![0, 10], text(own)].concat())).await;
    assert_eq!(v3.packet().await, Some(vec![0xB0, 2, 0, 10]));
    let mut v5 = Client::connect(hub.address(), 5, "a").await;
    v5.send(&frame(0x82, &[vec![0, 9, 0], entries.concat()].concat())).await;
    assert_eq!(v5.packet().await, Some(vec![0x90, 7, 0, 9, 0, 1, 0x87, 0x87, 0]));
    v5.send(&frame(0xA2, &[vec![0, 10, 0], text(own), text("x")].concat())).await;
    assert_eq!(v5.packet().await, Some(vec![0xB0, 5, 0, 10, 0, 0, 0x11]));
    // The reserved flags of SUBSCRIBE are not optional.
    v5.send(&frame(0x80, &[vec![0, 9, 0], entry(own, 0)].concat())).await;
    assert_eq!(v5.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x81)));
    hub.finish().await;
}

#[tokio::test]
async fn newest_connection_wins() {
    let hub = Hub::start(listener()).await;
    let mut old = Client::connect(hub.address(), 5, "a").await;
    let mut new = Client::connect(hub.address(), 4, "a").await;
    assert_eq!(old.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x8E)));
    old.closed().await;
    new.publish(UP, 1, b"{}").await;
    assert_eq!(new.packet().await, Some(puback(1)));
    let mut third = Client::connect(hub.address(), 4, "a").await;
    new.closed().await;
    third.publish(UP, 1, b"{}").await;
    assert_eq!(third.packet().await, Some(puback(1)));
    let handle = hub.finish().await;
    assert_eq!(handle.stats().taken_over_total(), 2);
    assert_eq!(handle.stats().closed_total(Closed::TakenOver), 2);
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let mut listen = listener();
    listen.keep_alive_min_s = 1;
    listen.connect_timeout_ms = 300;
    let hub = Hub::start(listen).await;
    let mut mute = Client::open(hub.address(), 4).await;
    let mut v5 = Client::open(hub.address(), 5).await;
    v5.send(&connect(5, "p.a", Some("p.a"), "secret-a", 1)).await;
    v5.packet().await.expect("CONNACK");
    mute.closed().await;
    assert_eq!(v5.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x8D)));
    let handle = hub.finish().await;
    assert_eq!(handle.stats().refused_total(ConnectRefused::NoConnect), 1);
    assert_eq!(handle.stats().closed_total(Closed::KeepAlive), 1);
}

#[tokio::test]
async fn puback_comes_after_the_receipt_and_in_order() {
    let faults = Faults {
        sync_delay_max: Duration::from_millis(30),
        receipt_delay_max: Duration::from_millis(30),
        append_delay_max: Duration::from_millis(5),
        ..Faults::default()
    };
    let config = MemoryConfig { seed: 7, faults, ..MemoryConfig::default() };
    let topics = vec![TopicSpec::stream("raw", 1, &[])];
    let log = Log::open_memory(config, topics).unwrap();
    let hub = Hub::with(support::intake(listener()), log).await;
    let mut client = Client::connect(hub.address(), 4, "a").await;
    let (mut sent, mut acked) = (0_u16, 0_u16);
    while acked < 200 {
        // Bursts of different sizes, so that one read holds one message or many.
        while sent < 200 && sent - acked < 1 + (acked * 7) % 60 {
            sent += 1;
            client.publish(UP, sent, b"{}").await;
        }
        acked += 1;
        assert_eq!(client.packet().await, Some(puback(acked)));
        assert!(hub.heads().await >= u64::from(acked), "acknowledged {acked} before it was safe");
    }
    hub.finish().await;
}

#[tokio::test]
async fn slow_log_keeps_answering_pings_and_drops_only_qos_0() {
    // A full topic with an unread reader: appends wait until the reader commits.
    let mut raw = TopicSpec::stream("raw", 1, &["router"]);
    raw.retention = Retention { bytes_max: 1, ..Retention::default() };
    let log = Log::open_memory(MemoryConfig::default(), vec![raw]).unwrap();
    let mut listen = listener();
    listen.look_ahead_bytes_max = 8 * 1024;
    listen.shed_after_ms = 50;
    let hub = Hub::with(support::intake(listen), log.clone()).await;
    hub.until("a tick fills the topic", |handle| handle.stats().ticks_total() > 0).await;
    let mut client = Client::connect(hub.address(), 5, "a").await;
    client.publish(UP, 1, b"{}").await;
    client.send(&PING).await;
    assert_eq!(client.packet().await, Some(PONG.to_vec()), "while the log waits");
    client.publish(UP, 2, b"{}").await;
    for _ in 0..4 {
        client.send(&publish(5, 0x30, UP, 0, &[b'x'; 1024]).repeat(16)).await;
        client.send(&PING).await;
        assert_eq!(client.packet().await, Some(PONG.to_vec()), "behind dropped messages");
    }
    let log_waits = |row: &yiwang_gateway::Row| row.shed[Shed::LogWaiting as usize];
    assert!(log_waits(&hub.handle.ledger().row(Lane::Listen)) > 0);
    assert_eq!(hub.handle.ledger().row(Lane::Listen).acknowledged, 0);
    let mut late = Client::open(hub.address(), 5).await;
    let busy = loop {
        late.send(&connect(5, "p.b", Some("p.b"), "secret-b", 60)).await;
        let code = late.packet().await.unwrap()[3];
        late = Client::open(hub.address(), 5).await;
        if code != 0 {
            break code;
        }
    };
    assert_eq!(busy, 0x89, "new connections are told that the hub is busy");
    let reader = log.reader("raw", "router", yiwang_log::Start::Committed).await.unwrap();
    let release = tokio::spawn(commit_everything(reader));
    assert_eq!(client.packet().await, Some(puback(1)));
    assert_eq!(client.packet().await, Some(puback(2)));
    drop(client);
    let handle = hub.finish().await;
    release.abort();
    let row = handle.ledger().row(Lane::Listen);
    assert_eq!(row.acknowledged, 2);
    assert!(row.appended >= 2 && row.imbalance() == 0);
}

async fn commit_everything(mut reader: yiwang_log::Reader) {
    let committer = reader.committer();
    loop {
        if let yiwang_log::Event::Records(records) =
            reader.next(yiwang_log::BatchLimit::default()).await.unwrap()
        {
            if records.is_empty() {
                return;
            }
            committer.commit(records.end()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn window_is_kept() {
    let faults = Faults { sync_delay_max: Duration::from_millis(200), ..Faults::default() };
    let config = MemoryConfig { seed: 3, faults, ..MemoryConfig::default() };
    let log = Log::open_memory(config, support::topics()).unwrap();
    let mut listen = listener();
    listen.receive_maximum = 4;
    let hub = Hub::with(support::intake(listen), log).await;
    // v3.1.1 is simply not read beyond the window, v5 was told and is cut off.
    let mut v3 = Client::connect(hub.address(), 4, "a").await;
    let burst: Vec<u8> = (1..=50).flat_map(|id| publish(4, 0x32, UP, id, b"{}")).collect();
    v3.send(&burst).await;
    for id in 1..=50 {
        assert_eq!(v3.packet().await, Some(puback(id)));
    }
    let mut v5 = Client::connect(hub.address(), 5, "b").await;
    let up = "iot/v1/p/b/up/property";
    let burst: Vec<u8> = (1..=5).flat_map(|id| publish(5, 0x32, up, id, b"{}")).collect();
    v5.send(&burst).await;
    assert_eq!(v5.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x93)));
    let handle = hub.finish().await;
    let row = handle.ledger().row(Lane::Listen);
    assert_eq!(row.refused[Refused::ReceiveMaximum as usize], 1);
    assert_eq!(row.appended, 54);
}

#[tokio::test]
async fn topic_aliases() {
    let mut hub = Hub::start(listener()).await;
    let mut client = Client::connect(hub.address(), 5, "a").await;
    let aliased = |topic: &str, id: u8, alias: u8| {
        frame(0x32, &[text(topic), vec![0, id, 3, 0x23, 0, alias], b"{}".to_vec()].concat())
    };
    client.send(&aliased(UP, 1, 16)).await;
    client.send(&aliased("", 2, 16)).await;
    assert_eq!(client.packet().await, Some(puback(1)));
    assert_eq!(client.packet().await, Some(puback(2)));
    assert_eq!(hub.stored(2).await[1].path, "property");
    client.send(&aliased("", 3, 2)).await;
    assert_eq!(client.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x94)));
    hub.finish().await;
}

#[tokio::test]
async fn rate_is_limited_by_not_reading() {
    let mut listen = listener();
    listen.messages_per_second_max = 200;
    listen.burst_max = 10;
    let hub = Hub::start(listen).await;
    let mut client = Client::connect(hub.address(), 4, "a").await;
    let began = std::time::Instant::now();
    let burst: Vec<u8> = (1..=60).flat_map(|id| publish(4, 0x32, UP, id, b"{}")).collect();
    client.send(&burst).await;
    client.send(&PING).await;
    let (mut pong, mut next) = (None, 1);
    while next <= 60 {
        let packet = client.packet().await.unwrap();
        if packet == PONG {
            pong = Some(next);
        } else {
            assert_eq!(packet, puback(next));
            next += 1;
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(240), "50 messages at 200 a second");
    assert!(pong.is_some_and(|at| at < 60), "the ping does not wait for the bucket");
    hub.finish().await;
}

#[tokio::test]
async fn flapping_device_is_kept_out() {
    let mut listen = listener();
    listen.connects_per_minute_max = 2;
    let hub = Hub::start(listen).await;
    for code in [0, 0, 0x8A, 0x8A] {
        let mut client = Client::open(hub.address(), 5).await;
        client.send(&connect(5, "p.a", Some("p.a"), "secret-a", 60)).await;
        assert_eq!(client.packet().await.unwrap()[3], code);
    }
    Client::connect(hub.address(), 5, "b").await;
    let handle = hub.finish().await;
    assert_eq!(handle.stats().refused_total(ConnectRefused::TooOften), 2);
}

#[tokio::test]
async fn disabled_device_is_cut() {
    let hub = Hub::start(listener()).await;
    let mut client = Client::connect(hub.address(), 5, "a").await;
    let mut other = Client::connect(hub.address(), 5, "b").await;
    let changed = support::directory(&[("p/a", "secret-a", false), ("p/b", "secret-b", true)]);
    hub.directory.store(changed.into());
    assert_eq!(client.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x87)));
    other.send(&PING).await;
    assert_eq!(other.packet().await, Some(PONG.to_vec()));
    hub.finish().await;
}

#[tokio::test]
async fn halt_acknowledges_nothing_and_ends_the_gateway() {
    let faults = Faults { sync_delay_max: Duration::from_secs(3600), ..Faults::default() };
    let config = MemoryConfig { seed: 1, faults, ..MemoryConfig::default() };
    let log = Log::open_memory(config, support::topics()).unwrap();
    let hub = Hub::with(support::intake(listener()), log.clone()).await;
    let mut client = Client::connect(hub.address(), 5, "a").await;
    client.publish(UP, 1, b"{}").await;
    hub.until("it is in flight", |handle| handle.ledger().row(Lane::Listen).in_flight == 1).await;
    let _after = log.crash();
    assert_eq!(client.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x80)));
    let ended = tokio::time::timeout(support::PATIENCE, hub.running).await.unwrap().unwrap();
    assert!(ended.is_err());
    assert_eq!(hub.handle.ledger().row(Lane::Listen).acknowledged, 0);
}

#[tokio::test]
async fn stop_sends_the_acks_that_receipts_allow() {
    let faults = Faults { sync_delay_max: Duration::from_millis(100), ..Faults::default() };
    let config = MemoryConfig { seed: 5, faults, ..MemoryConfig::default() };
    let log = Log::open_memory(config, support::topics()).unwrap();
    let hub = Hub::with(support::intake(listener()), log).await;
    let mut client = Client::connect(hub.address(), 5, "a").await;
    client.publish(UP, 1, b"{}").await;
    hub.until("it was read", |handle| handle.ledger().row(Lane::Listen).received == 1).await;
    hub.stop.cancel();
    assert_eq!(client.packet().await, Some(puback(1)));
    assert_eq!(client.packet().await.map(|p| (p[0], p[2])), Some((0xE0, 0x8B)));
    hub.finish().await;
}

#[tokio::test]
async fn port_in_use_says_what_to_do() {
    let hub = Hub::start(listener()).await;
    let mut listen = listener();
    listen.address = hub.address();
    let deps = yiwang_gateway::Deps {
        log: hub.log.clone(),
        directory: hub.directory.clone(),
        clock: yiwang_gateway::Clock::default(),
    };
    let config = support::intake(listen).try_into().unwrap();
    let error = yiwang_gateway::Gateway::bind(config, deps).await.err().unwrap();
    let text = error.to_string();
    assert!(text.contains("mqtt") && text.contains(&hub.address().to_string()), "{text}");
    assert!(text.contains("in use") && text.contains("intake.listen.address"), "{text}");
    hub.finish().await;
}
