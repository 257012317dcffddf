//! Fuzz targets: one for each reader of bytes that come from outside or from a disk.
//!
//! A target takes any bytes, and panics where a reader breaks its promise: that it never panics, that what it accepts
//! is what a second reader accepts, that the same bytes give the same result. `cargo xtask fuzz` runs them with
//! coverage and for as long as is wanted, and a minute of it is part of `cargo xtask test`; `tests/mutations.rs` runs each
//! without, over all inputs that are kept and over edited ones.

mod bodies;
mod corpus;
mod frames;
mod mutate;
mod route;
mod samples;
mod storms;

pub use corpus::{found, samples};
pub use mutate::Mutator;

/// Checks one input.
pub type Check = Box<dyn FnMut(&[u8])>;

/// A fuzz target.
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Makes what it needs, once.
    pub make: fn() -> Check,
}

/// All targets.
pub const TARGETS: [Target; 11] = [
    Target { name: "native", make: bodies::native },
    Target { name: "mapped", make: bodies::mapped },
    Target { name: "binary", make: bodies::binary },
    Target { name: "protobuf", make: bodies::protobuf },
    Target { name: "sparkplug", make: route::sparkplug },
    Target { name: "pack", make: route::pack },
    Target { name: "snapshot", make: route::snapshot },
    Target { name: "publish", make: frames::publish },
    Target { name: "record", make: frames::record },
    Target { name: "lifecycle", make: storms::lifecycle },
    Target { name: "folding", make: storms::folding },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
