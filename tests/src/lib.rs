//! Support for the end-to-end tests: the real binary as a child process, a publisher that knows what was
//! acknowledged, clients of the hub's own interfaces, and the accounting of the delivery contract.

pub mod accounting;
pub mod demo;
pub mod desk;
pub mod files;
pub mod hub;
pub mod mqtt;
pub mod proxy;
pub mod settle;
pub mod wait;
