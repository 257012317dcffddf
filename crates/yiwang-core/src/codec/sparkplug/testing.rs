//! Payloads for tests.

use super::BD_SEQ;
use super::payload::{write_piece, write_varint};

/// A birth of (name, alias, datatype), each with a zero as its value; of a node with its number.
pub(crate) fn birth(
    timestamp: u64,
    seq: u64,
    bd_seq: Option<u64>,
    metrics: &[(&str, u64, u64)],
) -> Vec<u8> {
    let mut out = Vec::new();
    write_varint(1, timestamp, &mut out);
    if let Some(bd_seq) = bd_seq {
        let mut metric = Vec::new();
        write_piece(1, BD_SEQ.as_bytes(), &mut metric);
        write_varint(4, 4, &mut metric);
        write_varint(11, bd_seq, &mut metric);
        write_piece(2, &metric, &mut out);
    }
    for (name, alias, datatype) in metrics {
        let mut metric = Vec::new();
        write_piece(1, name.as_bytes(), &mut metric);
        write_varint(2, *alias, &mut metric);
        write_varint(4, *datatype, &mut metric);
        write_varint(7, 1, &mut metric);
        write_piece(2, &metric, &mut out);
    }
    write_varint(3, seq, &mut out);
    out
}

/// A message of (alias, whole number).
pub(crate) fn message(timestamp: u64, seq: Option<u64>, metrics: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    write_varint(1, timestamp, &mut out);
    for (alias, value) in metrics {
        let mut metric = Vec::new();
        write_varint(2, *alias, &mut metric);
        write_varint(10, *value, &mut metric);
        write_piece(2, &metric, &mut out);
    }
    if let Some(seq) = seq {
        write_varint(3, seq, &mut out);
    }
    out
}
