//! The own PUBLISH reader against mqtt-protocol-core, and the frame splitter against its packet builder.

use mqtt_protocol_core::mqtt::Arc;
use mqtt_protocol_core::mqtt::packet::{Property, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::prelude::PropertyValueAccess;
use proptest::prelude::*;

use super::frame::{self, Split};
use super::publish::{Fault, Version, decode};

#[derive(Debug, PartialEq)]
struct Fields {
    topic: String,
    alias: u16,
    packet_id: u16,
    qos: u8,
    retain: bool,
    payload: Vec<u8>,
    /// A subscription identifier (MQTT-3.3.4-6) or a NUL in a text (MQTT-1.5.4-2) among the properties.
    odd: bool,
}

fn ours(version: Version, flags: u8, body: &[u8]) -> Result<Fields, Fault> {
    decode(version, flags, body).map(|p| Fields {
        topic: p.topic.to_owned(),
        alias: p.alias,
        packet_id: p.packet_id,
        qos: p.qos,
        retain: p.retain,
        payload: p.payload.to_vec(),
        odd: false,
    })
}

fn library(version: Version, flags: u8, body: &[u8]) -> Option<Fields> {
    let bytes = Arc::from(body);
    match version {
        Version::V3 => {
            let (p, _) = v3_1_1::Publish::parse(flags, bytes).ok()?;
            Some(Fields {
                topic: p.topic_name().to_owned(),
                alias: 0,
                packet_id: p.packet_id().unwrap_or(0),
                qos: qos(p.qos()),
                retain: p.retain(),
                payload: p.payload().as_slice().to_vec(),
                odd: false,
            })
        }
        Version::V5 => {
            let (p, _) = v5_0::Publish::parse(flags, bytes).ok()?;
            let alias = p.props().iter().find_map(|property| match property {
                Property::TopicAlias(_) => property.as_u16(),
                _ => None,
            });
            Some(Fields {
                topic: p.topic_name().to_owned(),
                alias: alias.unwrap_or(0),
                packet_id: p.packet_id().unwrap_or(0),
                qos: qos(p.qos()),
                retain: p.retain(),
                payload: p.payload().as_slice().to_vec(),
                odd: p.props().iter().any(odd),
            })
        }
    }
}

fn qos(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}

/// Where we refuse what the library lets pass, each for a MUST of the standard.
fn stricter(version: Version, flags: u8, fields: &Fields, body: &[u8]) -> bool {
    let header = 2 + fields.topic.len() + if fields.qos == 0 { 0 } else { 2 };
    (fields.qos == 0 && flags & 8 != 0)                         // MQTT-3.3.1-2
        || (fields.qos != 0 && fields.packet_id == 0)           // MQTT-2.2.1-3
        || fields.topic.contains('\0')                          // MQTT-1.5.4-2
        || (fields.topic.is_empty() && fields.alias == 0)       // MQTT-4.7.3-1
        || (version == Version::V5 && header == body.len())     // no property length
        || fields.odd
}

fn odd(property: &Property) -> bool {
    let nul = |text: &str| text.contains('\0');
    let pair = property.as_key_value();
    matches!(property, Property::SubscriptionIdentifier(_))
        || property.as_str().is_some_and(nul)
        || pair.is_some_and(|(key, value)| nul(key) || nul(value))
}

fn property() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-z]{0,3}".prop_map(|t| {
        let mut bytes = (t.len() as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(t.as_bytes());
        bytes
    });
    let with = |id: u8, tail: Vec<u8>| [vec![id], tail].concat();
    prop_oneof![
        (0_u8..3).prop_map(move |v| with(0x01, vec![v])),
        any::<[u8; 4]>().prop_map(move |v| with(0x02, v.to_vec())),
        text.clone().prop_map(move |t| with(0x03, t)),
        text.clone().prop_map(move |t| with(0x08, t)),
        text.clone().prop_map(move |t| with(0x09, t)),
        (0_u16..20).prop_map(move |v| with(0x23, v.to_be_bytes().to_vec())),
        (text.clone(), text).prop_map(move |(k, v)| with(0x26, [k, v].concat())),
        any::<u8>().prop_map(move |id| with(id, vec![1, 1])),
    ]
}

/// Bodies that are nearly always nearly right.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let topic = prop_oneof![Just(String::new()), "[a-z/]{1,12}", "[a-z]{1,3}\0", "[é水]{1,4}"];
    let properties = proptest::collection::vec(property(), 0..4).prop_map(|p| p.concat());
    let payload = proptest::collection::vec(any::<u8>(), 0..40);
    (topic, 0_u16..3, properties, payload, any::<bool>(), 0_usize..4).prop_map(
        |(topic, id, properties, payload, with_id, cut)| {
            let mut body = (topic.len() as u16).to_be_bytes().to_vec();
            body.extend_from_slice(topic.as_bytes());
            if with_id {
                body.extend_from_slice(&id.to_be_bytes());
            }
            body.push(properties.len() as u8);
            body.extend(properties);
            body.extend(payload);
            body.truncate(body.len() - cut.min(body.len()));
            body
        },
    )
}

fn check(version: Version, flags: u8, body: &[u8]) -> Result<(), TestCaseError> {
    match (ours(version, flags, body), library(version, flags, body)) {
        (Ok(ours), theirs) => prop_assert_eq!(Some(ours), theirs),
        (Err(_), None) => {}
        (Err(fault), Some(theirs)) => {
            prop_assert!(stricter(version, flags, &theirs, body), "{:?} but {:?}", fault, theirs);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn same_verdict_as_the_library(flags in 0_u8..16, body in body()) {
        check(Version::V3, flags, &body)?;
        check(Version::V5, flags, &body)?;
    }

    #[test]
    fn same_verdict_on_noise(flags in 0_u8..16, body in proptest::collection::vec(any::<u8>(), 0..60)) {
        check(Version::V3, flags, &body)?;
        check(Version::V5, flags, &body)?;
    }

    #[test]
    fn frames_split_like_the_library(bytes in proptest::collection::vec(any::<u8>(), 1..300), limit in 2_usize..400) {
        use mqtt_protocol_core::mqtt::common::Cursor;
        use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder};
        let mut builder = PacketBuilder::with_maximum_packet_size(limit as u32);
        let result = builder.feed(&mut Cursor::new(&bytes[..]));
        match (frame::split(&bytes, limit), result) {
            (Split::Frame(frame), PacketBuildResult::Complete(packet)) => {
                prop_assert_eq!(&bytes[frame.body.clone()], packet.data_as_slice());
                prop_assert_eq!((frame.kind(), frame.flags()), (packet.packet_type(), packet.flags()));
            }
            (Split::Incomplete, PacketBuildResult::Incomplete) => {}
            (Split::TooLarge | Split::Malformed, PacketBuildResult::Error(_)) => {}
            (ours, theirs) => prop_assert!(false, "{:?} but {:?}", ours, theirs),
        }
    }
}

#[test]
fn whole_packets() {
    let v3 = [0, 3, b'a', b'/', b'b', 0, 7, b'x'];
    let read = decode(Version::V3, 0b0010, &v3).unwrap();
    assert_eq!((read.topic, read.packet_id, read.qos, read.payload), ("a/b", 7, 1, &b"x"[..]));
    let v5 = [0, 0, 0, 7, 3, 0x23, 0, 5, b'x'];
    let read = decode(Version::V5, 0b0010, &v5).unwrap();
    assert_eq!((read.topic, read.alias, read.payload), ("", 5, &b"x"[..]));
    assert_eq!(decode(Version::V5, 0b0010, &[0, 0, 0, 7, 3, 0x23, 0, 0]), Err(Fault::TopicAlias));
    assert_eq!(decode(Version::V3, 0b0110, &v3), Err(Fault::Malformed));
}
