//! yiwang-proto: to be written.
