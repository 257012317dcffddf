//! Edge nodes at the MQTT front: what they may tell, and the death that is their will.

use super::support::{Client, Hub, NCMD, NOW, frame, listener, publish, text};
use yiwang_core::record::{BodyKind, Lane};
use yiwang_gateway::{CommandFate, Refused};

/// CONNECT of `p.{name}` with a will of QoS 1.
fn connect_with_will(level: u8, name: &str, topic: &str, payload: &str) -> Vec<u8> {
    let mut body = [text("MQTT"), vec![level, 0xCE], 60_u16.to_be_bytes().to_vec()].concat();
    let properties = if level == 5 { &[0][..] } else { &[] };
    body.extend(properties);
    body.extend(text(&format!("p.{name}")));
    body.extend(properties);
    for piece in [topic, payload, &format!("p.{name}"), &format!("secret-{name}")] {
        body.extend(text(piece));
    }
    frame(0x10, &body)
}

async fn open(hub: &Hub, level: u8, name: &str, will: &str) -> (Client, u8) {
    let mut client = Client::open(hub.address(), level).await;
    client.send(&connect_with_will(level, name, will, "dead")).await;
    let answer = client.packet().await.expect("CONNACK");
    (client, answer[3])
}

#[tokio::test]
async fn an_edge_node_tells_its_own() {
    let mut hub = Hub::start(listener()).await;
    let mut client = Client::connect(hub.address(), 5, "a").await;
    client.send(&publish(5, 0x30, "spBv1.0/g/NBIRTH/e", 0, b"n")).await;
    client.send(&publish(5, 0x30, "spBv1.0/g/DBIRTH/e/d1", 0, b"d")).await;
    client.publish("iot/v1/p/a/up/property", 1, b"{}").await;
    assert_eq!(client.packet().await, Some(vec![0x40, 2, 0, 1]));
    let stored = hub.stored(3).await;
    let told: Vec<_> = stored.iter().map(|raw| (raw.kind, raw.path.as_str())).collect();
    let expected = [
        (BodyKind::Raw, "spBv1.0/g/NBIRTH/e"),
        (BodyKind::Raw, "spBv1.0/g/DBIRTH/e/d1"),
        (BodyKind::Property, "property"),
    ];
    assert_eq!(told, expected);
    assert!(stored.iter().all(|raw| raw.device == "p/a"));
    for (packet_id, topic) in (2..).zip(["spBv1.0/g/NDATA/f", "spBv1.0/g/NCMD/e"]) {
        client.publish(topic, packet_id, b"x").await;
        assert_eq!(client.packet().await, Some(vec![0x40, 3, 0, packet_id as u8, 0x87]), "{topic}");
    }
    let body = [vec![0, 9, 0], text("spBv1.0/g/NCMD/e"), vec![0]].concat();
    client.send(&frame(0x82, &body)).await;
    assert_eq!(client.packet().await, Some(vec![0x90, 4, 0, 9, 0, 0]));
    // Another product does not speak the dialect.
    let mut other = Client::connect(hub.address(), 5, "b").await;
    other.publish("spBv1.0/g/NDATA/e", 1, b"x").await;
    assert_eq!(other.packet().await, Some(vec![0x40, 3, 0, 1, 0x87]));
    let handle = hub.finish().await;
    let row = handle.ledger().row(Lane::Listen);
    let refused = |reason: Refused| row.refused[reason as usize];
    let reasons = [Refused::ForeignIdentity, Refused::NotAllowed, Refused::NotNative];
    assert_eq!(reasons.map(refused), [1, 1, 1]);
}

#[tokio::test]
async fn a_broken_connection_leaves_the_death_of_the_node() {
    const DEATH: &str = "spBv1.0/g/NDEATH/e";
    let mut hub = Hub::start(listener()).await;
    for (level, goodbye, dies) in [
        (4, &[][..], true),
        (5, &[], true),
        (4, &[0xE0, 0], false),
        (5, &[0xE0, 0], false),
        (5, &[0xE0, 1, 4], true),
    ] {
        let (mut client, code) = open(&hub, level, "a", DEATH).await;
        assert_eq!(code, 0);
        client.send(&publish(level, 0x30, "spBv1.0/g/NBIRTH/e", 0, b"n")).await;
        client.send(goodbye).await;
        drop(client);
        let count = 1 + usize::from(dies);
        let stored = hub.stored(count).await;
        let paths: Vec<_> = stored.iter().map(|raw| raw.path.as_str()).collect();
        assert_eq!(paths, ["spBv1.0/g/NBIRTH/e", DEATH][..count], "{level} {goodbye:?}");
        assert!(!dies || (stored[1].payload == b"dead" && stored[1].device == "p/a"));
    }
    for (name, will) in [("a", "spBv1.0/g/NDEATH/f"), ("b", DEATH)] {
        let (_, code) = open(&hub, 4, name, will).await;
        assert_eq!(code, 5, "{name} {will}");
    }
    let handle = hub.finish().await;
    assert_eq!(handle.ledger().row(Lane::Listen).appended, 8);
}

/// SUBSCRIBE to one filter with QoS 1, granted.
async fn subscribe(client: &mut Client, level: u8, filter: &str) {
    let properties = if level == 5 { &[0][..] } else { &[] };
    let body = [&[0, 9], properties, &text(filter), &[1]].concat();
    client.send(&frame(0x82, &body)).await;
    let granted = [&[0, 9], properties, &[1]].concat();
    assert_eq!(client.packet().await, Some(frame(0x90, &granted)));
}

#[tokio::test]
async fn a_command_reaches_the_session_of_its_node() {
    for level in [4, 5] {
        let hub = Hub::start(listener()).await;
        // Nobody of that name is here: some other gateway has it.
        hub.command(Lane::Listen, "mqtt", NOW).await;
        let mut client = Client::connect(hub.address(), level, "a").await;
        hub.command(Lane::Listen, "mqtt", NOW - 60_001).await;
        hub.commands(CommandFate::Stale, 1).await;
        subscribe(&mut client, level, "iot/v1/p/a/down/#").await;
        hub.command(Lane::Listen, "mqtt", NOW).await;
        hub.commands(CommandFate::NotSubscribed, 1).await;
        hub.command(Lane::Listen, "mqtt", NOW).await;
        hub.commands(CommandFate::TooOften, 1).await;
        let handle = hub.finish().await;
        assert_eq!(handle.stats().commands_total(CommandFate::Sent), 0);
    }
    for (level, filter) in [(4, NCMD), (5, "spBv1.0/g/NCMD/e/#")] {
        let hub = Hub::start(listener()).await;
        let mut client = Client::connect(hub.address(), level, "a").await;
        subscribe(&mut client, level, filter).await;
        hub.command(Lane::Listen, "mqtt", NOW).await;
        assert_eq!(client.packet().await, Some(publish(level, 0x30, NCMD, 0, b"births")));
        hub.command(Lane::Listen, "mqtt", NOW).await;
        hub.commands(CommandFate::TooOften, 1).await;
        client.send(&[0xC0, 0]).await;
        assert_eq!(client.packet().await, Some(vec![0xD0, 0]), "nothing else was written");
        let handle = hub.finish().await;
        assert_eq!(handle.stats().commands_total(CommandFate::Sent), 1);
    }
}

#[tokio::test]
async fn a_command_larger_than_the_node_takes_is_not_written() {
    let hub = Hub::start(listener()).await;
    let mut client = Client::open(hub.address(), 5).await;
    let properties = [5, 0x27, 0, 0, 0, 24];
    let head = [text("MQTT"), vec![5, 0xC2], 60_u16.to_be_bytes().to_vec()].concat();
    let who = [text("p.a"), text("p.a"), text("secret-a")].concat();
    client.send(&frame(0x10, &[&head, &properties[..], &who].concat())).await;
    assert_eq!(client.packet().await.expect("CONNACK")[3], 0);
    subscribe(&mut client, 5, NCMD).await;
    hub.command(Lane::Listen, "mqtt", NOW).await;
    hub.commands(CommandFate::NotSubscribed, 1).await;
    client.send(&[0xC0, 0]).await;
    assert_eq!(client.packet().await, Some(vec![0xD0, 0]));
    hub.finish().await;
}
