//! The centre over the memory log and an SQLite file, and clients on real sockets.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod duties;
mod streams;
mod support;
