//! CONNECT and CONNACK of both protocol versions: what is asked, who asks, and the answer.
//!
//! Refuses: client ids that are no identity of ours, wills outside the own `up/`, and anything but the *plain* form of
//! authentication. The packets are read and written by mqtt-protocol-core.

use mqtt_protocol_core::mqtt::packet::{
    MaximumPacketSize, MaximumQos, Properties, Property, Qos, ReceiveMaximum, ServerKeepAlive,
    SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable,
    TopicAliasMaximum, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode as V5, ConnectReturnCode as V3, MqttError,
};
use yiwang_core::codec::sparkplug;
use yiwang_core::topic::Identity;

use super::publish::Version;
use crate::admission::Share;
use crate::config::RawListen;
use crate::directory::{Denied, Directory, Quota, Seal};

/// Why a CONNECT is refused; the words are labels of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectRefused {
    /// No CONNECT in time, or the peer went away before it.
    NoConnect,
    /// Not MQTT, or against its rules.
    Malformed,
    /// Neither 3.1.1 nor 5.0.
    Version,
    /// Larger than the packet limit.
    TooLarge,
    /// The client id is not `{pk}.{dn}`.
    ClientId,
    /// Unknown device, or a wrong user or password.
    Credentials,
    /// The device is disabled.
    NotAdmitted,
    /// A will outside the own `up/`, or of QoS 2.
    Will,
    /// All connections are taken.
    Quota,
    /// The log has no room.
    Busy,
    /// The device connects too often.
    TooOften,
    /// Too many connections from one address.
    Address,
    /// Too many CONNECTs are being awaited.
    Handshakes,
}

impl ConnectRefused {
    /// All reasons, in the order of the counters.
    pub const ALL: [Self; 13] = [
        Self::NoConnect,
        Self::Malformed,
        Self::Version,
        Self::TooLarge,
        Self::ClientId,
        Self::Credentials,
        Self::NotAdmitted,
        Self::Will,
        Self::Quota,
        Self::Busy,
        Self::TooOften,
        Self::Address,
        Self::Handshakes,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoConnect => "no_connect",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::TooLarge => "too_large",
            Self::ClientId => "client_id",
            Self::Credentials => "credentials",
            Self::NotAdmitted => "not_admitted",
            Self::Will => "will",
            Self::Quota => "quota",
            Self::Busy => "busy",
            Self::TooOften => "too_often",
            Self::Address => "address",
            Self::Handshakes => "handshakes",
        }
    }

    /// What each version is told; `None` closes without an answer.
    fn codes(self) -> Option<(V3, V5)> {
        match self {
            Self::NoConnect | Self::Malformed | Self::Address | Self::Handshakes => None,
            Self::TooLarge => None,
            Self::Version => {
                Some((V3::UnacceptableProtocolVersion, V5::UnsupportedProtocolVersion))
            }
            Self::ClientId => Some((V3::IdentifierRejected, V5::ClientIdentifierNotValid)),
            Self::Credentials => Some((V3::BadUserNameOrPassword, V5::BadUserNameOrPassword)),
            Self::NotAdmitted | Self::Will => Some((V3::NotAuthorized, V5::NotAuthorized)),
            Self::Quota => Some((V3::ServerUnavailable, V5::QuotaExceeded)),
            Self::Busy => Some((V3::ServerUnavailable, V5::ServerBusy)),
            Self::TooOften => Some((V3::NotAuthorized, V5::Banned)),
        }
    }
}

/// A CONNECT as far as this front cares.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    client_id: String,
    user: Option<String>,
    password: Option<Vec<u8>>,
    pub(crate) keep_alive_s: u16,
    session_expiry_s: u32,
    /// Largest packet that the client takes.
    pub(crate) peer_packet_bytes_max: usize,
    will: Option<Will>,
}

/// What is to be said if the connection breaks.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    qos: u8,
    pub(crate) payload: Vec<u8>,
}

/// A device that may connect.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Key hash that places what it writes.
    pub(crate) place: u64,
    pub(crate) identity: Identity,
    pub(crate) seal: Option<Seal>,
    pub(crate) packet_bytes_max: usize,
    pub(crate) quota: Option<Quota>,
    pub(crate) share: Share,
    pub(crate) will: Option<Will>,
}

/// Which version a CONNECT speaks, as far as it can be told.
pub(crate) fn version(body: &[u8]) -> Version {
    if body.get(6) == Some(&5) { Version::V5 } else { Version::V3 }
}

/// Reads the body of a CONNECT frame.
pub(crate) fn read(body: &[u8]) -> Result<Connect, ConnectRefused> {
    // MQTT 3.1 said "MQIsdp"; whoever says it or another level is told which versions there are.
    let named = body.starts_with(b"\x00\x04MQTT") || body.starts_with(b"\x00\x06MQIsdp");
    let level = if body.starts_with(b"\x00\x04MQTT") { body.get(6) } else { None };
    match level {
        Some(4 | 5) => {}
        _ if named => return Err(ConnectRefused::Version),
        _ => return Err(ConnectRefused::Malformed),
    }
    let flags = *body.get(7).ok_or(ConnectRefused::Malformed)?;
    let (will, will_qos) = (flags & 4 != 0, (flags >> 3) & 3);
    if flags & 1 != 0 || will_qos == 3 || (!will && flags & 0x38 != 0) {
        return Err(ConnectRefused::Malformed);
    }
    let read = if level == Some(&4) { read_v3(body) } else { read_v5(body) };
    let connect = read.map_err(|error| match error {
        MqttError::ClientIdentifierNotValid => ConnectRefused::ClientId,
        MqttError::BadUserNameOrPassword => ConnectRefused::Credentials,
        _ => ConnectRefused::Malformed,
    })?;
    let texts = [Some(&connect.client_id), connect.user.as_ref()];
    if texts.into_iter().flatten().any(|text| text.contains('\0')) {
        return Err(ConnectRefused::Malformed);
    }
    Ok(connect)
}

fn read_v3(body: &[u8]) -> Result<Connect, MqttError> {
    let (packet, consumed) = v3_1_1::Connect::parse(body)?;
    whole(consumed, body)?;
    Ok(Connect {
        version: Version::V3,
        client_id: packet.client_id().to_owned(),
        user: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        keep_alive_s: packet.keep_alive(),
        session_expiry_s: 0,
        peer_packet_bytes_max: usize::MAX,
        will: will(packet.will_topic(), packet.will_payload(), packet.will_qos()),
    })
}

fn read_v5(body: &[u8]) -> Result<Connect, MqttError> {
    let (packet, consumed) = v5_0::Connect::parse(body)?;
    whole(consumed, body)?;
    let (mut session_expiry_s, mut peer_packet_bytes_max) = (0, usize::MAX);
    for property in packet.props() {
        match property {
            Property::SessionExpiryInterval(interval) => session_expiry_s = interval.val(),
            Property::MaximumPacketSize(size) => peer_packet_bytes_max = size.val() as usize,
            _ => {}
        }
    }
    Ok(Connect {
        version: Version::V5,
        client_id: packet.client_id().to_owned(),
        user: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        keep_alive_s: packet.keep_alive(),
        session_expiry_s,
        peer_packet_bytes_max,
        will: will(packet.will_topic(), packet.will_payload(), packet.will_qos()),
    })
}

fn will(topic: Option<&str>, payload: Option<&[u8]>, qos: Qos) -> Option<Will> {
    let (topic, payload) = topic.zip(payload)?;
    Some(Will { topic: topic.to_owned(), qos: qos as u8, payload: payload.to_vec() })
}

fn whole(consumed: usize, body: &[u8]) -> Result<(), MqttError> {
    if consumed == body.len() { Ok(()) } else { Err(MqttError::MalformedPacket) }
}

/// Judges who asks.
pub(crate) fn judge(
    connect: &Connect,
    directory: &Directory,
    listen: &RawListen,
) -> Result<Admitted, ConnectRefused> {
    let identity =
        Identity::from_client_id(&connect.client_id).map_err(|_| ConnectRefused::ClientId)?;
    let user = connect.user.as_deref().unwrap_or_default();
    let password = connect.password.as_deref().unwrap_or_default();
    let entry = directory.admit(identity.device(), password).map_err(|denied| match denied {
        Denied::Credentials => ConnectRefused::Credentials,
        Denied::NotAdmitted => ConnectRefused::NotAdmitted,
    })?;
    if user != connect.client_id {
        return Err(ConnectRefused::Credentials);
    }
    let identity = match &entry.node {
        Some(node) => identity.as_node(node),
        None => identity,
    };
    let will = connect.will.as_ref();
    if will.is_some_and(|will| will.qos > 1 || identity.publish(&will.topic).is_err()) {
        return Err(ConnectRefused::Will);
    }
    // The death of an edge node; a native will is checked now and stored once there are rows of connections.
    let will = will.filter(|will| will.topic.starts_with(sparkplug::ROOT)).cloned();
    let packet_bytes_max =
        entry.quota.map_or(listen.packet_bytes_max, |quota| quota.packet_bytes_max);
    Ok(Admitted {
        place: directory.place(identity.device()),
        seal: entry.seal,
        packet_bytes_max,
        quota: entry.quota,
        share: entry.share,
        will,
        identity,
    })
}

/// The CONNACK of a refusal; empty where closing is the answer.
pub(crate) fn refusal(version: Version, refused: ConnectRefused) -> Vec<u8> {
    let Some((v3, v5)) = refused.codes() else {
        return Vec::new();
    };
    match version {
        Version::V3 => v3_1_1::Connack::builder()
            .session_present(false)
            .return_code(v3)
            .build()
            .expect("a refusing CONNACK is valid")
            .to_continuous_buffer(),
        Version::V5 => v5_0::Connack::builder()
            .session_present(false)
            .reason_code(v5)
            .build()
            .expect("a refusing CONNACK is valid")
            .to_continuous_buffer(),
    }
}

/// The CONNACK of an admitted device; a v5 client is told every limit.
pub(crate) fn acceptance(connect: &Connect, admitted: &Admitted, listen: &RawListen) -> Vec<u8> {
    if connect.version == Version::V3 {
        return v3_1_1::Connack::builder()
            .session_present(false)
            .return_code(V3::Accepted)
            .build()
            .expect("an accepting CONNACK is valid")
            .to_continuous_buffer();
    }
    let invariant = "checked limits are valid properties";
    let packet_bytes = u32::try_from(admitted.packet_bytes_max).expect(invariant);
    let mut properties: Properties = vec![
        ReceiveMaximum::new(listen.receive_maximum).expect(invariant).into(),
        MaximumQos::new(1).expect(invariant).into(),
        MaximumPacketSize::new(packet_bytes).expect(invariant).into(),
        TopicAliasMaximum::new(listen.topic_aliases_max).expect(invariant).into(),
        SubscriptionIdentifierAvailable::new(0).expect(invariant).into(),
        SharedSubscriptionAvailable::new(0).expect(invariant).into(),
    ];
    let keep_alive_s = listen.keep_alive_s(connect.keep_alive_s);
    if keep_alive_s != connect.keep_alive_s {
        properties.push(ServerKeepAlive::new(keep_alive_s).expect(invariant).into());
    }
    if connect.session_expiry_s != 0 {
        // Nothing is kept for a device that is away yet, so its session ends with the connection.
        properties.push(SessionExpiryInterval::new(0).expect(invariant).into());
    }
    v5_0::Connack::builder()
        .session_present(false)
        .reason_code(V5::Success)
        .props(properties)
        .build()
        .expect("an accepting CONNACK is valid")
        .to_continuous_buffer()
}
