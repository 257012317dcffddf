//! yiwang-console: to be written.
