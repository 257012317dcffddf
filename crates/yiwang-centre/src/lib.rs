//! yiwang-centre: to be written.
