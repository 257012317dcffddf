//! What a connected device sends beside PUBLISH, and what we write to it: read and written by mqtt-protocol-core.
//!
//! Subscriptions are accepted inside the own `down/`, and for what an edge node is told; commands are what is sent to them.

use mqtt_protocol_core::mqtt::packet::{Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{
    DisconnectReasonCode, MqttError, SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};
use yiwang_core::topic::{self, Identity, Refusal};

use super::frame::{Frame, kind};
use super::publish::{Fault, Version};

/// Why a connection ended; the words are labels of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// The device said DISCONNECT.
    Disconnect,
    /// The device closed the socket or the network broke.
    Gone,
    /// Nothing was heard for 1.5 times the keep-alive.
    KeepAlive,
    /// A newer connection of the same device.
    TakenOver,
    /// Not MQTT.
    Malformed,
    /// Against the rules of MQTT.
    Protocol,
    /// A packet larger than the limit.
    TooLarge,
    /// QoS 2.
    Qos,
    /// More unacknowledged messages than the Receive Maximum.
    ReceiveMaximum,
    /// A topic alias that was not given before or is too large.
    TopicAlias,
    /// A topic that the device may not use (v3.1.1 has no other answer).
    Topic,
    /// The device did not read what we wrote.
    NotReading,
    /// The device was disabled, removed or given another secret.
    Revoked,
    /// The device speaks through another gateway device now, so its records belong elsewhere: it is to connect again.
    Moved,
    /// This process is going down.
    Shutdown,
    /// Durability is in doubt.
    Halt,
}

impl Closed {
    /// All reasons, in the order of the counters.
    pub const ALL: [Self; 16] = [
        Self::Disconnect,
        Self::Gone,
        Self::KeepAlive,
        Self::TakenOver,
        Self::Malformed,
        Self::Protocol,
        Self::TooLarge,
        Self::Qos,
        Self::ReceiveMaximum,
        Self::TopicAlias,
        Self::Topic,
        Self::NotReading,
        Self::Revoked,
        Self::Moved,
        Self::Shutdown,
        Self::Halt,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Gone => "gone",
            Self::KeepAlive => "keep_alive",
            Self::TakenOver => "taken_over",
            Self::Malformed => "malformed",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Qos => "qos",
            Self::ReceiveMaximum => "receive_maximum",
            Self::TopicAlias => "topic_alias",
            Self::Topic => "topic",
            Self::NotReading => "not_reading",
            Self::Revoked => "revoked",
            Self::Moved => "moved",
            Self::Shutdown => "shutdown",
            Self::Halt => "halt",
        }
    }

    /// What a v5 client is told.
    fn code(self) -> Option<DisconnectReasonCode> {
        use DisconnectReasonCode as Code;
        Some(match self {
            Self::Disconnect | Self::Gone | Self::NotReading => return None,
            Self::KeepAlive => Code::KeepAliveTimeout,
            Self::TakenOver => Code::SessionTakenOver,
            Self::Malformed => Code::MalformedPacket,
            Self::Protocol => Code::ProtocolError,
            Self::TooLarge => Code::PacketTooLarge,
            Self::Qos => Code::QosNotSupported,
            Self::ReceiveMaximum => Code::ReceiveMaximumExceeded,
            Self::TopicAlias => Code::TopicAliasInvalid,
            Self::Topic | Self::Revoked => Code::NotAuthorized,
            Self::Moved => Code::AdministrativeAction,
            Self::Shutdown => Code::ServerShuttingDown,
            Self::Halt => Code::UnspecifiedError,
        })
    }
}

impl From<Fault> for Closed {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed => Self::Malformed,
            Fault::Protocol => Self::Protocol,
            Fault::TopicAlias => Self::TopicAlias,
        }
    }
}

impl From<MqttError> for Closed {
    fn from(error: MqttError) -> Self {
        match error {
            MqttError::ProtocolError => Self::Protocol,
            _ => Self::Malformed,
        }
    }
}

/// The answer to PINGREQ, in both versions.
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];

/// The subscriptions of a connection; all that is sent to them is of QoS 0.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    filters: Vec<Box<str>>,
}

/// Handles a frame that is neither PUBLISH nor PINGREQ; answers go to `out`.
pub(crate) fn handle(
    version: Version,
    frame: &Frame,
    body: &[u8],
    who: (&Identity, &mut Subscriptions, u16),
    out: &mut Vec<u8>,
) -> Result<(), Closed> {
    let (identity, subscriptions, subscriptions_max) = who;
    match (frame.kind(), version) {
        (kind::SUBSCRIBE, Version::V3) => {
            let (packet, consumed) = v3_1_1::Subscribe::parse(body)?;
            whole(consumed, body, packet.packet_id())?;
            let codes = packet.entries().iter().map(|entry| {
                match subscriptions.add(identity, entry.topic_filter(), subscriptions_max) {
                    Ok(()) if entry.sub_opts().qos() == Qos::AtMostOnce => {
                        SubackReturnCode::SuccessMaximumQos0
                    }
                    Ok(()) => SubackReturnCode::SuccessMaximumQos1,
                    Err(_) => SubackReturnCode::Failure,
                }
            });
            let answer = v3_1_1::Suback::builder()
                .packet_id(packet.packet_id())
                .return_codes(codes.collect())
                .build()?;
            out.extend(answer.to_continuous_buffer());
            Ok(())
        }
        (kind::SUBSCRIBE, Version::V5) => {
            let (packet, consumed) = v5_0::Subscribe::parse(body)?;
            whole(consumed, body, packet.packet_id())?;
            let codes = packet.entries().iter().map(|entry| {
                match subscriptions.add(identity, entry.topic_filter(), subscriptions_max) {
                    Ok(()) if entry.sub_opts().qos() == Qos::AtMostOnce => {
                        SubackReasonCode::GrantedQos0
                    }
                    Ok(()) => SubackReasonCode::GrantedQos1,
                    Err(code) => code,
                }
            });
            let answer = v5_0::Suback::builder()
                .packet_id(packet.packet_id())
                .reason_codes(codes.collect())
                .build()?;
            out.extend(answer.to_continuous_buffer());
            Ok(())
        }
        (kind::UNSUBSCRIBE, version) => unsubscribe(version, body, subscriptions, out),
        (kind::DISCONNECT, Version::V3) if body.is_empty() => Err(Closed::Disconnect),
        (kind::DISCONNECT, Version::V5) => {
            let (packet, consumed) = v5_0::Disconnect::parse(body)?;
            Err(match packet.reason_code() {
                _ if consumed != body.len() => Closed::Malformed,
                // It asks for its will, as if its connection had broken.
                Some(DisconnectReasonCode::DisconnectWithWillMessage) => Closed::Gone,
                _ => Closed::Disconnect,
            })
        }
        // A second CONNECT, acknowledgements of what we never sent, AUTH, and what only servers send.
        (1..=15, _) => Err(Closed::Protocol),
        _ => Err(Closed::Malformed),
    }
}

fn unsubscribe(
    version: Version,
    body: &[u8],
    subscriptions: &mut Subscriptions,
    out: &mut Vec<u8>,
) -> Result<(), Closed> {
    match version {
        Version::V3 => {
            let (packet, consumed) = v3_1_1::Unsubscribe::parse(body)?;
            whole(consumed, body, packet.packet_id())?;
            for entry in packet.entries() {
                subscriptions.remove(entry.as_str());
            }
            let answer = v3_1_1::Unsuback::builder().packet_id(packet.packet_id()).build()?;
            out.extend(answer.to_continuous_buffer());
        }
        Version::V5 => {
            let (packet, consumed) = v5_0::Unsubscribe::parse(body)?;
            whole(consumed, body, packet.packet_id())?;
            let codes = packet.entries().iter().map(|entry| {
                if subscriptions.remove(entry.as_str()) {
                    UnsubackReasonCode::Success
                } else {
                    UnsubackReasonCode::NoSubscriptionExisted
                }
            });
            let answer = v5_0::Unsuback::builder()
                .packet_id(packet.packet_id())
                .reason_codes(codes.collect())
                .build()?;
            out.extend(answer.to_continuous_buffer());
        }
    }
    Ok(())
}

/// A packet that needs an id must have one and fill its frame.
fn whole(consumed: usize, body: &[u8], packet_id: u16) -> Result<(), Closed> {
    if consumed == body.len() && packet_id != 0 { Ok(()) } else { Err(Closed::Malformed) }
}

impl Subscriptions {
    fn add(
        &mut self,
        identity: &Identity,
        filter: &str,
        subscriptions_max: u16,
    ) -> Result<(), SubackReasonCode> {
        if filter.starts_with("$share/") {
            return Err(SubackReasonCode::SharedSubscriptionsNotSupported);
        }
        identity.subscribe(filter).map_err(|refusal| match refusal {
            Refusal::TooLong | Refusal::BadCharacter => SubackReasonCode::TopicFilterInvalid,
            _ => SubackReasonCode::NotAuthorized,
        })?;
        let known = self.filters.iter().any(|held| **held == *filter);
        if !known && self.filters.len() >= usize::from(subscriptions_max) {
            return Err(SubackReasonCode::QuotaExceeded);
        }
        if !known {
            self.filters.push(filter.into());
        }
        Ok(())
    }

    /// Whether any of them wants a topic.
    pub(crate) fn match_topic(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| topic::matches(filter, topic))
    }

    fn remove(&mut self, filter: &str) -> bool {
        let before = self.filters.len();
        self.filters.retain(|held| **held != *filter);
        self.filters.len() < before
    }
}

/// The DISCONNECT that ends a v5 connection; empty where closing is the answer.
pub(crate) fn farewell(version: Version, closed: Closed) -> Vec<u8> {
    match (version, closed.code()) {
        (Version::V5, Some(code)) => v5_0::Disconnect::builder()
            .reason_code(code)
            .build()
            .expect("a DISCONNECT of one code is valid")
            .to_continuous_buffer(),
        _ => Vec::new(),
    }
}

/// Appends a PUBLISH of QoS 0; nothing if the topic is none.
pub(crate) fn publish(version: Version, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
    let packet = match version {
        Version::V3 => v3_1_1::Publish::builder()
            .topic_name(topic)
            .and_then(|packet| packet.payload(payload).build())
            .map(|packet| packet.to_continuous_buffer()),
        Version::V5 => v5_0::Publish::builder()
            .topic_name(topic)
            .and_then(|packet| packet.payload(payload).build())
            .map(|packet| packet.to_continuous_buffer()),
    };
    out.extend(packet.unwrap_or_default());
}

/// Appends a PUBACK; `code` is 0 for stored.
pub(crate) fn puback(packet_id: u16, code: u8, out: &mut Vec<u8>) {
    let [high, low] = packet_id.to_be_bytes();
    match code {
        0 => out.extend_from_slice(&[0x40, 2, high, low]),
        code => out.extend_from_slice(&[0x40, 3, high, low, code]),
    }
}
