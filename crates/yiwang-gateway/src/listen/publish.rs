//! Reads PUBLISH frames of both protocol versions where they lie in the buffer.
//!
//! PUBLISH is the one packet whose rate matters: mqtt-protocol-core copies each twice and allocates half a dozen times,
//! so this front reads them itself and leaves every other packet to that library. A property test holds both to the
//! same verdict and the same fields; where this one is stricter, it is for a MUST of the standard. It uses nothing of the
//! crate, so that it can be fuzzed by itself.

/// MQTT protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V3,
    /// 5.0
    V5,
}

/// Why a PUBLISH is refused as a packet; the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 0x81
    Malformed,
    /// 0x82
    Protocol,
    /// 0x94
    TopicAlias,
}

/// A PUBLISH, borrowed from the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Empty only with an alias.
    pub topic: &'a str,
    /// 0 means none.
    pub alias: u16,
    /// 0 for QoS 0, never 0 otherwise.
    pub packet_id: u16,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether it is to be kept.
    pub retain: bool,
    /// The message.
    pub payload: &'a [u8],
}

/// Reads the body of a PUBLISH frame.
///
/// # Errors
/// The [`Fault`] with which the connection ends.
pub fn decode(version: Version, flags: u8, body: &[u8]) -> Result<Publish<'_>, Fault> {
    let qos = (flags >> 1) & 3;
    let dup = flags & 8 != 0;
    if qos == 3 || (qos == 0 && dup) {
        return Err(Fault::Malformed);
    }
    let mut rest = Cursor(body);
    let topic = rest.text()?;
    let packet_id = if qos == 0 { 0 } else { rest.u16()? };
    if qos != 0 && packet_id == 0 {
        return Err(Fault::Malformed);
    }
    let alias = match version {
        Version::V3 => 0,
        Version::V5 => properties(&mut rest)?,
    };
    if topic.is_empty() && alias == 0 {
        return Err(Fault::Protocol);
    }
    Ok(Publish { topic, alias, packet_id, qos, retain: flags & 1 != 0, payload: rest.0 })
}

/// Checks the properties of a v5 PUBLISH and returns the topic alias, 0 if there is none.
fn properties(rest: &mut Cursor<'_>) -> Result<u16, Fault> {
    let length = rest.varint()?;
    if length == 0 {
        return Ok(0);
    }
    let mut inside = Cursor(rest.take(length)?);
    let (mut seen, mut alias) = (0_u64, 0);
    while let Some(id) = inside.next() {
        let repeated = seen & (1 << (id & 63)) != 0 && id != 0x26;
        seen |= 1 << (id & 63);
        match id {
            0x01 if inside.u8()? > 1 => return Err(Fault::Protocol),
            0x01 => {}
            0x02 => drop(inside.take(4)?),
            0x03 | 0x08 => drop(inside.text()?),
            0x09 => drop(inside.binary()?),
            0x23 => {
                alias = inside.u16()?;
                if alias == 0 {
                    return Err(Fault::TopicAlias);
                }
            }
            0x26 => drop((inside.text()?, inside.text()?)),
            _ => return Err(Fault::Protocol),
        }
        if repeated {
            return Err(Fault::Protocol);
        }
    }
    Ok(alias)
}

/// What is left of a body.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Fault::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    fn next(&mut self) -> Option<u8> {
        let (first, tail) = self.0.split_first()?;
        self.0 = tail;
        Some(*first)
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        self.next().ok_or(Fault::Malformed)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// UTF-8 without NUL, as the standard has it.
    fn text(&mut self) -> Result<&'a str, Fault> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Fault::Malformed)?;
        if text.as_bytes().contains(&0) { Err(Fault::Malformed) } else { Ok(text) }
    }

    fn varint(&mut self) -> Result<usize, Fault> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Malformed)
    }
}
