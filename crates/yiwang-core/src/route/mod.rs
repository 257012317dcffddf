//! The routing step: raw records of one partition become readings, signals and quarantine rows, each with one fate.

pub mod bytes;
