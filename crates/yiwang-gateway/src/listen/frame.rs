//! Splits a byte stream into MQTT frames by their fixed header, without copying.
//!
//! Invariant: a frame is never larger than the stated limit, and nothing is allocated for one that claims to be. The
//! rules are those of mqtt-protocol-core's packet builder plus the reserved flags, which that one does not look at.

use std::ops::Range;

/// Packet types, as the upper half of the first byte.
pub(crate) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const DISCONNECT: u8 = 14;
}

/// What the front of a buffer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// A whole frame.
    Frame(Frame),
    /// The beginning of one.
    Incomplete,
    /// A frame that is larger than the limit.
    TooLarge,
    /// No MQTT.
    Malformed,
}

/// The place of a whole frame at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// First byte: type and flags.
    pub header: u8,
    /// What follows the fixed header.
    pub body: Range<usize>,
}

impl Frame {
    pub(crate) fn kind(&self) -> u8 {
        self.header >> 4
    }

    /// Flags of the fixed header.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.header & 0x0F
    }

    /// Whether the reserved flags of the first byte have the values that the standard prescribes.
    pub(crate) fn flags_valid(&self) -> bool {
        match self.kind() {
            kind::PUBLISH => true,
            6 | kind::SUBSCRIBE | kind::UNSUBSCRIBE => self.flags() == 2,
            _ => self.flags() == 0,
        }
    }
}

/// Finds the first frame of `bytes`; `size_max` counts the fixed header too.
#[must_use]
pub fn split(bytes: &[u8], size_max: usize) -> Split {
    let Some(&header) = bytes.first() else {
        return Split::Incomplete;
    };
    let mut length = 0_usize;
    for index in 0..4 {
        let Some(&byte) = bytes.get(1 + index) else {
            return Split::Incomplete;
        };
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let body = 2 + index..2 + index + length;
            return match body.end {
                end if end > size_max => Split::TooLarge,
                end if end > bytes.len() => Split::Incomplete,
                _ => Split::Frame(Frame { header, body }),
            };
        }
    }
    Split::Malformed
}
