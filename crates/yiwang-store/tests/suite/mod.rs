//! The groups of the suite.

pub mod leases;
pub mod order;
pub mod reads;
pub mod writes;
