//! Deterministic ids: the same input always has the same id, so that a repeat is recognised and an effect happens once.
//!
//! The definitions and their test vectors are those of the access standard (devices, section 2.5): `H(f1, f2, …)` is
//! xxh3-128 with seed 0 over the fields, each written as a big-endian `u32` length and its bytes. Nothing here ever
//! uses the time of reception, a random number or a process id.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// A 128-bit deterministic id; printed as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
// Aligned as its halves: what holds one beside a time is a third smaller.
#[repr(Rust, packed(8))]
pub struct Id(pub u128);

impl Id {
    /// The 16 bytes, most significant first, in which an id is a field of another id and lies in stores.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The inverse of [`Id::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Its 32 hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let bytes = self.to_bytes().into_iter();
        let halves = bytes.flat_map(|byte| [byte >> 4, byte & 0xF]);
        let mut text = String::with_capacity(32);
        text.extend(halves.map(|half| DIGITS[usize::from(half)]));
        text
    }

    /// Reads 32 hex digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", { self.0 })
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `H` being fed: every field is preceded by its length, so no two field lists share their bytes.
#[derive(Clone, Default)]
pub struct Hasher(Xxh3Default);

impl Hasher {
    /// A hasher with no field.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field of bytes.
    #[must_use]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        self.0.update(&length.to_be_bytes());
        self.0.update(field);
        self
    }

    /// Adds a field of UTF-8 text.
    #[must_use]
    pub fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Adds an integer as a field of 8 bytes.
    #[must_use]
    pub fn int(self, field: i64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    /// Adds an id as a field of 16 bytes.
    #[must_use]
    pub fn id(self, field: Id) -> Self {
        self.bytes(&field.to_bytes())
    }

    /// The id of all fields.
    #[must_use]
    pub fn finish(self) -> Id {
        Id(self.0.digest128())
    }
}

/// Most bytes of all fields with their lengths that are hashed at once; beyond it they are fed one by one.
const SHORT_BYTES_MAX: usize = 240;

/// `H` of fields that are all at hand: what the hot path calls, without the large state of a hasher that is fed.
fn hash(fields: &[&[u8]]) -> Id {
    let total: usize = fields.iter().map(|field| field.len() + 4).sum();
    if total > SHORT_BYTES_MAX {
        return fields.iter().fold(Hasher::new(), |hasher, field| hasher.bytes(field)).finish();
    }
    let mut short = [0_u8; SHORT_BYTES_MAX];
    let mut at = 0;
    for field in fields {
        short[at..at + 4].copy_from_slice(&(field.len() as u32).to_be_bytes());
        at += 4;
        short[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    Id(xxh3_128(&short[..at]))
}

/// Id of a raw record that carries a restart counter and a message counter.
#[must_use]
pub fn raw_by_sequence(device: &str, boot: u64, seq: u64) -> Id {
    hash(&[b"s", device.as_bytes(), &boot.to_be_bytes(), &seq.to_be_bytes()])
}

/// Id of a raw record that carries a message id of its own.
#[must_use]
pub fn raw_by_message_id(device: &str, id: &str) -> Id {
    hash(&[b"i", device.as_bytes(), id.as_bytes()])
}

/// Id of a raw record that is known only by its device time and content.
#[must_use]
pub fn raw_by_content(device: &str, ts: i64, payload: &[u8]) -> Id {
    hash(&[b"c", device.as_bytes(), &ts.to_be_bytes(), payload])
}

/// Id of a raw record of a product without identity: its place on the log, so that our own replays stay recognisable.
#[must_use]
pub fn raw_by_place(topic_epoch: u32, partition: u16, seq: u64) -> Id {
    // The fields and their lengths in one piece: it is made for every record, and its size is known.
    let mut fields = [0; 41];
    fields[..5].copy_from_slice(&[0, 0, 0, 1, b'o']);
    for (at, field) in [(5, u64::from(topic_epoch)), (17, u64::from(partition)), (29, seq)] {
        fields[at + 3] = 8;
        fields[at + 4..at + 12].copy_from_slice(&field.to_be_bytes());
    }
    Id(xxh3_128(&fields))
}

/// Id of an item of a pack that has none of its own, by its place in the pack.
#[must_use]
pub fn pack_item(pack: Id, position: u64) -> Id {
    Hasher::new().text("p").id(pack).bytes(&position.to_be_bytes()).finish()
}

/// Id of the output with this index (readings by time first, then sample-born signals) of a raw record.
#[must_use]
pub fn output(raw: Id, index: u64) -> Id {
    let mut fields = [0; 32];
    fields[3] = 16;
    fields[4..20].copy_from_slice(&raw.to_bytes());
    fields[23] = 8;
    fields[24..].copy_from_slice(&index.to_be_bytes());
    Id(xxh3_128(&fields))
}

/// Id of a signal that a timer gave birth to. `kind` is raise, clear, severity or remind; `edge` is device time in ms.
#[must_use]
pub fn timer_signal(product: &str, rule: &str, kind: &str, device: &str, edge: i64) -> Id {
    Hasher::new()
        .text("t")
        .text(&format!("{product}/{rule}/{kind}"))
        .text(device)
        .int(edge)
        .finish()
}

/// Id of a signal about a group of devices that fell silent together; `kind` is raise, remind or clear, `first` the
/// event id of the member that it is named after.
#[must_use]
pub fn outage_signal(group: &str, kind: &str, first: &str) -> Id {
    Hasher::new().text("g").text(kind).text(group).text(first).finish()
}

/// Id of an incident: that of the signal which opened it.
#[must_use]
pub fn incident(source: &str, event_id: &str) -> Id {
    Hasher::new().text(source).text(event_id).finish()
}

/// The partition key of a device: xxh3-64 of its device key; the partition is this modulo the topic's count.
#[must_use]
pub fn key_hash(device: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(device.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "wl-radar-01/R-0001";

    #[test]
    fn published_vectors() {
        let raw = raw_by_sequence(DEVICE, 1, 7);
        assert_eq!(raw.to_string(), "94bec949c24ee4151a1f24404db68d71");
        assert_eq!(output(raw, 0).to_string(), "071914dc4d6abc21a33b3b47edc17cd4");
        assert_eq!(
            raw_by_message_id(DEVICE, "m-1024").to_string(),
            "fdcdf3ba88b6b17e822f98f5627144dc"
        );
        assert_eq!(
            raw_by_content(DEVICE, 1_795_399_200_000, br#"{"level":1.27}"#).to_string(),
            "699820228f3acbc02668eb182c4c4941"
        );
        let day = 1_795_363_200_000; // 2026-11-23 00:00 +08:00
        let edge = day + (10 * 60 + 10) * 60_000;
        assert_eq!(
            timer_signal("wl-radar-01", "high-level", "raise", DEVICE, edge).to_string(),
            "671e15be4d4f99f7dec413d1cd425ead"
        );
    }

    #[test]
    fn short_and_long_fields_are_hashed_alike() {
        for length in [0, 1, 200, 226, 227, 228, 229, 1_000] {
            let payload = vec![7; length];
            let fed = Hasher::new().text("c").text(DEVICE).int(-5).bytes(&payload).finish();
            assert_eq!(raw_by_content(DEVICE, -5, &payload), fed, "{length} bytes");
        }
    }

    #[test]
    fn ids_of_one_piece_are_those_of_fields() {
        for (epoch, partition, seq) in [(0, 0, 0), (7, 15, 1 << 40), (u32::MAX, u16::MAX, u64::MAX)]
        {
            let (e, p) = (u64::from(epoch).to_be_bytes(), u64::from(partition).to_be_bytes());
            let raw = raw_by_place(epoch, partition, seq);
            assert_eq!(raw, hash(&[b"o", &e, &p, &seq.to_be_bytes()]));
            assert_eq!(output(raw, seq), hash(&[&raw.to_bytes(), &seq.to_be_bytes()]));
        }
    }

    #[test]
    fn text_round_trip() {
        let id = raw_by_sequence(DEVICE, 1, 7);
        assert_eq!(id.to_hex(), id.to_string());
        assert_eq!(Id(1).to_hex(), Id(1).to_string());
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        assert_eq!(Id::parse("94bec949"), None);
        assert_eq!(Id::parse("+4bec949c24ee4151a1f24404db68d71"), None);
    }
}
