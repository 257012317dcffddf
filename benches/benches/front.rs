//! Stage benchmark: what the MQTT front does with every message before the log, reading QoS 1 PUBLISH frames of 250 B
//! where they lie in a connection's buffer.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use yiwang_gateway::packets::{Split, Version, decode, split};

/// Frames in a buffer: what a busy connection reads at once.
const FRAMES: u16 = 64;
const PACKET_BYTES_MAX: usize = 64 * 1024;
const TOPIC: &str = "iot/v1/nd-01/N-0001/up/property";

/// Frames with growing packet ids.
fn buffer(version: Version) -> Vec<u8> {
    let mut frames = Vec::new();
    for packet_id in 1..=FRAMES {
        let mut body = Vec::new();
        body.extend_from_slice(&(TOPIC.len() as u16).to_be_bytes());
        body.extend_from_slice(TOPIC.as_bytes());
        body.extend_from_slice(&packet_id.to_be_bytes());
        if version == Version::V5 {
            body.push(0);
        }
        body.resize(250, b'x');
        frames.push(0x32);
        // Two digits to the base of 128.
        frames.extend_from_slice(&[body.len() as u8 | 0x80, (body.len() >> 7) as u8]);
        frames.extend_from_slice(&body);
    }
    frames
}

/// Reads all frames; the sum of their packet ids.
fn read(version: Version, mut rest: &[u8]) -> u64 {
    let mut sum = 0;
    while let Split::Frame(frame) = split(rest, PACKET_BYTES_MAX) {
        let publish = decode(version, frame.flags(), &rest[frame.body.clone()]);
        sum += publish.map_or(0, |publish| u64::from(black_box(publish).packet_id));
        rest = &rest[frame.body.end..];
    }
    sum
}

fn front(c: &mut Criterion) {
    let mut group = c.benchmark_group("mqtt-front");
    group.throughput(Throughput::Elements(u64::from(FRAMES)));
    for (name, version) in [("3.1.1", Version::V3), ("5.0", Version::V5)] {
        let frames = buffer(version);
        let all = u64::from(FRAMES) * (u64::from(FRAMES) + 1) / 2;
        assert_eq!(read(version, &frames), all, "every frame is read");
        group.bench_function(name, |b| b.iter(|| read(version, black_box(&frames))));
    }
    group.finish();
}

criterion_group!(benches, front);
criterion_main!(benches);
