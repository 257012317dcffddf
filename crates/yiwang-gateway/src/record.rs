//! Puts raw messages and ticks into a batch, in their stored form.

use yiwang_core::record::{Millis, Raw};
use yiwang_log::{Batch, Route, TopicId};
use yiwang_proto::wire;

use crate::directory::Directory;

/// Key of a message that claims no device; ticks are what has no key.
const NO_DEVICE: &str = "?";

/// What a device's records are keyed and placed by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    text: &'a str,
    hash: u64,
}

impl<'a> Key<'a> {
    /// The key of a claimed device, which may be empty.
    pub(crate) fn of(device: &'a str, directory: &Directory) -> Self {
        let text = if device.is_empty() { NO_DEVICE } else { device };
        Self { text, hash: directory.place(text) }
    }

    /// The key of a device whose place is known.
    pub(crate) fn hashed(device: &'a str, hash: u64) -> Self {
        Self { text: device, hash }
    }
}

/// Adds a raw message.
pub(crate) fn push(batch: &mut Batch, topic: TopicId, key: Key<'_>, raw: &Raw<'_>) {
    let route = Route::Key { hash: key.hash };
    let encode = |bytes: &mut Vec<u8>| wire::write_raw(raw, bytes);
    batch.push_with(topic, route, key.text.as_bytes(), &[], encode);
}

/// Adds a tick for every partition of the raw log.
pub(crate) fn push_ticks(
    batch: &mut Batch,
    topic: TopicId,
    partitions: u16,
    origin: &str,
    received_at: Millis,
) {
    for partition in 0..partitions {
        let encode = |bytes: &mut Vec<u8>| wire::write_tick(origin, received_at, bytes);
        batch.push_with(topic, Route::Partition(partition), b"", &[], encode);
    }
}
