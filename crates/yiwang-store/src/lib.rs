//! yiwang-store: to be written.
