//! The gateway role: every message from outside gets into the raw log, and is acknowledged only then.
//!
//! Three lanes share one ledger: `listen` (our own MQTT front), `subscribe` (client of outside brokers) and `kafka`
//! (intake topics). Invariant: nothing is acknowledged upstream before the log's receipt. The gateway refuses to judge
//! content: bad JSON is stored and acknowledged, the router decides. What devices are asked for comes back to them by the
//! lane that they came by.

mod admission;
mod config;
mod directory;
mod downlink;
mod error;
mod gateway;
mod intake;
mod kafka;
mod ledger;
mod listen;
mod metrics;
mod pipeline;
mod publisher;
mod record;
mod source;
mod stats;
mod subscribe;
mod tick;

/// Reading of MQTT frames where they lie in a buffer: what the front does with every message, for benchmarks.
pub mod packets {
    pub use crate::listen::frame::{Frame, Split, split};
    pub use crate::listen::publish::{Fault, Publish, Version, decode};
}

pub use admission::{Share, Urgency, Waited};
pub use config::{Config, Qos0Policy, RawConfig, RawKafka, RawListen, RawPressure, RawSubscribe};
pub use directory::{Directory, Entry, Pepper, Quota, Seal};
pub use error::{Action, Error};
pub use gateway::{Deps, Gateway, Handle};
pub use intake::Clock;
pub use ledger::{LANES, Ledger, Refused, Row, Shed, lane_str};
pub use listen::connect::ConnectRefused;
pub use listen::control::Closed;
pub use metrics::describe;
pub use source::SourceState;
pub use stats::{CommandFate, Stats};
