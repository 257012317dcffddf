//! The benchmarks of the hub: each measures one promise of the program against a reference in the same run where
//! there is one, and ends with one line of JSON.
//!
//! Numbers of a shared machine wander; a claim is the median of repeated runs, taken in turns with the reference.

pub(crate) mod backlog;
pub mod dispatch;
pub mod end_to_end;
pub mod fixture;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod log_append;
pub mod mqtt;
pub mod report;
pub mod route;
pub mod scale;
pub mod subscribe;
pub mod telemetry;
