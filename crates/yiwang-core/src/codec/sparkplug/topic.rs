//! Sparkplug topics: `spBv1.0/{group}/{type}/{edge}[/{device}]`, and the STATE of a host.

use crate::codec::json::Cursor;
use crate::record::Millis;

/// What every topic begins with.
pub const ROOT: &str = "spBv1.0/";

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// An edge node begins; tells all its metrics.
    NodeBirth,
    /// An edge node ended: its will.
    NodeDeath,
    /// A device of an edge node begins.
    DeviceBirth,
    /// A device of an edge node ended.
    DeviceDeath,
    /// Values of an edge node.
    NodeData,
    /// Values of a device.
    DeviceData,
    /// From a host to an edge node.
    NodeCommand,
    /// From a host to a device.
    DeviceCommand,
}

impl MessageType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NodeBirth,
        Self::NodeDeath,
        Self::DeviceBirth,
        Self::DeviceDeath,
        Self::NodeData,
        Self::DeviceData,
        Self::NodeCommand,
        Self::DeviceCommand,
    ];

    /// The word of the topic.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeBirth => "NBIRTH",
            Self::NodeDeath => "NDEATH",
            Self::DeviceBirth => "DBIRTH",
            Self::DeviceDeath => "DDEATH",
            Self::NodeData => "NDATA",
            Self::DeviceData => "DDATA",
            Self::NodeCommand => "NCMD",
            Self::DeviceCommand => "DCMD",
        }
    }

    /// The inverse of [`MessageType::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether it tells every metric with its name and type.
    #[must_use]
    pub const fn is_birth(self) -> bool {
        matches!(self, Self::NodeBirth | Self::DeviceBirth)
    }

    /// Whether it counts in the sequence of the edge node.
    #[must_use]
    pub const fn is_counted(self) -> bool {
        !matches!(self, Self::NodeDeath | Self::NodeCommand | Self::DeviceCommand)
    }

    /// Whether a host sends it, not an edge node.
    #[must_use]
    pub const fn is_command(self) -> bool {
        matches!(self, Self::NodeCommand | Self::DeviceCommand)
    }

    const fn names_device(self) -> bool {
        matches!(
            self,
            Self::DeviceBirth | Self::DeviceDeath | Self::DeviceData | Self::DeviceCommand
        )
    }
}

/// A topic of an edge node, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic<'a> {
    /// Group id.
    pub group: &'a str,
    /// What the message is.
    pub kind: MessageType,
    /// Edge node id.
    pub edge: &'a str,
    /// Device id; empty where the message is the node's own.
    pub device: &'a str,
}

impl<'a> Topic<'a> {
    /// Reads a topic; `None` for anything that is not one of an edge node, STATE included.
    #[must_use]
    pub fn parse(topic: &'a str) -> Option<Self> {
        let mut levels = topic.strip_prefix(ROOT)?.split('/');
        let group = levels.next().filter(|name| is_name(name))?;
        let kind = MessageType::parse(levels.next()?)?;
        let edge = levels.next().filter(|name| is_name(name))?;
        let device = match levels.next() {
            Some(device) if kind.names_device() && is_name(device) => device,
            None if !kind.names_device() => "",
            _ => return None,
        };
        levels.next().is_none().then_some(Self { group, kind, edge, device })
    }

    /// The topic of another message type of the same edge node.
    #[must_use]
    pub fn to_node(&self, kind: MessageType) -> String {
        [ROOT, self.group, "/", kind.as_str(), "/", self.edge].concat()
    }

    /// Whether `name` is `{group}.{edge}`.
    #[must_use]
    pub fn is_node(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.group).and_then(|rest| rest.strip_prefix('.'));
        rest == Some(self.edge)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0))
}

/// Whether a topic is that of a host's state.
#[must_use]
pub fn is_state(topic: &str) -> bool {
    let below = topic.strip_prefix(ROOT).and_then(|below| below.strip_prefix("STATE/"));
    below.is_some_and(|host| is_name(host) && !host.contains('/'))
}

/// What a host says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostState {
    /// Whether it is there.
    pub online: bool,
    /// ms since 1970 UTC, the same in the will.
    pub timestamp: Millis,
}

/// Reads a message of `spBv1.0/STATE/{host}`: the host and what it says; `None` for anything else.
#[must_use]
pub fn host_state<'a>(topic: &'a str, payload: &[u8]) -> Option<(&'a str, HostState)> {
    let host = topic.strip_prefix(ROOT)?.strip_prefix("STATE/")?;
    let mut cursor = Cursor::new(payload).ok()?;
    cursor.expect(b'{', "an object").ok()?;
    let (mut online, mut timestamp) = (None, None);
    let mut more = cursor.first(b'}');
    while more {
        let key = cursor.key().ok()?;
        match (key.is("online"), key.is("timestamp"), cursor.peek()) {
            (true, _, first @ (b't' | b'f')) => {
                cursor.word(if first == b't' { "true" } else { "false" }).ok()?;
                online = Some(first == b't');
            }
            (_, true, b'0'..=b'9') => timestamp = Some(cursor.number().ok()?.to_i64()?),
            _ => drop(cursor.skip(1).ok()?),
        }
        more = cursor.next(b'}').ok()?;
    }
    cursor.end().ok()?;
    let state = HostState { online: online?, timestamp: timestamp? };
    is_state(topic).then_some((host, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics() {
        let topic = Topic::parse("spBv1.0/qp-water/DDATA/gw-01/wl-7").unwrap();
        assert_eq!((topic.group, topic.edge, topic.device), ("qp-water", "gw-01", "wl-7"));
        assert!(topic.is_node("qp-water.gw-01") && !topic.is_node("qp-water.gw-1"));
        assert_eq!(Topic::parse("spBv1.0/g/NBIRTH/e").unwrap().kind, MessageType::NodeBirth);
        for bad in [
            "spBv1.0/g/NBIRTH/e/d",
            "spBv1.0/g/DDATA/e",
            "spBv1.0/g/DDATA/e/d/x",
            "spBv1.0//NDATA/e",
            "spBv1.0/g/NDATA/+",
            "spBv1.0/STATE/host",
            "spAv1.0/g/NDATA/e",
            "",
        ] {
            assert_eq!(Topic::parse(bad), None, "{bad}");
        }
        for kind in MessageType::ALL {
            assert_eq!(MessageType::parse(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn states_of_hosts() {
        let read = |body: &str| host_state("spBv1.0/STATE/h", body.as_bytes());
        let state = HostState { online: false, timestamp: 5 };
        assert_eq!(read(r#"{"x":[1],"timestamp":5,"online":false}"#), Some(("h", state)));
        for bad in ["", "{}", r#"{"online":true}"#, r#"{"online":1,"timestamp":5}"#, "[]"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(host_state("spBv1.0/STATE/h/x", br#"{"online":true,"timestamp":5}"#), None);
    }
}
