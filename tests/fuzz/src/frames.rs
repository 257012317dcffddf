//! Frames of MQTT and records of the log.

use prost::Message as _;
use yiwang_proto::record::v1;
use yiwang_proto::wire::{RawRecord, read_raw, write_clear, write_raw, write_tick};

use crate::Check;

/// The reader of PUBLISH alone, without all that the gateway needs beside it.
#[path = "../../../crates/yiwang-gateway/src/listen/publish.rs"]
mod publish;

use publish::Version;

/// Bodies of PUBLISH frames, of both versions; the first byte is that of the fixed header.
pub(crate) fn publish() -> Check {
    Box::new(|bytes| {
        let Some((first, body)) = bytes.split_first() else { return };
        for version in [Version::V3, Version::V5] {
            let Ok(read) = publish::decode(version, first & 0xf, body) else { continue };
            assert_eq!(read.qos, first >> 1 & 3);
            assert!(read.qos < 3 && (read.packet_id == 0) == (read.qos == 0));
            assert!(!read.topic.contains('\0'));
            assert!(!read.topic.is_empty() || read.alias != 0);
            assert!(body.ends_with(read.payload));
            assert!(body[2..].starts_with(read.topic.as_bytes()));
            assert!(read.payload.len() + read.topic.len() + 2 <= body.len());
        }
    })
}

/// Values of topic `raw`: a device's and a tick's.
pub(crate) fn record() -> Check {
    let mut out = Vec::new();
    Box::new(move |bytes| {
        for key in [&b"k"[..], b""] {
            let Ok(read) = read_raw(key, bytes) else { continue };
            out.clear();
            match &read {
                RawRecord::Raw(raw) => {
                    let generated =
                        v1::Raw::decode(bytes).expect("the generated reader accepts it");
                    assert_eq!(generated.payload, raw.payload);
                    assert_eq!(generated.device, raw.device);
                    assert_eq!(generated.received_at, raw.received_at);
                    write_raw(raw, &mut out);
                }
                RawRecord::Clear(clear) => {
                    let generated =
                        v1::Raw::decode(bytes).expect("the generated reader accepts it");
                    let inner = generated.clear.expect("it has the clear too");
                    assert_eq!((&*generated.device, &*inner.rule), (clear.device, clear.rule));
                    assert_eq!((&*inner.actor, &*inner.reason), (clear.actor, clear.reason));
                    assert_eq!(generated.received_at, clear.received_at);
                    write_clear(clear, &mut out);
                }
                RawRecord::Tick { origin, received_at } => {
                    let generated =
                        v1::Tick::decode(bytes).expect("the generated reader accepts it");
                    assert_eq!(
                        (&*generated.origin, generated.received_at),
                        (*origin, *received_at)
                    );
                    write_tick(origin, *received_at, &mut out);
                }
            }
            let again = read_raw(key, &out).expect("what was written is read");
            assert_eq!(again, read);
        }
    })
}
