//! The MQTT front against an independent client, and against noise.

use std::time::Duration;

use super::support::{self, Client, Hub, connect, frame, listener, publish};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode};
use yiwang_core::record::Lane;

fn options(hub: &Hub) -> MqttOptions {
    let mut options = MqttOptions::new("p.a", "127.0.0.1", hub.address().port());
    options.set_credentials("p.a", "secret-a").set_keep_alive(Duration::from_secs(5));
    options
}

async fn next(events: &mut EventLoop) -> Packet {
    loop {
        let event = tokio::time::timeout(support::PATIENCE, events.poll()).await.unwrap();
        if let Event::Incoming(packet) = event.unwrap() {
            return packet;
        }
    }
}

#[tokio::test]
async fn rumqttc_publishes_and_subscribes() {
    let mut hub = Hub::start(listener()).await;
    let (client, mut events) = AsyncClient::new(options(&hub), 1000);
    assert!(matches!(next(&mut events).await, Packet::ConnAck(_)));
    client.try_subscribe("iot/v1/p/a/down/#", QoS::AtLeastOnce).unwrap();
    let Packet::SubAck(granted) = next(&mut events).await else { panic!("no SUBACK") };
    assert_eq!(granted.return_codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    for n in 0..500 {
        let payload = n.to_string();
        client.try_publish("iot/v1/p/a/up/property", QoS::AtLeastOnce, false, payload).unwrap();
    }
    let mut acked = 0;
    while acked < 500 {
        acked += usize::from(matches!(next(&mut events).await, Packet::PubAck(_)));
    }
    let stored = hub.stored(500).await;
    let expected: Vec<_> = (0..500).map(|n| n.to_string().into_bytes()).collect();
    assert_eq!(stored.into_iter().map(|raw| raw.payload).collect::<Vec<_>>(), expected);
    drop((client, events));
    hub.finish().await;
}

#[tokio::test]
async fn rumqttc_v5_publishes() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    let hub = Hub::start(listener()).await;
    let mut options = rumqttc::v5::MqttOptions::new("p.a", "127.0.0.1", hub.address().port());
    options.set_credentials("p.a", "secret-a").set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 1000);
    for n in 0..300 {
        let payload = n.to_string();
        client.try_publish("iot/v1/p/a/up/property", QoS::AtLeastOnce, false, payload).unwrap();
    }
    let mut acked = 0;
    while acked < 300 {
        let event = tokio::time::timeout(support::PATIENCE, events.poll()).await.unwrap().unwrap();
        if let rumqttc::v5::Event::Incoming(Packet::PubAck(_)) = event {
            acked += 1;
        }
    }
    drop((client, events));
    let handle = hub.finish().await;
    assert_eq!(handle.ledger().row(Lane::Listen).acknowledged, 300);
}

/// Streams that are nearly MQTT: whole packets, damaged packets and noise.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let up = "iot/v1/p/a/up/property";
    let whole = prop_oneof![
        Just(connect(4, "p.a", Some("p.a"), "secret-a", 60)),
        Just(connect(5, "p.a", Some("p.a"), "secret-a", 60)),
        Just(publish(4, 0x32, up, 1, b"{}")),
        Just(publish(5, 0x3A, up, 2, b"{}")),
        Just(publish(4, 0x30, up, 0, b"{}")),
        Just(publish(4, 0x32, "a/b", 3, b"{}")),
        Just(vec![0xC0, 0]),
        Just(vec![0xE0, 0]),
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(header, body)| frame(header, &body)),
    ];
    let damaged = (whole.clone(), any::<proptest::sample::Index>(), any::<u8>()).prop_map(
        |(mut packet, at, byte)| {
            let at = at.index(packet.len());
            packet[at] = byte;
            packet
        },
    );
    let noise = proptest::collection::vec(any::<u8>(), 1..50);
    let piece = prop_oneof![4 => whole, 2 => damaged, 1 => noise];
    (any::<bool>(), any::<bool>(), proptest::collection::vec(piece, 0..8)).prop_map(
        |(connected, v5, pieces)| {
            let level = if v5 { 5 } else { 4 };
            let hello = connect(level, "p.a", Some("p.a"), "secret-a", 60);
            let mut bytes = if connected { hello } else { Vec::new() };
            bytes.extend(pieces.concat());
            bytes
        },
    )
}

#[test]
fn noise_ends_the_connection_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut listen = listener();
    listen.connect_timeout_ms = 200;
    let hub = runtime.block_on(Hub::start(listen));
    let mut runner = TestRunner::new(Config::with_cases(300));
    let fuzz = runner.run(&stream(), |bytes| {
        runtime.block_on(async {
            let mut client = Client::open(hub.address(), 4).await;
            // The gateway may close while we still write.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bytes).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await;
            let mut answer = Vec::new();
            let read = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut answer);
            let ended = tokio::time::timeout(support::PATIENCE, read).await;
            prop_assert!(ended.is_ok(), "not closed after {:02x?}", bytes);
            Ok(())
        })
    });
    fuzz.unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(hub.address(), 4, "b").await;
        client.publish("iot/v1/p/b/up/property", 9, b"{}").await;
        assert_eq!(client.packet().await, Some(vec![0x40, 2, 0, 9]), "it still serves");
        drop(client);
        hub.finish().await;
    });
}
