//! yiwang-gateway: to be written.
