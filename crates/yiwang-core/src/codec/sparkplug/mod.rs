//! Sparkplug B 3.0: topics, payloads, the session of an edge node, and metrics that become properties.
//!
//! Sans I/O: bytes and the partition's clock in, values and verdicts out. What births have told is a [`Session`], which
//! belongs to the router's state of the edge node and is snapshotted with it; decoding itself remembers nothing.

mod arrays;
mod map;
mod payload;
mod session;
#[cfg(test)]
pub(crate) mod testing;
mod topic;

pub(crate) use map::Metrics;
pub use payload::{Carried, Datatype, Metric, Payload, rebirth_request};
pub use session::{Refused, Session, Standing};
pub use topic::{HostState, MessageType, ROOT, Topic, host_state, is_state};

/// The metric that numbers the connections of an edge node.
pub(crate) const BD_SEQ: &str = "bdSeq";
/// The metric that asks an edge node for its births.
pub(crate) const REBIRTH: &str = "Node Control/Rebirth";
