//! yiwang-router: to be written.
